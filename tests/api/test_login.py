"""Logging in: refused logins, audit entries, and the upgrade of old password hashes."""

import asyncio
from pathlib import Path
from typing import Any

import argon2
import httpx
import msgspec
import pytest

from kingpost import main
from kingpost.audit.store import AuditListing
from kingpost.model import AuditEntry, SortKey
from kingpost.problems import Unavailable
from tests.api.stack import ADDRESS, MINIMAL_COST, PASSWORD, Caller, Serve, Stack, assert_problem, load

OLD = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1)
"""The hash parameters of an old release."""


async def log_in(stack: Stack, email: str, password: str = PASSWORD, **headers: str) -> httpx.Response:
    body = {"email": email, "password": password}
    return await stack.client(**headers).post("/api/v1/auth/login", json=body)


async def hash_of(stack: Stack, caller: Caller) -> str:
    ((stored,),) = await stack.execute(f"SELECT password_hash FROM users WHERE id = '{caller.id}'")
    return str(stored)


async def with_old_hash(stack: Stack) -> tuple[Caller, str]:
    """A user whose password hash has old parameters, and that hash."""
    caller = await stack.sign_up()
    old = OLD.hash(PASSWORD)
    await stack.execute(f"UPDATE users SET password_hash = '{old}' WHERE id = '{caller.id}'")
    return caller, old


async def entries_of(stack: Stack, action: str, **filters: Any) -> list[AuditEntry]:
    """The audit log's entries with this action, newest first."""
    listing = AuditListing((SortKey("id", descending=True),), 100, action=action, **filters)
    return (await stack.kingpost.stores.audit.list(listing)).items


# --- hashes --------------------------------------------------------------------------------------


async def test_an_old_hash_is_upgraded_at_the_next_login(stack: Stack) -> None:
    caller, old = await with_old_hash(stack)
    before = (await caller.http.get("/api/v1/users/me")).headers["etag"]
    assert (await log_in(stack, caller.email)).status_code == 200
    upgraded = await hash_of(stack, caller)
    assert upgraded != old
    assert upgraded.startswith(f"$argon2id$v=19$m={MINIMAL_COST.memory_kib},t={MINIMAL_COST.passes},p=1$")
    assert (await log_in(stack, caller.email)).status_code == 200
    assert await hash_of(stack, caller) == upgraded
    assert_problem(await log_in(stack, caller.email, "another password"), 401, "invalid-credentials")
    # Nothing that is visible to the owner has changed.
    assert (await caller.http.get("/api/v1/users/me")).headers["etag"] == before


async def test_production_hashes_use_the_parameters_that_owasp_recommends(tmp_path: Path) -> None:
    async with main.running(load(tmp_path)) as kingpost:
        stack = Stack(kingpost.application, kingpost)
        caller, old = await with_old_hash(stack)
        assert (await log_in(stack, caller.email)).status_code == 200
        upgraded = await hash_of(stack, caller)
        assert upgraded != old
        new = await stack.sign_up()
        for stored in (upgraded, await hash_of(stack, new)):
            assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_concurrent_logins_all_succeed_while_the_hash_is_upgraded(stack: Stack) -> None:
    caller, old = await with_old_hash(stack)
    responses = await asyncio.gather(*[log_in(stack, caller.email) for _ in range(6)])
    assert [response.status_code for response in responses] == [200] * 6
    for response in responses:
        client = stack.client(response.json()["access_token"])
        assert (await client.get("/api/v1/users/me")).status_code == 200
    assert await hash_of(stack, caller) != old


async def test_a_login_that_read_the_hash_before_its_upgrade_still_starts_a_session(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, _ = await with_old_hash(stack)
    credentials = stack.kingpost.stores.credentials
    find = credentials.find_credentials

    async def find_slowly(email_key: str) -> Any:
        found = await find(email_key)
        # Another login upgrades the hash between the password check and the start of the session.
        monkeypatch.setattr(credentials, "find_credentials", find)
        assert (await log_in(stack, caller.email)).status_code == 200
        return found

    monkeypatch.setattr(credentials, "find_credentials", find_slowly)
    assert (await log_in(stack, caller.email)).status_code == 200


async def test_a_login_that_read_the_hash_before_a_password_change_starts_no_session(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await stack.sign_up()
    credentials = stack.kingpost.stores.credentials
    find = credentials.find_credentials
    passwords = {"current_password": PASSWORD, "new_password": "staple battery horse"}

    async def find_slowly(email_key: str) -> Any:
        found = await find(email_key)
        response = await caller.http.put(f"/api/v1/users/{caller.id}/password", json=passwords)
        assert response.status_code == 204
        return found

    monkeypatch.setattr(credentials, "find_credentials", find_slowly)
    assert_problem(await log_in(stack, caller.email), 401, "invalid-credentials")
    monkeypatch.setattr(credentials, "find_credentials", find)
    listed = (await caller.http.get("/api/v1/auth/sessions")).json()["items"]
    assert [session["id"] for session in listed] == [caller.session_id]


async def test_a_refused_login_does_not_upgrade_the_hash(stack: Stack) -> None:
    caller, old = await with_old_hash(stack)
    assert_problem(await log_in(stack, caller.email, "wrong password"), 401, "invalid-credentials")
    assert await hash_of(stack, caller) == old


@pytest.mark.parametrize("error", [Unavailable, RuntimeError])
async def test_a_login_succeeds_even_if_the_upgrade_of_the_hash_fails(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    caller, old = await with_old_hash(stack)

    async def fail(*arguments: object) -> None:
        raise error("out of order")

    monkeypatch.setattr(stack.kingpost.stores.credentials, "upgrade_password_hash", fail)
    assert (await log_in(stack, caller.email)).status_code == 200
    assert await hash_of(stack, caller) == old
    assert caller.id in caplog.text
    assert old not in caplog.text
    assert PASSWORD not in caplog.text


# --- refused logins ------------------------------------------------------------------------------


async def test_the_reason_of_a_refused_login_is_only_in_the_audit_log(stack: Stack, admin: Caller) -> None:
    caller, suspended = await stack.sign_up(), await stack.sign_up()
    await admin.http.patch(f"/api/v1/users/{suspended.id}", json={"status": "suspended"})
    attempts = [
        (caller.email, "wrong password", caller.id, "password"),
        ("nobody@example.com", PASSWORD, None, "password"),
        ("no address", PASSWORD, None, "password"),
        (suspended.email, PASSWORD, suspended.id, "status"),
        (suspended.email, "wrong password", suspended.id, "password"),
    ]
    answers = []
    for email, password, user_id, reason in attempts:
        response = await log_in(stack, email, password)
        problem = assert_problem(response, 401, "invalid-credentials")
        answers.append(problem | {"request_id": ""})
        entry = (await entries_of(stack, "session.refused"))[0]
        assert entry.request_id == problem["request_id"]
        assert (entry.actor_type, entry.target_type, entry.target_id) == ("anonymous", "user", user_id)
        assert msgspec.json.decode(entry.details) == {"reason": reason}
        assert entry.address == ADDRESS
    assert answers == [answers[0]] * len(attempts)


async def test_with_verified_sign_up_an_unverified_account_gets_the_same_answer_as_a_wrong_password(
    serve: Serve,
) -> None:
    open_ = await serve()
    caller = await open_.sign_up("ada@example.com")
    stack = await serve(SIGNUP="verified")
    refused = assert_problem(await log_in(stack, caller.email), 401, "invalid-credentials")
    wrong = assert_problem(await log_in(stack, caller.email, "wrong password"), 401, "invalid-credentials")
    assert refused | {"request_id": ""} == wrong | {"request_id": ""}
    reasons = [msgspec.json.decode(e.details)["reason"] for e in await entries_of(stack, "session.refused")]
    assert reasons == ["password", "status"]
    await stack.execute(f"UPDATE users SET email_verified = true WHERE id = '{caller.id}'")
    assert (await log_in(stack, caller.email)).status_code == 200


async def test_a_rate_limited_login_leaves_no_audit_entry(serve: Serve) -> None:
    stack = await serve(RATE_LIMIT_LOGIN="2/hour")
    caller = await stack.sign_up()
    for password in ("wrong password", "wrong password"):
        assert_problem(await log_in(stack, caller.email, password), 401, "invalid-credentials")
    response = await log_in(stack, caller.email, "wrong password")
    assert_problem(response, 429, "rate-limited")
    assert int(response.headers["retry-after"]) >= 1
    assert len(await entries_of(stack, "session.refused")) == 2
    assert (await caller.http.get("/api/v1/users/me")).status_code == 200


# --- started sessions ----------------------------------------------------------------------------


async def test_the_start_of_a_session_is_audited(stack: Stack) -> None:
    caller = await stack.sign_up()
    (entry,) = await entries_of(stack, "session.started", target_id=caller.id)
    assert (entry.actor_type, entry.actor_id, entry.address) == ("user", caller.id, ADDRESS)
    assert msgspec.json.decode(entry.details) == {"session_id": caller.session_id}


async def test_a_long_user_agent_is_truncated(stack: Stack, alice: Caller) -> None:
    response = await log_in(stack, alice.email, **{"User-Agent": "x" * 1000})
    client = stack.client(response.json()["access_token"])
    newest = (await client.get("/api/v1/auth/sessions")).json()["items"][0]
    assert (newest["device"], newest["current"]) == ("x" * 200, True)
    await client.post("/api/v1/auth/logout")
