"""Emails that tests read, and accounts on servers that require verified addresses."""

import secrets
from typing import Any

import httpx

from tests.api.stack import PASSWORD, Caller, Stack, token_in

VERIFY = "Confirm your e-mail address"
SET_PASSWORD = "You already have an account"
RESET = "Choose a new password"
CONFIRM = "Confirm your new e-mail address"
REQUESTED = "A new e-mail address was requested for your account"
MOVED = "Your account has a new e-mail address"
CHANGED = "Your password was changed"
NEW_PASSWORD = "staple battery horse"


def fresh_email() -> str:
    return f"{secrets.token_hex(8)}@example.com"


async def subjects(stack: Stack, to: str) -> list[str]:
    """The subjects of all messages to an address, oldest first."""
    return [str(message["Subject"]) for message in await stack.mails(to)]


async def tokens(stack: Stack, to: str, subject: str) -> list[str]:
    """The tokens in all messages with this subject to an address, oldest first."""
    return [token_in(message) for message in await stack.mails(to) if message["Subject"] == subject]


async def newest_token(stack: Stack, to: str, subject: str) -> str:
    found = await tokens(stack, to, subject)
    assert found, f"there is no message {subject!r} to {to}"
    return found[-1]


async def post(stack: Stack, path: str, **body: Any) -> httpx.Response:
    """Send a request without credentials."""
    return await stack.client().post(f"/api/v1{path}", json=body)


async def verify(stack: Stack, token: str, caller: Caller | None = None) -> httpx.Response:
    """Use a link without credentials, as its page does, or with the access token of a caller, as an app does."""
    client = stack.client() if caller is None else caller.http
    return await client.post("/api/v1/auth/email/verify", json={"token": token})


async def stop(stack: Stack, token: str) -> httpx.Response:
    return await post(stack, "/auth/email/stop", token=token)


async def forgot(stack: Stack, email: str) -> httpx.Response:
    return await post(stack, "/auth/password/forgot", email=email)


async def reset(stack: Stack, token: str, password: str = NEW_PASSWORD, **more: Any) -> httpx.Response:
    return await post(stack, "/auth/password/reset", token=token, new_password=password, **more)


async def log_in(stack: Stack, email: str, password: str = PASSWORD) -> httpx.Response:
    return await post(stack, "/auth/login", email=email, password=password)


async def sign_up(stack: Stack, email: str, password: str = PASSWORD) -> None:
    """Sign up on a server that requires verified addresses."""
    response = await post(stack, "/users", email=email, password=password)
    assert response.status_code == 202, response.text


async def verified_user(stack: Stack, email: str | None = None) -> Caller:
    """A logged-in user with a verified address, on a server that requires verified addresses."""
    email = email or fresh_email()
    await sign_up(stack, email)
    assert (await verify(stack, await newest_token(stack, email, VERIFY))).status_code == 204
    return await stack.log_in(email)
