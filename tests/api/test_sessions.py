"""Section 4 of the contract: logging in, refreshing tokens, logging out, and managing sessions."""

import asyncio
import time
from contextvars import ContextVar

import httpx
import pytest

from kingpost import clock
from kingpost.accounts.users.store import UserChange
from kingpost.auth.passwords.hashing import PRODUCTION
from tests.api.stack import ADDRESS, PASSWORD, UNKNOWN_ID, Caller, MakeUser, Serve, Stack, assert_problem, faults_of
from tests.timing import assert_within

GRANT = {"access_token", "token_type", "expires_in", "refresh_token", "session_id", "user"}
LONG_AGO = "2020-01-01T00:00:00.000Z"


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/api/v1/auth/refresh", json={"refresh_token": token})


async def assert_ended(stack: Stack, session: Caller) -> None:
    """Check that both tokens of a session are refused."""
    assert_problem(await session.http.get("/api/v1/users/me"), 401, "unauthenticated")
    assert_problem(await refresh(stack.client(), session.refresh_token), 401, "unauthenticated")


async def is_active(session: Caller) -> bool:
    return (await session.http.get("/api/v1/users/me")).status_code == 200


async def has_ended(session: Caller) -> bool:
    return not await is_active(session)


async def test_a_login_returns_an_access_token_and_a_refresh_token(client: httpx.AsyncClient, alice: Caller) -> None:
    body = {"email": alice.email, "password": PASSWORD}
    response = await client.post("/api/v1/auth/login", json=body)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    grant = response.json()
    assert grant.keys() == GRANT
    assert (grant["token_type"], grant["expires_in"]) == ("Bearer", 600)
    assert grant["user"] == (await alice.http.get("/api/v1/users/me")).json()
    assert len(grant["refresh_token"]) >= 43


async def test_an_unknown_address_and_a_wrong_password_get_the_same_answer(
    client: httpx.AsyncClient, alice: Caller
) -> None:
    attempts = [(alice.email, "wrong password"), ("nobody@example.com", PASSWORD), ("no address", PASSWORD), ("", "")]
    attempts += [
        (alice.email, ""),
        (alice.email, PASSWORD + " "),
        (alice.email, "x" * 5000),
        ("nobody@example.com", ""),
    ]
    answers = []
    for email, password in attempts:
        response = await client.post("/api/v1/auth/login", json={"email": email, "password": password})
        problem = assert_problem(response, 401, "invalid-credentials")
        headers = {n: v for n, v in response.headers.items() if n not in ("x-request-id", "content-length")}
        answers.append((problem | {"request_id": ""}, headers))
    assert all(answer == answers[0] for answer in answers)


async def test_a_login_with_an_unknown_address_computes_a_hash_as_well(serve: Serve) -> None:
    client = (await serve(hashing_cost=PRODUCTION)).client()
    started = time.process_time()
    body = {"email": "nobody@example.com", "password": "wrong password"}
    for _ in range(3):
        await client.post("/api/v1/auth/login", json=body)
    # Two passes over 19 MiB take at least 15 ms of processor time; a response without a hash takes 1 ms.
    assert time.process_time() - started > 3 * 0.006


async def test_invalid_login_requests_are_reported_by_field(client: httpx.AsyncClient) -> None:
    assert faults_of(await client.post("/api/v1/auth/login", json={})) == ["/email", "/password"]
    body = {"email": 1, "password": [], "user": "x"}
    assert faults_of(await client.post("/api/v1/auth/login", json=body)) == ["/email", "/password", "/user"]


# --- refreshing ------------------------------------------------------------------------------------


async def test_a_refresh_returns_two_new_tokens_of_the_same_session(stack: Stack, client: httpx.AsyncClient) -> None:
    caller = await stack.sign_up()
    response = await refresh(client, caller.refresh_token)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    grant = response.json()
    assert grant.keys() == GRANT
    assert grant["refresh_token"] != caller.refresh_token
    assert grant["access_token"] != caller.access_token
    assert (grant["session_id"], grant["user"]) == (caller.session_id, caller.grant["user"])
    for token in (caller.access_token, grant["access_token"]):
        assert (await stack.client(token).get("/api/v1/users/me")).status_code == 200


async def test_a_refresh_can_be_repeated_within_ten_seconds(stack: Stack, client: httpx.AsyncClient) -> None:
    caller = await stack.sign_up()
    first = (await refresh(client, caller.refresh_token)).json()
    await stack.execute(f"UPDATE sessions SET rotated_at = '{_seconds_ago(8)}' WHERE id = '{caller.session_id}'")
    again = await refresh(client, caller.refresh_token)
    assert again.status_code == 200
    assert again.json()["refresh_token"] == first["refresh_token"]
    assert (await refresh(client, first["refresh_token"])).status_code == 200


AHEAD: ContextVar[float] = ContextVar("AHEAD", default=0.0)
"""Seconds by which the clock of the node that handles a request is ahead."""


@pytest.fixture
def ahead(request: pytest.FixtureRequest, second_node: Stack, monkeypatch: pytest.MonkeyPatch) -> float:
    """Set the clock of the second node ahead; `AHEAD` must be set while it handles requests."""
    after, sessions, seconds = clock.after, second_node.kingpost.auth.sessions, float(request.param)
    monkeypatch.setattr(clock, "after", lambda shift: after(shift + AHEAD.get()))
    monkeypatch.setattr(clock, "now", lambda: after(AHEAD.get()))
    for part in (sessions._access_tokens, sessions._verified):
        monkeypatch.setattr(part, "_seconds", lambda: time.time() + seconds)
    return seconds


@pytest.mark.parametrize("ahead", [-59, -30, -11, 11, 30, 59], indirect=True)
async def test_nodes_whose_clocks_differ_refresh_the_sessions_of_each_other(
    stack: Stack, second_node: Stack, ahead: float
) -> None:
    nodes = [(stack, 0.0), (second_node, ahead)]

    async def refresh_at(number: int, token: str) -> str:
        node, seconds = nodes[number]
        AHEAD.set(seconds)
        response = await refresh(node.client(), token)
        assert response.status_code == 200, response.text
        for other, its in nodes:
            AHEAD.set(its)
            http = other.client(response.json()["access_token"])
            assert (await http.get("/api/v1/users/me")).status_code == 200
        return str(response.json()["refresh_token"])

    for first in (0, 1):
        AHEAD.set(0.0)
        token = (await stack.sign_up()).refresh_token
        for turn in range(4):
            used_at = (first + turn) % 2
            successor = await refresh_at(used_at, token)
            # The response was lost, and the client asks the other node.
            assert await refresh_at(1 - used_at, token) == successor
            token = successor


async def test_concurrent_refreshes_with_one_token_all_get_the_same_successor(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    caller = await stack.sign_up()
    responses = await asyncio.gather(*[refresh(client, caller.refresh_token) for _ in range(20)])
    assert {response.status_code for response in responses} == {200}
    (successor,) = {response.json()["refresh_token"] for response in responses}
    assert (await refresh(client, successor)).status_code == 200


async def test_reusing_a_refresh_token_after_ten_seconds_ends_the_session(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    caller = await stack.sign_up()
    successor = (await refresh(client, caller.refresh_token)).json()
    await stack.execute(f"UPDATE sessions SET rotated_at = '{_seconds_ago(11)}' WHERE id = '{caller.session_id}'")
    assert_problem(await refresh(client, caller.refresh_token), 401, "unauthenticated")
    assert_problem(await refresh(client, successor["refresh_token"]), 401, "unauthenticated")
    for token in (caller.access_token, successor["access_token"]):
        assert_problem(await stack.client(token).get("/api/v1/users/me"), 401, "unauthenticated")


async def test_reusing_an_older_refresh_token_ends_the_session_at_once(stack: Stack, client: httpx.AsyncClient) -> None:
    caller = await stack.sign_up()
    second = (await refresh(client, caller.refresh_token)).json()["refresh_token"]
    third = (await refresh(client, second)).json()["refresh_token"]
    assert_problem(await refresh(client, caller.refresh_token), 401, "unauthenticated")
    assert_problem(await refresh(client, third), 401, "unauthenticated")
    assert not await is_active(caller)


async def test_reusing_a_refresh_token_ends_only_its_own_session(stack: Stack, client: httpx.AsyncClient) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    second = (await refresh(client, caller.refresh_token)).json()["refresh_token"]
    await refresh(client, second)
    await refresh(client, caller.refresh_token)
    assert not await is_active(caller)
    assert await is_active(other)


async def test_a_forged_refresh_token_is_refused_and_ends_nothing(stack: Stack, client: httpx.AsyncClient) -> None:
    caller = await stack.sign_up()
    token = caller.refresh_token
    flipped = token[:40] + ("A" if token[40] != "A" else "B") + token[41:]
    for forged in ("", "x", "nonsense", "é", token[:-1], token + "A", token + "=", flipped, caller.access_token[:1000]):
        assert_problem(await refresh(client, forged), 401, "unauthenticated")
    assert await is_active(caller)
    assert (await refresh(client, token)).status_code == 200


@pytest.mark.parametrize("column", ["expires_at", "last_used_at"])
async def test_an_expired_or_idle_session_cannot_be_refreshed(
    stack: Stack, client: httpx.AsyncClient, column: str
) -> None:
    caller = await stack.sign_up()
    await stack.execute(f"UPDATE sessions SET {column} = '{LONG_AGO}' WHERE id = '{caller.session_id}'")
    assert_problem(await refresh(client, caller.refresh_token), 401, "unauthenticated")


async def test_a_session_lasts_thirty_idle_days_and_ninety_days_in_total(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    caller = await stack.sign_up()
    day = 24 * 60 * 60
    await stack.execute(
        f"UPDATE sessions SET last_used_at = '{_seconds_ago(29.9 * day)}' WHERE id = '{caller.session_id}'"
    )
    session = (await caller.http.get("/api/v1/auth/sessions")).json()["items"][0]
    assert session["expires_at"][:16] in (_seconds_ago(-90 * day)[:16], _seconds_ago(-90 * day + 30)[:16])
    assert (await refresh(client, caller.refresh_token)).status_code == 200
    session = (await caller.http.get("/api/v1/auth/sessions")).json()["items"][0]
    assert session["last_used_at"] > _seconds_ago(60)


async def test_a_refreshed_token_has_the_current_roles(stack: Stack, client: httpx.AsyncClient, admin: Caller) -> None:
    caller = await stack.sign_up()
    await admin.http.patch(f"/api/v1/users/{caller.id}", json={"roles": ["user", "admin"]})
    grant = (await refresh(client, caller.refresh_token)).json()
    assert grant["user"]["roles"] == ["user", "admin"]
    assert (await stack.client(grant["access_token"]).get("/api/v1/users")).status_code == 200


# --- logging out -----------------------------------------------------------------------------------


async def test_a_logout_with_the_access_token_ends_the_session_at_once(stack: Stack) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    response = await caller.http.post("/api/v1/auth/logout")
    assert (response.status_code, response.content) == (204, b"")
    await assert_ended(stack, caller)
    assert await is_active(other)
    assert_problem(await caller.http.post("/api/v1/auth/logout"), 401, "unauthenticated")


async def test_a_logout_with_the_refresh_token_ends_the_session_at_once_and_can_be_repeated(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    caller = await stack.sign_up()
    for _ in range(3):
        response = await client.post("/api/v1/auth/logout", json={"refresh_token": caller.refresh_token})
        assert (response.status_code, response.content) == (204, b"")
        assert not await is_active(caller)
    await assert_ended(stack, caller)


async def test_a_logout_with_the_refresh_token_needs_no_valid_access_token(stack: Stack) -> None:
    caller = await stack.sign_up()
    body = {"refresh_token": caller.refresh_token}
    for client in (caller.http, caller.http, stack.client("expired"), stack.client()):
        assert (await client.post("/api/v1/auth/logout", json=body)).status_code == 204
    await assert_ended(stack, caller)


async def test_a_logout_with_an_older_refresh_token_ends_the_session_as_well(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    caller = await stack.sign_up()
    await refresh(client, (await refresh(client, caller.refresh_token)).json()["refresh_token"])
    response = await client.post("/api/v1/auth/logout", json={"refresh_token": caller.refresh_token})
    assert response.status_code == 204
    await assert_ended(stack, caller)


@pytest.mark.parametrize("by", ["access token", "refresh token"])
async def test_a_logout_everywhere_ends_all_sessions_of_the_account(stack: Stack, alice: Caller, by: str) -> None:
    caller = await stack.sign_up()
    others = [await stack.log_in(caller.email) for _ in range(2)]
    if by == "access token":
        response = await caller.http.post("/api/v1/auth/logout", json={"everywhere": True})
    else:
        body = {"refresh_token": caller.refresh_token, "everywhere": True}
        response = await stack.client().post("/api/v1/auth/logout", json=body)
    assert response.status_code == 204
    for session in (caller, *others):
        await assert_ended(stack, session)
    assert await is_active(alice)


async def test_a_logout_with_everywhere_false_ends_only_the_current_session(stack: Stack) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    assert (await caller.http.post("/api/v1/auth/logout", json={"everywhere": False})).status_code == 204
    assert await is_active(other)


async def test_a_logout_without_a_valid_token_is_unauthenticated(client: httpx.AsyncClient) -> None:
    for body in ({}, {"everywhere": True}, {"refresh_token": "forged"}):
        assert_problem(await client.post("/api/v1/auth/logout", json=body), 401, "unauthenticated")
    assert_problem(await client.post("/api/v1/auth/logout"), 401, "unauthenticated")


# --- listing and ending ----------------------------------------------------------------------------


async def test_users_list_their_sessions_with_device_and_address(stack: Stack) -> None:
    caller = await stack.sign_up()
    body = {"email": caller.email, "password": PASSWORD}
    client = stack.client(**{"User-Agent": "Ada's phone/1.0"})
    second = (await client.post("/api/v1/auth/login", json=body)).json()
    listed = (await caller.http.get("/api/v1/auth/sessions")).json()
    assert listed.keys() == {"items", "next_cursor"}
    assert listed["next_cursor"] is None
    newest, oldest = listed["items"]
    assert (newest["id"], oldest["id"]) == (second["session_id"], caller.session_id)
    assert (newest["device"], newest["address"]) == ("Ada's phone/1.0", ADDRESS)
    assert (newest["current"], oldest["current"]) == (False, True)
    assert newest["last_used_at"] >= newest["created_at"]


async def test_users_can_end_one_of_their_sessions(stack: Stack) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    path = f"/api/v1/auth/sessions/{other.session_id}"
    response = await caller.http.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    await assert_ended(stack, other)
    assert_problem(await caller.http.delete(path), 404, "not-found")
    listed = (await caller.http.get("/api/v1/auth/sessions")).json()["items"]
    assert [session["id"] for session in listed] == [caller.session_id]
    assert (await caller.http.delete(f"/api/v1/auth/sessions/{caller.session_id}")).status_code == 204
    await assert_ended(stack, caller)


async def test_users_can_neither_list_nor_end_sessions_of_others(stack: Stack, alice: Caller, admin: Caller) -> None:
    caller = await stack.sign_up()
    response = await alice.http.delete(f"/api/v1/auth/sessions/{caller.session_id}")
    assert_problem(response, 403, "forbidden")
    for other in (alice, admin):
        listed = (await other.http.get("/api/v1/auth/sessions")).json()["items"]
        assert caller.session_id not in [session["id"] for session in listed]
        assert_problem(await other.http.delete(f"/api/v1/auth/sessions/{UNKNOWN_ID}"), 404, "not-found")
    for method in ("GET", "DELETE"):
        response = await alice.http.request(method, f"/api/v1/users/{caller.id}/sessions")
        assert_problem(response, 403, "forbidden")
    assert await is_active(caller)


async def test_users_can_end_all_their_other_sessions(stack: Stack, alice: Caller) -> None:
    caller = await stack.sign_up()
    others = [await stack.log_in(caller.email) for _ in range(3)]
    for _ in range(2):  # It also succeeds when there are no other sessions.
        response = await caller.http.delete("/api/v1/auth/sessions")
        assert (response.status_code, response.content) == (204, b"")
    for session in others:
        await assert_ended(stack, session)
    assert await is_active(caller)
    assert (await refresh(stack.client(), caller.refresh_token)).status_code == 200
    assert await is_active(alice)


async def test_an_administrator_can_end_one_session_of_another_account(stack: Stack, admin: Caller) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    path = f"/api/v1/auth/sessions/{other.session_id}"
    assert (await admin.http.delete(path)).status_code == 204
    await assert_ended(stack, other)
    assert await is_active(caller)
    assert await is_active(admin)
    assert_problem(await admin.http.delete(path), 404, "not-found")


async def test_an_administrator_can_list_and_end_all_sessions_of_an_account(stack: Stack, admin: Caller) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    path = f"/api/v1/users/{caller.id}/sessions"
    listed = (await admin.http.get(path)).json()
    assert listed.keys() == {"items", "next_cursor"}
    assert [(session["id"], session["current"]) for session in listed["items"]] == [
        (other.session_id, False),
        (caller.session_id, False),
    ]
    assert listed["items"][0]["address"] == ADDRESS
    assert (await admin.http.delete(path)).status_code == 204
    for session in (caller, other):
        await assert_ended(stack, session)
    assert (await admin.http.get(path)).json()["items"] == []
    assert await is_active(admin)


async def test_users_can_list_and_end_all_their_sessions_by_user_id(stack: Stack) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    path = f"/api/v1/users/{caller.id}/sessions"
    listed = (await caller.http.get(path)).json()
    assert listed == (await caller.http.get("/api/v1/auth/sessions")).json()
    assert [session["current"] for session in listed["items"]] == [False, True]
    assert (await caller.http.delete(path)).status_code == 204
    for session in (caller, other):
        await assert_ended(stack, session)


async def test_a_session_ended_by_another_node_is_refused_within_a_second(stack: Stack) -> None:
    caller = await stack.sign_up()
    now = _seconds_ago(0)
    await stack.execute(f"UPDATE sessions SET ended_at = '{now}' WHERE id = '{caller.session_id}'")
    await assert_within(1.0, lambda: has_ended(caller))
    assert not await is_active(caller)


# --- suspension ------------------------------------------------------------------------------------


async def test_a_suspended_account_loses_its_sessions_and_cannot_log_in_until_it_is_active_again(
    stack: Stack, admin: Caller, make_user: MakeUser
) -> None:
    caller = await make_user()
    other = await stack.log_in(caller.email)
    path = f"/api/v1/users/{caller.id}"
    response = await admin.http.patch(path, json={"status": "suspended"})
    assert response.json()["status"] == "suspended"
    for session in (caller, other):
        await assert_ended(stack, session)
    login = {"email": caller.email, "password": PASSWORD}
    response = await stack.client().post("/api/v1/auth/login", json=login)
    assert_problem(response, 401, "invalid-credentials")
    assert (await admin.http.get(path)).json()["status"] == "suspended"
    assert (await admin.http.patch(path, json={"status": "active"})).status_code == 200
    assert await is_active(await stack.log_in(caller.email))
    await assert_ended(stack, caller)


def _seconds_ago(seconds: float) -> str:
    moment = time.time() - seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment * 1000) % 1000:03d}Z"


async def test_role_changes_by_another_node_apply_to_existing_tokens_within_a_second(stack: Stack) -> None:
    caller = await stack.sign_up()
    before = await caller.http.get("/api/v1/users")
    assert_problem(before, 403, "forbidden")
    # A write as by another node: this node learns of it from the database.
    change = UserChange(roles=("user", "admin"))
    await stack.kingpost.stores.users.change(caller.id, change, clock.now(), None)

    async def is_admitted() -> bool:
        return (await caller.http.get("/api/v1/users")).status_code == 200

    await assert_within(1.0, is_admitted)
    assert await is_admitted()
