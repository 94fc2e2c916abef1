"""API keys over HTTP: creating and listing them, and using them instead of access tokens."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from kingpost import clock
from kingpost.auth.api_keys.key_format import is_well_formed, new_key
from kingpost.auth.api_keys.scopes import SCOPES
from kingpost.auth.api_keys.service import CACHE_LIFETIME, MAX_KEYS
from tests.api.machines import KEYS, ME, NEW_KEY, Machine, list_keys, make_key
from tests.api.stack import PASSWORD, UNKNOWN_ID, Caller, Serve, Stack, assert_problem, faults_of

RESOURCES = "/api/v1/resources"
NOTE = {"type": "note", "data": {}}
DAY = 24 * 60 * 60
WITHOUT_ADMIN = [scope for scope in SCOPES if scope != "users:admin"]


# --- creating and listing ------------------------------------------------------------------------


async def test_a_new_key_is_returned_once_and_not_stored(stack: Stack) -> None:
    owner = await stack.sign_up()
    body = {"name": "nightly import 🌙", "scopes": ["resources:write", "users:read"]}
    response = await owner.http.post(KEYS, json=body | {"password": PASSWORD})
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    created = response.json()
    key = created.pop("key")
    assert is_well_formed(key)
    assert created == body | {
        "id": created["id"],
        "hint": key[:7],
        "created_at": created["created_at"],
        "expires_at": clock.a_year_after(created["created_at"]),
        "last_used_at": None,
    }
    assert abs(datetime.fromisoformat(created["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert await list_keys(owner) == [created]
    assert key not in str([tuple(row) for row in await stack.execute("SELECT * FROM api_keys")])


async def test_users_list_their_own_keys_newest_first(stack: Stack) -> None:
    owner, other = await stack.sign_up(), await stack.sign_up()
    names = ["first", "second", "third"]
    for name in names:
        await make_key(stack, owner, name=name)
    assert [item["name"] for item in await list_keys(owner)] == names[::-1]
    assert await list_keys(other) == []


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, ["/name", "/scopes"]),
        ({"password": None, "otp": 1}, ["/name", "/otp", "/password", "/scopes"]),
        ({"name": "", "scopes": []}, ["/name", "/scopes"]),
        ({"name": "x" * 101, "scopes": ["users:read"]}, ["/name"]),
        ({"name": None, "scopes": "users:read"}, ["/name", "/scopes"]),
        ({"name": "x", "scopes": ["users:read", "users:delete", "*", 1]}, ["/scopes/1", "/scopes/2", "/scopes/3"]),
        ({"name": "x", "scopes": ["Users:Read"]}, ["/scopes/0"]),
        ({"name": "x", "scopes": ["users:read", "users:read"]}, ["/scopes"]),
        ({"name": "x", "scopes": ["users:read"], "key": "kp_mine", "user_id": UNKNOWN_ID}, ["/key", "/user_id"]),
        ({"name": 1, "scopes": ["x"], "expires_at": "yesterday"}, ["/expires_at", "/name", "/scopes/0"]),
        ({"name": 1, "scopes": ["users:read"] * 2, "expires_at": 1}, ["/expires_at", "/name", "/scopes"]),
    ],
)
async def test_all_faults_of_a_new_key_are_reported(alice: Caller, body: dict[str, Any], faults: list[str]) -> None:
    assert faults_of(await alice.http.post(KEYS, json={"password": PASSWORD} | body)) == faults


async def test_a_name_may_have_a_hundred_characters_of_any_kind(stack: Stack) -> None:
    owner = await stack.sign_up()
    names = ["🦊" * 100, "x", "<script>alert(1)</script>", "'; DROP TABLE api_keys; --"]
    for name in names:
        await make_key(stack, owner, name=name)
    assert [item["name"] for item in await list_keys(owner)] == names[::-1]


async def test_an_account_can_have_at_most_a_hundred_keys(stack: Stack) -> None:
    owner = await stack.sign_up()
    responses = []
    for count in (MAX_KEYS - 20, 25):  # More passwords cannot be checked at once.
        for start in range(0, count, 40):
            attempts = [owner.http.post(KEYS, json=NEW_KEY) for _ in range(min(40, count - start))]
            responses += await asyncio.gather(*attempts)
    refused = [response for response in responses if response.status_code != 201]
    assert len(refused) == 5
    for response in refused:
        assert_problem(response, 409, "conflict")
    assert len(await list_keys(owner)) == MAX_KEYS
    assert (await owner.http.delete(f"{KEYS}/{responses[0].json().get('id')}")).status_code == 204
    await make_key(stack, owner)


# --- expiry --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "stored"),
    [
        ("{day}T23:59:59Z", "{day}T23:59:59.000Z"),
        ("{day}t23:59:59.1z", "{day}T23:59:59.100Z"),
        ("{day}T23:59:59.1234567Z", "{day}T23:59:59.124Z"),
        ("{next_day}T01:30:00+01:30", "{next_day}T00:00:00.000Z"),
        ("{day}T19:00:00.5-05:00", "{next_day}T00:00:00.500Z"),
    ],
)
async def test_an_expiry_is_accepted_with_any_offset_and_stored_in_utc(stack: Stack, form: str, stored: str) -> None:
    owner = await stack.sign_up()
    days = {"day": clock.after(30 * DAY)[:10], "next_day": clock.after(31 * DAY)[:10]}
    given, stored = form.format(**days), stored.format(**days)
    machine = await make_key(stack, owner, expires_at=given)
    assert machine.created["expires_at"] == stored
    assert [item["expires_at"] for item in await list_keys(owner)] == [stored]
    assert await machine.status() == 200


@pytest.mark.parametrize("given", [{}, {"expires_at": None}])
async def test_a_key_without_an_expiry_lives_for_a_year(stack: Stack, given: dict[str, Any]) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner, **given)
    a_year_later = clock.a_year_after(machine.created["created_at"])
    assert machine.created["expires_at"] == a_year_later
    assert [item["expires_at"] for item in await list_keys(owner)] == [a_year_later]
    assert (await owner.http.get(f"/api/v1/users/{owner.id}/export")).json()["api_keys"] == await list_keys(owner)


async def test_a_key_lives_for_a_year_at_most(stack: Stack) -> None:
    owner = await stack.sign_up()
    a_year_later = clock.a_year_after(clock.now())
    machine = await make_key(stack, owner, expires_at=a_year_later)
    assert machine.created["expires_at"] == a_year_later
    for seconds in (5, DAY, 30 * DAY, 100 * 365 * DAY):
        body = {"name": "x", "scopes": ["users:read"], "expires_at": clock.shifted(a_year_later, seconds)}
        response = await owner.http.post(KEYS, json=body)
        assert faults_of(response) == ["/expires_at"]
        assert a_year_later[:16] in response.json()["errors"][0]["detail"]


async def test_a_key_of_an_earlier_release_without_an_expiry_ends_a_year_after_its_creation(stack: Stack) -> None:
    owner = await stack.sign_up()
    young, old = await make_key(stack, owner), await make_key(stack, owner)
    created_at = clock.after(-366 * DAY)
    await stack.execute(f"UPDATE api_keys SET expires_at = NULL WHERE user_id = '{owner.id}'")
    await stack.execute(f"UPDATE api_keys SET created_at = '{created_at}' WHERE id = '{old.id}'")
    assert [await young.status(), await old.status()] == [200, 401]
    expected = [clock.a_year_after(created_at), young.created["expires_at"]]
    assert [item["expires_at"] for item in await list_keys(owner)] == expected


@pytest.mark.parametrize(
    "given",
    [
        "2020-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "2099-12-31T23:59:59",
        "2099-12-31",
        "2099-02-30T00:00:00Z",
        "2099-12-31T23:59:60Z",
        "2099-12-31T24:00:00Z ",
        "tomorrow",
        "",
        "20991231T235959Z",
        "２０９９-12-31T23:59:59Z",
        "2099-12-31T23:59:59Z" + "0" * 1000,
        4102444799,
        {"$gt": ""},
    ],
)
async def test_invalid_expiries_are_refused(alice: Caller, given: Any) -> None:
    body = NEW_KEY | {"expires_at": given}
    assert set(faults_of(await alice.http.post(KEYS, json=body))) == {"/expires_at"}


async def test_an_expired_key_is_refused_but_still_listed(stack: Stack) -> None:
    owner = await stack.sign_up()
    expires_at = clock.after(1.0)
    machine = await make_key(stack, owner, expires_at=expires_at)
    assert await machine.status() == 200 or clock.now() >= expires_at
    await asyncio.sleep(1.0 + CACHE_LIFETIME)
    assert_problem(await machine.http.get(ME), 401, "unauthenticated")
    assert [item["id"] for item in await list_keys(owner)] == [machine.id]


# --- using ---------------------------------------------------------------------------------------


async def test_a_key_is_accepted_instead_of_an_access_token(stack: Stack, kind: str) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner)
    assert (await machine.http.get(ME)).json() == (await owner.http.get(ME)).json()
    assert await machine.status("/api/users/me") == 200
    created = await machine.http.post(RESOURCES, json={"type": kind, "data": {"by": "a machine"}})
    assert created.status_code == 201
    assert created.json()["owner_id"] == owner.id
    path = f"{RESOURCES}/{created.json()['id']}"
    replaced = await machine.http.put(path, json={"data": {}}, headers={"If-Match": created.headers["etag"]})
    assert replaced.status_code == 200
    assert (await owner.http.get(path)).json() == replaced.json()
    same = await machine.http.get(path, headers={"If-None-Match": replaced.headers["etag"]})
    assert same.status_code == 304
    assert len((await machine.http.get(RESOURCES, params={"type": kind})).json()["items"]) == 1
    changed = await machine.http.patch(f"/api/v1/users/{owner.id}", json={"name": "Ada"})
    assert changed.json()["name"] == "Ada"
    assert (await machine.http.delete(path)).status_code == 204


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
async def test_the_authorization_scheme_is_case_insensitive(stack: Stack, scheme: str) -> None:
    machine = await make_key(stack, await stack.sign_up())
    for space in (" ", "   "):
        headers = {"Authorization": f"{scheme}{space}{machine.key}"}
        assert (await stack.client().get(ME, headers=headers)).status_code == 200


async def test_head_and_options_treat_a_key_like_an_access_token(stack: Stack) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner, ["users:read"])
    for path, status in ((ME, 200), (RESOURCES, 403), (KEYS, 403)):
        head, get = await machine.http.head(path), await machine.http.get(path)
        assert (head.status_code, head.content) == (get.status_code, b"") == (status, b"")
        for http in (machine.http, owner.http):
            assert_problem(await http.options(path), 405, "method-not-allowed")


async def test_a_key_outside_the_bearer_header_is_ignored(stack: Stack) -> None:
    machine = await make_key(stack, await stack.sign_up())
    anonymous, key = stack.client(), machine.key
    for name in ("key", "api_key", "access_token", "token"):
        assert_problem(await anonymous.get(ME, params={name: key}), 401, "unauthenticated")
        assert faults_of(await machine.http.get(ME, params={name: key})) == [name]
    for headers in (
        {"X-API-Key": key},
        {"Cookie": f"key={key}"},
        {"Authorization": key},
        {"Authorization": f"ApiKey {key}"},
    ):
        assert_problem(await anonymous.get(ME, headers=headers), 401, "unauthenticated")
    assert_problem(await anonymous.get(ME, auth=(key, "")), 401, "unauthenticated")


async def test_the_answer_to_a_request_without_credentials_mentions_api_keys(client: httpx.AsyncClient) -> None:
    problem = assert_problem(await client.get(ME), 401, "unauthenticated")
    assert problem["detail"] == "Send an API key or an access token in the header Authorization: Bearer <token>"


async def test_altered_and_unknown_keys_are_refused(stack: Stack) -> None:
    machine = await make_key(stack, await stack.sign_up())
    key = machine.key
    wrong = [
        new_key(),
        key[:-1],
        key + "0",
        key.swapcase(),
        "KP_" + key[3:],
        key[3:],
        f"{key},{key}",
        "kp_",
        f'"{key}"',
    ]
    for text in (*wrong, key[:20] + ("0" if key[20] != "0" else "1") + key[21:], "kp_" + "é" * 49):
        headers = {b"Authorization": f"Bearer {text}".encode("latin-1")}
        response = await stack.client().get(ME, headers=headers)
        problem = assert_problem(response, 401, "unauthenticated")
        assert text not in problem["detail"]
    assert await machine.status() == 200


async def test_the_missing_scope_is_named(stack: Stack) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner, ["resources:read"])
    assert await machine.status(RESOURCES) == 200
    for response, scope in (
        (await machine.http.get(ME), "users:read"),
        (await machine.http.post(RESOURCES, json=NOTE), "resources:write"),
        (await machine.http.patch(f"/api/v1/users/{owner.id}", json={"name": "Eve"}), "users:write"),
    ):
        assert scope in assert_problem(response, 403, "forbidden")["detail"]
    # A write scope does not include reading, and a read scope does not include writing.
    writer = await make_key(stack, owner, ["resources:write"])
    created = await writer.http.post(RESOURCES, json=NOTE)
    assert created.status_code == 201
    assert await writer.status(created.headers["location"]) == 403


async def test_keys_cannot_manage_keys_sessions_passwords_or_second_factors(stack: Stack, admin: Caller) -> None:
    owner = await stack.sign_up()
    for machine in (await make_key(stack, owner), await make_key(stack, admin, WITHOUT_ADMIN)):
        other = await make_key(stack, owner)
        passwords = {"current_password": owner.password, "new_password": "staple battery horse"}
        password = await machine.http.put(f"/api/v1/users/{owner.id}/password", json=passwords)
        refused = [
            await machine.http.post(KEYS, json=NEW_KEY),
            await machine.http.get(KEYS),
            await machine.http.delete(f"{KEYS}/{other.id}"),
            await machine.http.delete(f"{KEYS}/{machine.id}"),
            await machine.http.get("/api/v1/auth/sessions"),
            await machine.http.delete("/api/v1/auth/sessions"),
            await machine.http.get(f"/api/v1/users/{owner.id}/sessions"),
            await machine.http.delete(f"/api/v1/users/{owner.id}/sessions"),
            await machine.http.delete(f"/api/v1/auth/sessions/{owner.session_id}"),
            await machine.http.post("/api/v1/auth/totp"),
            await machine.http.post("/api/v1/auth/logout", json={"everywhere": True}),
            password,
        ]
        for response in refused:
            assert_problem(response, 403, "forbidden")
        assert await other.status() == 200
    assert (await owner.http.get(ME)).status_code == 200


async def test_a_key_makes_no_difference_where_the_body_authenticates_the_caller(stack: Stack) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner, ["audit:read"])
    other = await stack.log_in(owner.email)
    body = {"refresh_token": other.refresh_token}
    assert (await machine.http.post("/api/v1/auth/logout", json=body)).status_code == 204
    assert (await other.http.get(ME)).status_code == 401
    assert (await owner.http.get(ME)).status_code == 200


async def test_a_sign_up_uses_the_permissions_of_a_key_sent_with_it(serve: Serve) -> None:
    stack = await serve(SIGNUP="closed")
    admin = await stack.sign_up_admin()

    async def status(client: httpx.AsyncClient) -> int:
        body = {"email": f"new{time.monotonic_ns()}@example.com", "password": "correct horse battery"}
        return (await client.post("/api/v1/users", json=body)).status_code

    created = await admin.http.post(KEYS, json=NEW_KEY | {"scopes": ["users:admin"]})
    machine = Machine(stack, created.json())
    assert await status(machine.http) == 201
    assert await status(stack.client()) == 403
    for scopes in (["users:write"], ["users:read"], WITHOUT_ADMIN):
        assert await status((await make_key(stack, admin, scopes)).http) == 403
    assert await status(stack.client(new_key())) == 401
    assert (await admin.http.delete(f"{KEYS}/{machine.id}")).status_code == 204
    assert await status(machine.http) == 401


async def test_a_new_key_is_notified_by_mail_without_the_key_itself(stack: Stack) -> None:
    owner = await stack.sign_up()
    machine = await make_key(stack, owner)
    message = (await stack.mails(owner.email))[-1]
    assert message["Subject"] == "An API key was created for your account"
    text = message.as_string()
    assert machine.created["hint"] in text
    assert machine.key not in text
