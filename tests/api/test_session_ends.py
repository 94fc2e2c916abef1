"""The expiry of sessions, and the audit entries about their starts and ends."""

import time
from typing import Any

import httpx
import msgspec
import pytest

from kingpost import base64url, clock
from kingpost.audit.store import AuditListing
from kingpost.auth.sessions.service import IDLE_LIFETIME
from kingpost.model import AuditEntry, SortKey
from tests.api.stack import ADDRESS, Caller, Stack

LONG_AGO = "2020-01-01T00:00:00.000Z"


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/api/v1/auth/refresh", json={"refresh_token": token})


def _seconds_ago(seconds: float) -> str:
    moment = time.time() - seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment * 1000) % 1000:03d}Z"


# --- expiry ----------------------------------------------------------------------------------------


async def test_an_access_token_expires_at_most_ten_minutes_after_the_last_use_of_its_session(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    caller = await stack.sign_up()
    refreshed = (await refresh(client, caller.refresh_token)).json()
    ((last_used_at,),) = await stack.execute(f"SELECT last_used_at FROM sessions WHERE id = '{caller.session_id}'")
    for token in (caller.access_token, refreshed["access_token"]):
        claims = msgspec.json.decode(base64url.decode(token.split(".")[1]))
        # The idle lifetime starts at the last use and is much longer, so the token always expires before the session.
        assert clock.timestamp(claims["exp"] * 1000) <= clock.shifted(str(last_used_at), 600 + 1)
    assert IDLE_LIFETIME > 600


@pytest.mark.parametrize(("column", "days"), [("last_used_at", 30), ("expires_at", 0)])
async def test_a_session_can_be_refreshed_until_its_last_minute_and_not_afterwards(
    stack: Stack, client: httpx.AsyncClient, column: str, days: int
) -> None:
    for seconds_left, status in ((60, 200), (-60, 401)):
        caller = await stack.sign_up()
        moved = _seconds_ago(days * 24 * 60 * 60 - seconds_left)
        await stack.execute(f"UPDATE sessions SET {column} = '{moved}' WHERE id = '{caller.session_id}'")
        assert (await refresh(client, caller.refresh_token)).status_code == status


async def test_an_expired_or_idle_session_is_not_listed(stack: Stack) -> None:
    caller = await stack.sign_up()
    for column in ("expires_at", "last_used_at"):
        other = await stack.log_in(caller.email)
        await stack.execute(f"UPDATE sessions SET {column} = '{LONG_AGO}' WHERE id = '{other.session_id}'")
    listed = (await caller.http.get("/api/v1/auth/sessions")).json()["items"]
    assert [session["id"] for session in listed] == [caller.session_id]


# --- audit log -------------------------------------------------------------------------------------


async def entries_about(stack: Stack, user_id: str) -> list[AuditEntry]:
    """The audit entries about an account's sessions, oldest first."""
    listing = AuditListing((SortKey("id"),), 100, target_id=user_id)
    entries = (await stack.kingpost.stores.audit.list(listing)).items
    return [entry for entry in entries if entry.action.startswith("session.")]


async def last_entry(stack: Stack, user_id: str, action: str) -> dict[str, Any]:
    """The details of the newest entry, after a check that it has this action and target."""
    entry = (await entries_about(stack, user_id))[-1]
    assert (entry.action, entry.target_type, entry.target_id) == (action, "user", user_id)
    assert entry.address == ADDRESS
    assert entry.request_id
    details: dict[str, Any] = msgspec.json.decode(entry.details)
    return {"actor": (entry.actor_type, entry.actor_id), **details}


async def test_each_start_and_each_end_of_a_session_is_audited(stack: Stack, admin: Caller) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    as_user, as_admin = ("user", caller.id), ("user", admin.id)
    expected = {"actor": as_user, "session_id": other.session_id}
    assert await last_entry(stack, caller.id, "session.started") == expected
    await other.http.post("/api/v1/auth/logout")
    assert await last_entry(stack, caller.id, "session.ended") == expected
    third = await stack.log_in(caller.email)
    await stack.client().post("/api/v1/auth/logout", json={"refresh_token": third.refresh_token})
    expected = {"actor": as_user, "session_id": third.session_id}
    assert await last_entry(stack, caller.id, "session.ended") == expected
    await caller.http.delete("/api/v1/auth/sessions")
    assert await last_entry(stack, caller.id, "session.ended") == {"actor": as_user, "sessions": "others"}
    await admin.http.delete(f"/api/v1/auth/sessions/{caller.session_id}")
    expected = {"actor": as_admin, "session_id": caller.session_id}
    assert await last_entry(stack, caller.id, "session.ended") == expected
    await admin.http.delete(f"/api/v1/users/{caller.id}/sessions")
    assert await last_entry(stack, caller.id, "session.ended") == {"actor": as_admin, "sessions": "all"}
    fourth = await stack.log_in(caller.email)
    await fourth.http.post("/api/v1/auth/logout", json={"everywhere": True})
    assert await last_entry(stack, caller.id, "session.ended") == {"actor": as_user, "sessions": "all"}


async def test_a_logout_that_ends_no_session_leaves_no_audit_entry(stack: Stack, client: httpx.AsyncClient) -> None:
    caller = await stack.sign_up()
    for _ in range(3):
        body = {"refresh_token": caller.refresh_token, "everywhere": True}
        assert (await client.post("/api/v1/auth/logout", json=body)).status_code == 204
    actions = [entry.action for entry in await entries_about(stack, caller.id)]
    assert actions == ["session.started", "session.ended"]


async def test_the_reuse_of_a_refresh_token_is_audited_once_and_only_if_it_ended_a_session(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    caller = await stack.sign_up()
    second = (await refresh(client, caller.refresh_token)).json()["refresh_token"]
    await refresh(client, caller.refresh_token)  # A repeated request within ten seconds is not a reuse.
    await refresh(client, second)
    assert [entry.action for entry in await entries_about(stack, caller.id)] == ["session.started"]
    await refresh(client, caller.refresh_token)
    expected = {"actor": ("anonymous", None), "session_id": caller.session_id}
    assert await last_entry(stack, caller.id, "session.refresh_token_reused") == expected
    for token in (caller.refresh_token, second):
        await refresh(client, token)
    assert len(await entries_about(stack, caller.id)) == 2


@pytest.mark.parametrize("column", ["expires_at", "last_used_at"])
async def test_a_refresh_of_an_expired_session_is_not_audited_as_reuse(
    stack: Stack, client: httpx.AsyncClient, column: str
) -> None:
    caller = await stack.sign_up()
    await stack.execute(f"UPDATE sessions SET {column} = '{LONG_AGO}' WHERE id = '{caller.session_id}'")
    await refresh(client, caller.refresh_token)
    assert [entry.action for entry in await entries_about(stack, caller.id)] == ["session.started"]
