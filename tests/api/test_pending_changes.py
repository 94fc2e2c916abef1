"""Section 3 of the contract: a change of address that waits for its confirmation can be seen, withdrawn and stopped."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest

from kingpost import clock
from tests.api.emails import (
    CONFIRM,
    MOVED,
    NEW_PASSWORD,
    REQUESTED,
    RESET,
    VERIFY,
    forgot,
    fresh_email,
    newest_token,
    post,
    reset,
    stop,
    subjects,
    tokens,
    verified_user,
    verify,
)
from tests.api.machines import make_key
from tests.api.stack import PASSWORD, Caller, Stack, assert_problem, faults_of

JSON_PATCH = {"Content-Type": "application/json-patch+json"}


async def me(caller: Caller) -> httpx.Response:
    response = await caller.http.get("/api/v1/users/me")
    assert response.status_code == 200
    return response


async def ask(caller: Caller, email: str | None = None) -> str:
    """Ask for a new address; return it."""
    email = email or fresh_email()
    body = {"email": email, "current_password": PASSWORD}
    response = await caller.http.patch(f"/api/v1/users/{caller.id}", json=body)
    assert (response.status_code, response.json()["pending_email"]) == (200, email)
    return email


async def json_patch(caller: Caller, *operations: Mapping[str, Any]) -> httpx.Response:
    path = f"/api/v1/users/{caller.id}"
    return await caller.http.request("PATCH", path, json=list(operations), headers=JSON_PATCH)


# --- what is seen --------------------------------------------------------------------------------


async def test_the_owner_sees_what_is_pending_and_the_version_moves_with_it(strict: Stack) -> None:
    caller, admin = await verified_user(strict), await strict.sign_up_admin()
    before = await me(caller)
    assert before.json()["pending_email"] is None
    new = await ask(caller)
    asked = await me(caller)
    path = f"/api/v1/users/{caller.id}"
    assert asked.json() == before.json() | {"pending_email": new, "updated_at": asked.json()["updated_at"]}
    assert asked.headers["etag"] != before.headers["etag"]
    assert (await caller.http.get(path)).json() == asked.json()
    assert (await strict.log_in(caller.email)).grant["user"] == asked.json()
    assert "pending_email" not in (await admin.http.get(path)).json()
    listed = (await admin.http.get("/api/v1/users", params={"limit": 100})).json()["items"]
    assert all("pending_email" not in user for user in listed)
    stale = await caller.http.patch(path, json={"name": "Ada"}, headers={"If-Match": before.headers["etag"]})
    assert assert_problem(stale, 412, "version-mismatch")["current"]["pending_email"] == new
    by_admin = await admin.http.patch(path, json={"name": "Ada"}, headers={"If-Match": before.headers["etag"]})
    assert "pending_email" not in assert_problem(by_admin, 412, "version-mismatch")["current"]


async def test_an_api_key_cannot_withdraw_the_change_of_its_owner(strict: Stack) -> None:
    caller = await verified_user(strict)
    machine = await make_key(strict, caller, ["users:write"])
    new = await ask(caller)
    refused = await machine.http.patch("/api/v1/users/me", json={"email": caller.email})
    assert_problem(refused, 403, "forbidden")
    assert (await machine.http.patch("/api/v1/users/me", json={"name": "Ada"})).status_code == 200
    assert (await me(caller)).json()["pending_email"] == new


async def test_only_an_export_by_the_owner_shows_what_is_pending(strict: Stack) -> None:
    caller, admin = await verified_user(strict), await strict.sign_up_admin()
    new = await ask(caller)
    path = f"/api/v1/users/{caller.id}/export"
    assert (await caller.http.get(path)).json()["user"]["pending_email"] == new
    assert "pending_email" not in (await admin.http.get(path)).json()["user"]


async def test_an_export_contains_what_is_pending_and_a_deletion_removes_it(strict: Stack) -> None:
    caller = await verified_user(strict)
    new = await ask(caller)
    export = (await caller.http.get(f"/api/v1/users/{caller.id}/export")).json()
    assert export["user"] == (await me(caller)).json()
    assert {(token["purpose"], token["email"]) for token in export["one_time_tokens"]} == {
        ("change-email", new),
        ("stop-email-change", caller.email),
    }
    confirm, halt = await newest_token(strict, new, CONFIRM), await newest_token(strict, caller.email, REQUESTED)
    assert (await caller.http.delete(f"/api/v1/users/{caller.id}")).status_code == 204
    for table in ("users", "one_time_tokens"):
        column = "pending_email" if table == "users" else "email"
        assert not await strict.execute(f"SELECT 1 FROM {table} WHERE {column} = '{new}'")
    assert faults_of(await verify(strict, confirm)) == faults_of(await stop(strict, halt)) == ["/token"]


async def test_without_verification_nothing_is_ever_pending(stack: Stack) -> None:
    caller, new = await stack.sign_up(), fresh_email()
    body = {"email": new, "current_password": PASSWORD}
    response = await caller.http.patch(f"/api/v1/users/{caller.id}", json=body)
    assert (response.json()["email"], response.json()["pending_email"]) == (new, None)
    assert await subjects(stack, caller.email) == [VERIFY, MOVED]


# --- withdrawing ---------------------------------------------------------------------------------


def full_width(email: str) -> str:
    local, _, domain = email.partition("@")
    return "".join(chr(ord(char) + 0xFEE0) for char in local) + "@" + domain


SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "the same": str,
    "capitals": str.upper,
    "capitals of the domain": lambda email: email.replace("example.com", "EXAMPLE.Com"),
    "full-width letters": full_width,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "JSON Patch", "JSON Patch of all"])
async def test_naming_the_present_address_withdraws_the_change(strict: Stack, method: str, spelling: str) -> None:
    caller = await verified_user(strict)
    new = await ask(caller)
    asked, named = await me(caller), SPELLINGS[spelling](caller.email)
    if method == "JSON Patch":
        response = await json_patch(caller, {"op": "replace", "path": "/email", "value": named})
    elif method == "JSON Patch of all":
        response = await json_patch(caller, {"op": "replace", "path": "", "value": {"email": named}})
    else:
        response = await caller.http.request(method, f"/api/v1/users/{caller.id}", json={"email": named})
    assert response.status_code == 200, response.text
    assert (response.json()["email"], response.json()["pending_email"]) == (caller.email, None)
    after = await me(caller)
    assert after.json() == response.json()
    assert after.headers["etag"] not in (asked.headers["etag"], None)
    assert faults_of(await verify(strict, await newest_token(strict, new, CONFIRM))) == ["/token"]
    assert faults_of(await stop(strict, await newest_token(strict, caller.email, REQUESTED))) == ["/token"]
    assert await subjects(strict, caller.email) == [VERIFY, REQUESTED]


async def test_changes_that_do_not_name_the_address_keep_the_change(strict: Stack) -> None:
    caller = await verified_user(strict)
    new = await ask(caller)
    await caller.http.patch(f"/api/v1/users/{caller.id}", json={"name": "Ada"})
    test = {"op": "test", "path": "/email", "value": caller.email}
    patched = await json_patch(caller, test, {"op": "replace", "path": "/name", "value": "Countess"})
    assert (patched.json()["name"], patched.json()["pending_email"]) == ("Countess", new)
    assert (await verify(strict, await newest_token(strict, new, CONFIRM))).status_code == 204
    assert (await me(caller)).json()["email"] == new


# --- changes that change nothing -----------------------------------------------------------------


async def test_a_change_that_changes_nothing_keeps_version_and_time(stack: Stack) -> None:
    caller = await stack.sign_up(name="Ada", metadata={"n": 1, "list": [True, None], "o": {"b": 1, "a": 2}})
    before, path = await me(caller), f"/api/v1/users/{caller.id}"
    same: dict[str, Any] = {"metadata": {"n": 1, "list": [True, None], "o": {"b": 1, "a": 2}}, "name": "Ada"}
    unchanged = [
        await caller.http.patch(path, json={}),
        await caller.http.patch(path, json={"name": "Ada"}),
        await caller.http.patch(path, json={"email": caller.email.upper()}),
        await caller.http.patch(path, json={"metadata": {"o": {"a": 2}}}),
        await caller.http.put(path, json=same | {"email": full_width(caller.email)}),
        await json_patch(caller, {"op": "replace", "path": "/name", "value": "Ada"}),
        await caller.http.patch(path, json={"name": "Ada"}, headers={"If-Match": before.headers["etag"]}),
    ]
    for response in unchanged:
        assert (response.status_code, response.json()) == (200, before.json())
        assert response.headers["etag"] == before.headers["etag"]
    stale = await caller.http.patch(path, json={"name": "Ada"}, headers={"If-Match": '"77"'})
    assert_problem(stale, 412, "version-mismatch")
    for metadata in ({"n": True}, {"n": 2}, {"list": [1, None]}):
        changed = await caller.http.patch(path, json={"metadata": metadata})
        assert changed.headers["etag"] != before.headers["etag"]
    assert await stack.execute(f"SELECT version FROM users WHERE id = '{caller.id}'") == [(4,)]


# --- stopping ------------------------------------------------------------------------------------


async def test_the_old_mailbox_hears_of_the_request_and_can_stop_it_once(strict: Stack) -> None:
    caller = await verified_user(strict)
    new = await ask(caller)
    asked = await me(caller)
    assert await subjects(strict, caller.email) == [VERIFY, REQUESTED]
    message = (await strict.mails(caller.email))[-1].as_string()
    assert new not in message
    assert f"{new[0]}***@example.com" in message
    assert "/email/stop?token=" in message
    halt = await newest_token(strict, caller.email, REQUESTED)
    # A link that stops a change does nothing else, and no other link stops it.
    assert faults_of(await verify(strict, halt)) == faults_of(await reset(strict, halt)) == ["/token"]
    confirm = await newest_token(strict, new, CONFIRM)
    assert faults_of(await stop(strict, confirm)) == faults_of(await stop(strict, "unknown")) == ["/token"]
    response = await stop(strict, halt)
    assert (response.status_code, response.content) == (204, b"")
    after = await me(caller)
    assert after.json() == asked.json() | {"pending_email": None, "updated_at": after.json()["updated_at"]}
    assert after.headers["etag"] != asked.headers["etag"]
    assert faults_of(await stop(strict, halt)) == faults_of(await verify(strict, confirm)) == ["/token"]


async def test_a_newer_request_has_a_link_of_its_own(strict: Stack) -> None:
    caller = await verified_user(strict)
    await ask(caller)
    await strict.mails(caller.email)
    second = await ask(caller)
    older, newer = await tokens(strict, caller.email, REQUESTED)
    assert faults_of(await stop(strict, older)) == ["/token"]
    assert (await me(caller)).json()["pending_email"] == second
    assert (await stop(strict, newer)).status_code == 204
    assert (await me(caller)).json()["pending_email"] is None


async def test_a_change_that_was_confirmed_cannot_be_stopped(strict: Stack) -> None:
    caller = await verified_user(strict)
    new = await ask(caller)
    assert (await verify(strict, await newest_token(strict, new, CONFIRM))).status_code == 204
    assert faults_of(await stop(strict, await newest_token(strict, caller.email, REQUESTED))) == ["/token"]
    assert (await me(caller)).json()["email"] == new


# --- the end of all sessions ---------------------------------------------------------------------


type End = Callable[[Stack, Caller, Caller], Awaitable[httpx.Response]]


async def reset_by_mail(stack: Stack, caller: Caller, admin: Caller) -> httpx.Response:
    await forgot(stack, caller.email)
    return await reset(stack, await newest_token(stack, caller.email, RESET), PASSWORD + "!")


ENDS: Mapping[str, End] = {
    "logout everywhere": lambda s, c, a: c.http.post("/api/v1/auth/logout", json={"everywhere": True}),
    "logout everywhere by refresh token": lambda s, c, a: post(
        s, "/auth/logout", everywhere=True, refresh_token=c.refresh_token
    ),
    "all other sessions": lambda s, c, a: c.http.delete("/api/v1/auth/sessions"),
    "an administrator": lambda s, c, a: a.http.delete(f"/api/v1/users/{c.id}/sessions"),
    "a new password": lambda s, c, a: c.http.put(
        f"/api/v1/users/{c.id}/password", json={"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    ),
    "a reset": reset_by_mail,
    "a suspension": lambda s, c, a: a.http.patch(f"/api/v1/users/{c.id}", json={"status": "suspended"}),
    "another address by an administrator": lambda s, c, a: a.http.patch(
        f"/api/v1/users/{c.id}", json={"email": fresh_email()}
    ),
}


@pytest.mark.parametrize("way", ENDS)
async def test_ending_all_sessions_ends_the_change_and_its_links(strict: Stack, way: str) -> None:
    caller, admin = await verified_user(strict), await strict.sign_up_admin()
    new = await ask(caller)
    (before,) = await strict.execute(f"SELECT version FROM users WHERE id = '{caller.id}'")
    assert (await ENDS[way](strict, caller, admin)).is_success
    (row,) = await strict.execute(f"SELECT pending_email, version FROM users WHERE id = '{caller.id}'")
    assert row[0] is None
    assert row[1] > before[0]
    assert faults_of(await verify(strict, await newest_token(strict, new, CONFIRM))) == ["/token"]
    assert faults_of(await stop(strict, await newest_token(strict, caller.email, REQUESTED))) == ["/token"]


async def test_the_end_of_one_session_keeps_the_change(strict: Stack) -> None:
    caller = await verified_user(strict)
    other = await strict.log_in(caller.email)
    new = await ask(caller)
    assert (await other.http.delete(f"/api/v1/auth/sessions/{caller.session_id}")).status_code == 204
    assert (await me(other)).json()["pending_email"] == new


# --- expiry --------------------------------------------------------------------------------------


async def let_expire(stack: Stack, caller: Caller) -> None:
    past = clock.after(-1)
    await stack.execute(f"UPDATE users SET pending_email_expires_at = '{past}' WHERE id = '{caller.id}'")
    await stack.execute(f"UPDATE one_time_tokens SET expires_at = '{past}' WHERE user_id = '{caller.id}'")


async def test_an_expired_change_is_none_and_the_version_has_moved(strict: Stack) -> None:
    caller, path = await verified_user(strict), "/api/v1/users/me"
    new = await ask(caller)
    asked = await me(caller)
    await let_expire(strict, caller)
    assert (await strict.log_in(caller.email)).grant["user"]["pending_email"] is None
    again = await caller.http.get(path, headers={"If-None-Match": asked.headers["etag"]})
    assert (again.status_code, again.json()["pending_email"]) == (200, None)
    assert again.headers["etag"] != asked.headers["etag"]
    assert (await me(caller)).headers["etag"] == again.headers["etag"]
    assert faults_of(await verify(strict, await newest_token(strict, new, CONFIRM))) == ["/token"]


async def test_a_write_after_the_expiry_sees_another_version(strict: Stack) -> None:
    caller = await verified_user(strict)
    await ask(caller)
    asked = await me(caller)
    await let_expire(strict, caller)
    body, headers = {"name": "Ada"}, {"If-Match": asked.headers["etag"]}
    stale = await caller.http.patch(f"/api/v1/users/{caller.id}", json=body, headers=headers)
    assert assert_problem(stale, 412, "version-mismatch")["current"]["pending_email"] is None


async def test_housekeeping_ends_what_has_expired(strict: Stack) -> None:
    expired, waiting = await verified_user(strict), await verified_user(strict)
    for caller in (expired, waiting):
        await ask(caller)
    (before,) = await strict.execute(f"SELECT version FROM users WHERE id = '{expired.id}'")
    await let_expire(strict, expired)
    await strict.kingpost.accounts.run_housekeeping()
    rows = {
        row[0]: (row[1], row[2])
        for row in await strict.execute(
            f"SELECT CAST(id AS text), pending_email, version FROM users WHERE id IN ('{expired.id}', '{waiting.id}')"
        )
    }
    assert rows[expired.id] == (None, before[0] + 1)
    assert rows[waiting.id][0] is not None
    assert not await strict.execute(f"SELECT 1 FROM one_time_tokens WHERE user_id = '{expired.id}'")
