"""Accounts with a second factor, the codes of their authenticator apps, and their audit entries."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from kingpost.audit.store import AuditListing
from kingpost.auth.second_factor.totp import STEP, code_at
from kingpost.model import AuditEntry, SortKey
from tests.api.stack import PASSWORD, Caller, Stack

TOTP = "/api/v1/auth/totp"
CONFIRM = f"{TOTP}/confirm"


@dataclass
class OtpClock:
    """The clock of the second factor: it stands still until a test advances it."""

    seconds: float = 1_795_000_000.0

    def advance(self, steps: int = 2) -> None:
        """Advance by this many steps. After two steps, a used code no longer conflicts with the next code."""
        self.seconds += steps * STEP

    def code(self, secret: str, off: int = 0) -> str:
        """The code of an app whose clock is `off` steps ahead."""
        return code_at(secret, int(self.seconds) // STEP + off)

    def wrong_code(self, secret: str) -> str:
        """A code that is not valid for any step near the current one."""
        near = {self.code(secret, off) for off in range(-2, 3)}
        return next(code for code in (f"{n:06}" for n in range(10)) if code not in near)


@dataclass
class Enrolled:
    """A user with a second factor."""

    caller: Caller
    secret: str
    codes: list[str]


def stopped_clock(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> OtpClock:
    """Replace the clock of the second factor by one that stands still."""
    otp_clock = OtpClock()
    monkeypatch.setattr(stack.kingpost.auth.codes, "_seconds", lambda: otp_clock.seconds)
    return otp_clock


async def begin(caller: Caller) -> str:
    """Begin an enrolment, and return its secret."""
    response = await caller.http.post(TOTP, json={"password": caller.password})
    assert response.status_code == 200, response.text
    return str(response.json()["secret"])


async def enrol(stack: Stack, otp_clock: OtpClock, caller: Caller | None = None) -> Enrolled:
    """Enable a second factor for a new account (or for this one), and advance the clock beyond the first code."""
    caller = caller or await stack.sign_up()
    secret = await begin(caller)
    response = await caller.http.post(CONFIRM, json={"otp": otp_clock.code(secret)})
    assert response.status_code == 200, response.text
    otp_clock.advance()
    return Enrolled(caller, secret, response.json()["recovery_codes"])


async def log_in(stack: Stack, caller: Caller, otp: str | None = None, password: str = PASSWORD) -> httpx.Response:
    body = {"email": caller.email, "password": password} | ({} if otp is None else {"otp": otp})
    return await stack.client().post("/api/v1/auth/login", json=body)


async def disable(caller: Caller, otp: str, password: str = PASSWORD) -> httpx.Response:
    return await caller.http.request("DELETE", TOTP, json={"password": password, "otp": otp})


async def state_of(caller: Caller) -> dict[str, Any]:
    response = await caller.http.get(TOTP)
    assert response.status_code == 200
    state: dict[str, Any] = response.json()
    return state


async def entries_about(stack: Stack, user_id: str, prefix: str = "second_factor.") -> list[AuditEntry]:
    """The audit entries about an account's second factor, oldest first."""
    listing = AuditListing((SortKey("id"),), 100, target_id=user_id)
    return [e for e in (await stack.kingpost.stores.audit.list(listing)).items if e.action.startswith(prefix)]
