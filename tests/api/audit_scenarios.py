"""Requests with a request id of their own, and the audit entry that each must leave."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from kingpost.auth.second_factor.totp import STEP, code_at
from tests.api import emails
from tests.api.stack import PASSWORD, Caller, Stack

ADDRESS = "203.0.113.99"
NAME = "Mrs. Lovelace"
NEW_PASSWORD = "staple battery horse"


@dataclass
class ExpectedEntry:
    """The expected content of an audit entry."""

    actor_type: str
    actor_id: str | None
    target_type: str
    target_id: str | None
    address: str | None = ADDRESS


@dataclass
class AuditScenario:
    """Sends requests under a unique request id, and collects the secrets that must not appear in the audit log."""

    stack: Stack
    admin: Caller
    request_id: str = field(default_factory=lambda: f"scenario-{secrets.token_hex(8)}")
    secrets: set[str] = field(default_factory=lambda: {PASSWORD, NEW_PASSWORD, NAME})

    async def sign_up(self) -> Caller:
        """Sign up a new user."""
        email = emails.fresh_email()
        user = await self.stack.sign_up(email, name=NAME)
        self.secrets |= {email, email.partition("@")[0], user.access_token, user.refresh_token}
        return user

    async def send(self, caller: Caller | None, method: str, path: str, **body: Any) -> httpx.Response:
        """Send the request that is to be audited."""
        token = None if caller is None else caller.access_token
        client = self.stack.client(token, address=ADDRESS, **{"X-Request-ID": self.request_id})
        response = await client.request(method, f"/api/v1{path}", json=body or None)
        assert response.status_code < 500
        return response

    async def send_ok(self, caller: Caller | None, method: str, path: str, **body: Any) -> Any:
        """Send the request, check that it succeeds, and return the body of the response."""
        response = await self.send(caller, method, path, **body)
        assert response.is_success, response.text
        return response.json() if response.content else None

    async def enrol(self, user: Caller, *, audited: bool = False) -> list[str]:
        """Enable a second factor for a user; return the recovery codes."""
        enrolment = (await user.http.post("/api/v1/auth/totp", json={"password": PASSWORD})).json()
        otp = code_at(enrolment["secret"], int(time.time()) // STEP)
        send = self.send_ok(user, "POST", "/auth/totp/confirm", otp=otp) if audited else None
        if send is None:
            codes = (await user.http.post("/api/v1/auth/totp/confirm", json={"otp": otp})).json()["recovery_codes"]
        else:
            codes = (await send)["recovery_codes"]
        self.secrets |= {enrolment["secret"], *codes}
        return list(codes)


def entry_by(user: Caller, target_type: str = "user", target_id: str | None = None) -> ExpectedEntry:
    """The entry of an action of a user on the user's own account, or on an object of that account."""
    return ExpectedEntry("user", user.id, target_type, target_id or user.id)
