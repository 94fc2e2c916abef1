"""Things that are done under a request id of their own, and what the audit log must say about them."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from kingpost.auth.second_factor.totp import STEP, code_at
from tests.api import letters
from tests.api.stack import PASSWORD, Caller, Stack

ADDRESS = "203.0.113.99"
NAME = "Mrs. Lovelace"
NEW_PASSWORD = "staple battery horse"


@dataclass
class Found:
    """What the entry must say."""

    actor_type: str
    actor_id: str | None
    target_type: str
    target_id: str | None
    address: str | None = ADDRESS


@dataclass
class Trail:
    """A place where things are done under a request id that nobody else has. It collects the secrets that appear."""

    stack: Stack
    admin: Caller
    request_id: str = field(default_factory=lambda: f"trail-{secrets.token_hex(8)}")
    secrets: set[str] = field(default_factory=lambda: {PASSWORD, NEW_PASSWORD, NAME})

    async def member(self) -> Caller:
        """Somebody with an account."""
        email = letters.fresh_email()
        user = await self.stack.sign_up(email, name=NAME)
        self.secrets |= {email, email.partition("@")[0], user.access_token, user.refresh_token}
        return user

    async def send(self, caller: Caller | None, method: str, path: str, **body: Any) -> httpx.Response:
        """The request that is to be found in the log."""
        token = None if caller is None else caller.access_token
        client = self.stack.client(token, address=ADDRESS, **{"X-Request-ID": self.request_id})
        response = await client.request(method, f"/api/v1{path}", json=body or None)
        assert response.status_code < 500
        return response

    async def done(self, caller: Caller | None, method: str, path: str, **body: Any) -> Any:
        response = await self.send(caller, method, path, **body)
        assert response.is_success, response.text
        return response.json() if response.content else None

    async def enrol(self, user: Caller, *, watched: bool = False) -> list[str]:
        """Give somebody a second factor; return the recovery codes."""
        enrolment = (await user.http.post("/api/v1/auth/totp")).json()
        otp = code_at(enrolment["secret"], int(time.time()) // STEP)
        send = self.done(user, "POST", "/auth/totp/confirm", otp=otp) if watched else None
        if send is None:
            codes = (await user.http.post("/api/v1/auth/totp/confirm", json={"otp": otp})).json()["recovery_codes"]
        else:
            codes = (await send)["recovery_codes"]
        self.secrets |= {enrolment["secret"], *codes}
        return list(codes)


def own(user: Caller, target_type: str = "user", target_id: str | None = None) -> Found:
    """What somebody did to the own account, or to something of it."""
    return Found("user", user.id, target_type, target_id or user.id)
