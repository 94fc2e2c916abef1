"""Section 3 of the contract: accounts."""

import asyncio
import json
import secrets
from typing import Any

import httpx
import pytest

from tests.api.stack import PASSWORD, UNKNOWN_ID, Caller, MakeUser, Serve, Stack, assert_problem, faults_of

FIELDS = {"id", "email", "email_verified", "name", "metadata", "roles", "status", "created_at", "updated_at"}
LOCAL = "b7d20fd9"


def fresh_email() -> str:
    return f"{secrets.token_hex(8)}@example.com"


# --- signing up ------------------------------------------------------------------------------------


async def test_a_new_account_is_returned_with_all_fields_but_without_its_password(client: httpx.AsyncClient) -> None:
    email = fresh_email()
    body = {"email": email, "password": PASSWORD, "name": "Ada Lovelace ✨", "metadata": {"theme": {"dark": True}}}
    response = await client.post("/api/v1/users", json=body)
    assert response.status_code == 201
    user = response.json()
    assert user.keys() == FIELDS
    assert (user["email"], user["email_verified"]) == (email, False)
    assert (user["name"], user["metadata"]) == ("Ada Lovelace ✨", {"theme": {"dark": True}})
    assert (user["roles"], user["status"]) == (["user"], "active")
    assert user["created_at"] == user["updated_at"]
    assert response.headers["location"] == f"/api/v1/users/{user['id']}"
    assert "argon2" not in response.text


async def test_name_and_metadata_are_optional(client: httpx.AsyncClient) -> None:
    user = (await client.post("/api/users", json={"email": fresh_email(), "password": PASSWORD})).json()
    assert (user["name"], user["metadata"]) == (None, {})


async def test_all_spellings_of_an_address_belong_to_one_account(client: httpx.AsyncClient) -> None:
    local = f"straße.{secrets.token_hex(4)}"
    first = await client.post("/api/v1/users", json={"email": f"{local}@bücher.example", "password": PASSWORD})
    assert first.status_code == 201
    for other in (f"{local}@bücher.example", f"{local.upper()}@BÜCHER.example", f"{local}@xn--bcher-kva.example"):
        response = await client.post("/api/v1/users", json={"email": other, "password": PASSWORD})
        assert_problem(response, 409, "conflict")
        login = await client.post("/api/v1/auth/login", json={"email": other, "password": PASSWORD})
        assert login.json()["user"]["id"] == first.json()["id"]


async def test_exactly_one_of_many_concurrent_sign_ups_with_one_address_succeeds(client: httpx.AsyncClient) -> None:
    body = {"email": fresh_email(), "password": PASSWORD}
    responses = await asyncio.gather(*[client.post("/api/v1/users", json=body) for _ in range(8)])
    assert sorted(response.status_code for response in responses) == [201] + 7 * [409]


@pytest.mark.parametrize(
    "password",
    [
        *("12345678901", "        8", " spaces stay ", "пароль-пароль", "密码密码密码密码", "🐴🔋📎🐴🔋📎🐴🔋"),
        *("x" * 246 + "0123456789", "e\u0301" * 8 + "abc", 'quote"back\\slash/', "tab\tand\nline"),
    ],
)
async def test_a_password_may_contain_any_characters(stack: Stack, password: str) -> None:
    caller = await stack.sign_up(password=password)
    assert caller.id


@pytest.mark.parametrize(
    "password",
    ["short12", "x" * 257, "password", "Password1", "qwertyuiop", "iloveyou", "e\u0301" * 7, f"my {LOCAL} word"],
)
async def test_weak_passwords_are_refused(client: httpx.AsyncClient, password: str) -> None:
    body = {"email": f"{LOCAL}@example.com", "password": password}
    assert faults_of(await client.post("/api/v1/users", json=body)) == ["/password"]


async def test_a_password_is_neither_trimmed_nor_truncated(stack: Stack) -> None:
    long = "x" * 250 + "abcdef"
    for password, others in ((" spaces stay ", ("spaces stay", " spaces stay")), (long, (long[:-1], long[:72]))):
        caller = await stack.sign_up(password=password)
        for other in others:
            body = {"email": caller.email, "password": other}
            assert_problem(await stack.client().post("/api/v1/auth/login", json=body), 401, "invalid-credentials")


@pytest.mark.parametrize(
    "email",
    ["ada", "@example.com", "ada@", "ada@@example.com", "a b@example.com", "ada@exa mple.com", "x" * 250 + "@a.bc"],
)
async def test_invalid_addresses_are_refused(client: httpx.AsyncClient, email: str) -> None:
    assert faults_of(await client.post("/api/v1/users", json={"email": email, "password": PASSWORD})) == ["/email"]


async def test_metadata_of_four_kibibytes_is_accepted_and_more_is_not(client: httpx.AsyncClient) -> None:
    overhead = len('{"text":""}')
    for size, status in ((4096, 201), (4097, 400)):
        body = {"email": fresh_email(), "password": PASSWORD, "metadata": {"text": "x" * (size - overhead)}}
        assert (await client.post("/api/v1/users", json=body)).status_code == status


async def test_when_sign_up_is_closed_only_administrators_create_accounts(serve: Serve) -> None:
    stack = await serve(SIGNUP="closed")
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert_problem(await stack.client().post("/api/v1/users", json=body), 403, "forbidden")
    admin = await stack.sign_up_admin()
    assert (await admin.http.post("/api/v1/users", json=body)).status_code == 201
    ada = await stack.log_in("ada@example.com")
    response = await ada.http.post("/api/v1/users", json=body | {"email": "bob@example.com"})
    assert_problem(response, 403, "forbidden")


# --- reading ---------------------------------------------------------------------------------------


async def test_an_account_can_be_read_by_its_owner_and_by_administrators(
    alice: Caller, bob: Caller, admin: Caller
) -> None:
    mine = await alice.http.get("/api/v1/users/me")
    assert mine.json().keys() == FIELDS | {"pending_email"}
    assert (mine.json()["email"], mine.json()["pending_email"]) == (alice.email, None)
    for caller in (alice, admin):
        response = await caller.http.get(f"/api/v1/users/{alice.id}")
        # Only the owner sees a pending address.
        assert response.json().keys() == (FIELDS if caller is admin else FIELDS | {"pending_email"})
        assert mine.json() == response.json() | {"pending_email": None}
        assert response.headers["etag"] == mine.headers["etag"]
    assert_problem(await bob.http.get(f"/api/v1/users/{alice.id}"), 403, "forbidden")
    for caller in (bob, admin):
        assert_problem(await caller.http.get(f"/api/v1/users/{UNKNOWN_ID}"), 404, "not-found")


async def test_an_unchanged_account_is_not_sent_again(alice: Caller) -> None:
    etag = (await alice.http.get("/api/v1/users/me")).headers["etag"]
    for path in ("me", alice.id):
        response = await alice.http.get(f"/api/v1/users/{path}", headers={"If-None-Match": etag})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", etag)


async def test_an_upper_case_id_means_the_same_account(alice: Caller) -> None:
    response = await alice.http.get(f"/api/v1/users/{alice.id.upper()}")
    assert response.json()["id"] == alice.id


# --- changing --------------------------------------------------------------------------------------


async def test_put_replaces_name_and_metadata(make_user: MakeUser) -> None:
    caller = await make_user(name="Ada", metadata={"theme": "dark"})
    path = f"/api/v1/users/{caller.id}"
    response = await caller.http.put(path, json={"email": caller.email, "name": "Countess", "metadata": {"a": [1]}})
    assert (response.json()["name"], response.json()["metadata"]) == ("Countess", {"a": [1]})
    response = await caller.http.put(path, json={"email": caller.email})
    assert (response.json()["name"], response.json()["metadata"]) == (None, {})
    assert (response.json()["roles"], response.json()["status"]) == (["user"], "active")
    assert (await caller.http.get("/api/v1/users/me")).json() == response.json()
    assert faults_of(await caller.http.put(path, json={"name": "Ada"})) == ["/email"]


async def test_patch_changes_the_given_fields_and_null_clears_a_field(make_user: MakeUser) -> None:
    caller = await make_user(name="Ada", metadata={"theme": "dark", "tabs": {"size": 4, "hard": True}})
    path = f"/api/v1/users/{caller.id}"
    user = (await caller.http.patch(path, json={"metadata": {"tabs": {"hard": None}, "beta": 1}})).json()
    assert user["name"] == "Ada"
    assert user["metadata"] == {"theme": "dark", "tabs": {"size": 4}, "beta": 1}
    user = (await caller.http.patch(path, json={"name": None})).json()
    assert (user["name"], user["metadata"]["theme"]) == (None, "dark")
    user = (await caller.http.patch(path, json={"metadata": None})).json()
    assert user["metadata"] == {}
    user = (await caller.http.patch(path, json={})).json()
    assert user["email"] == caller.email
    for name in ("email", "roles", "status"):
        assert faults_of(await caller.http.patch(path, json={name: None})) == [f"/{name}"]


async def test_a_json_patch_follows_the_same_rules_as_other_changes(make_user: MakeUser) -> None:
    caller = await make_user(name="Ada", metadata={"tabs": [1]})
    path = f"/api/v1/users/{caller.id}"

    async def patch(*operations: dict[str, Any]) -> httpx.Response:
        headers = {"Content-Type": "application/json-patch+json"}
        return await caller.http.patch(path, content=json.dumps(operations), headers=headers)

    user = (
        await patch({"op": "add", "path": "/metadata/tabs/-", "value": 2}, {"op": "remove", "path": "/name"})
    ).json()
    assert (user["metadata"], user["name"]) == ({"tabs": [1, 2]}, None)
    for faulty in (
        {"op": "replace", "path": "/id", "value": UNKNOWN_ID},
        {"op": "add", "path": "/password", "value": "staple battery horse"},
        {"op": "remove", "path": "/email"},
        {"op": "replace", "path": "/name", "value": 5},
        {"op": "add", "path": "/metadata/x", "value": "x" * 5000},
        {"op": "replace", "path": "/email", "value": "new@example.com"},
    ):
        assert_problem(await patch(faulty), 400, "invalid-request")
    for access in (
        {"op": "add", "path": "/roles/-", "value": "admin"},
        {"op": "replace", "path": "/status", "value": "suspended"},
    ):
        assert (await patch(access)).status_code in (400, 403)
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"a": deep}
    nesting = [{"op": "add", "path": "/metadata" + "/a" * level, "value": deep} for level in (1, 20)]
    assert_problem(await patch(*nesting), 400, "invalid-request")
    assert (await caller.http.get(path)).json() == user


async def test_a_change_updates_the_etag_and_updated_at(make_user: MakeUser) -> None:
    caller = await make_user()
    before = await caller.http.get("/api/v1/users/me")
    after = await caller.http.patch(f"/api/v1/users/{caller.id}", json={"name": "Ada"})
    assert after.headers["etag"] != before.headers["etag"]
    assert after.json()["updated_at"] > before.json()["updated_at"]
    assert after.json()["created_at"] == before.json()["created_at"]
    assert (await caller.http.get("/api/v1/users/me")).headers["etag"] == after.headers["etag"]


async def test_a_patch_that_makes_metadata_too_large_is_refused(make_user: MakeUser) -> None:
    caller = await make_user(metadata={"a": "x" * 3000})
    response = await caller.http.patch(f"/api/v1/users/{caller.id}", json={"metadata": {"b": "x" * 3000}})
    assert faults_of(response) == ["/metadata"]


async def test_users_need_their_password_to_change_their_address(make_user: MakeUser, login: MakeUser) -> None:
    caller = await make_user()
    path, new = f"/api/v1/users/{caller.id}", fresh_email()
    assert faults_of(await caller.http.patch(path, json={"email": new})) == ["/current_password"]
    wrong = await caller.http.patch(path, json={"email": new, "current_password": "wrong password"})
    assert_problem(wrong, 403, "forbidden")
    right = await caller.http.patch(path, json={"email": new, "current_password": PASSWORD})
    assert (right.status_code, right.json()["email"]) == (200, new)
    assert (await login(new)).id == caller.id
    again = await make_user(caller.email)
    assert again.id != caller.id


async def test_changing_to_an_address_in_use_is_a_conflict(make_user: MakeUser, alice: Caller) -> None:
    caller = await make_user()
    body = {"email": alice.email.upper(), "current_password": PASSWORD}
    assert_problem(await caller.http.patch(f"/api/v1/users/{caller.id}", json=body), 409, "conflict")


async def test_an_administrator_changes_addresses_of_others_without_their_password(
    make_user: MakeUser, admin: Caller
) -> None:
    caller, new = await make_user(), fresh_email()
    response = await admin.http.patch(f"/api/v1/users/{caller.id}", json={"email": new})
    assert response.json()["email"] == new


@pytest.mark.parametrize("body", [{"roles": ["user", "admin"]}, {"roles": ["user"]}, {"status": "suspended"}])
async def test_only_administrators_change_roles_and_status(make_user: MakeUser, body: dict[str, Any]) -> None:
    caller = await make_user()
    path = f"/api/v1/users/{caller.id}"
    assert_problem(await caller.http.patch(path, json=body), 403, "forbidden")
    assert_problem(await caller.http.put(path, json={"email": caller.email} | body), 403, "forbidden")
    assert (await caller.http.get("/api/v1/users/me")).json()["roles"] == ["user"]


async def test_an_administrator_can_grant_roles(make_user: MakeUser, login: MakeUser, admin: Caller) -> None:
    caller = await make_user()
    path = f"/api/v1/users/{caller.id}"
    response = await admin.http.patch(path, json={"roles": ["user", "editor", "admin"]})
    assert response.json()["roles"] == ["user", "editor", "admin"]
    assert_problem(await (await login(caller.email)).http.get(f"/api/v1/users/{UNKNOWN_ID}"), 404, "not-found")
    promoted = await login(caller.email)
    assert (await promoted.http.get("/api/v1/users")).status_code == 200


@pytest.mark.parametrize("role", ["", "Admin", "a b", "admin\n", "x" * 64, "é", 5])
async def test_invalid_role_names_are_refused(make_user: MakeUser, admin: Caller, role: object) -> None:
    caller = await make_user()
    response = await admin.http.patch(f"/api/v1/users/{caller.id}", json={"roles": ["user", role]})
    assert faults_of(response) == ["/roles/1"]


async def test_a_former_administrator_loses_the_permissions_at_once(stack: Stack, admin: Caller) -> None:
    former = await stack.sign_up_admin()
    await admin.http.patch(f"/api/v1/users/{former.id}", json={"roles": ["user"]})
    response = await former.http.get("/api/v1/users")
    assert_problem(response, 403, "forbidden")


async def test_users_cannot_change_other_accounts(alice: Caller, bob: Caller) -> None:
    path = f"/api/v1/users/{alice.id}"
    for method, target, body in (
        ("PUT", path, {"email": bob.email}),
        ("PATCH", path, {"name": "Mallory"}),
        ("DELETE", path, None),
        ("PUT", f"{path}/password", {"current_password": PASSWORD, "new_password": "another password"}),
    ):
        assert_problem(await bob.http.request(method, target, json=body), 403, "forbidden")
    assert (await alice.http.get("/api/v1/users/me")).json()["name"] is None


# --- preconditions ---------------------------------------------------------------------------------


async def test_a_change_with_an_old_etag_is_refused_with_the_current_account(make_user: MakeUser) -> None:
    caller = await make_user()
    path = f"/api/v1/users/{caller.id}"
    etag = (await caller.http.get(path)).headers["etag"]
    body = {"email": caller.email, "name": "Ada", "metadata": {"a": 1}}
    first = await caller.http.put(path, json=body, headers={"If-Match": etag})
    assert first.status_code == 200
    changes: list[tuple[str, dict[str, Any] | None]] = [
        ("PUT", body),
        ("PATCH", {"name": "Bob"}),
        ("PATCH", {"metadata": {"b": 2}}),
        ("DELETE", None),
    ]
    for method, change in changes:
        response = await caller.http.request(method, path, json=change, headers={"If-Match": etag})
        assert assert_problem(response, 412, "version-mismatch")["current"] == first.json()
    last = await caller.http.patch(path, json={"name": "Bob"}, headers={"If-Match": first.headers["etag"]})
    assert last.status_code == 200


async def test_exactly_one_of_many_concurrent_changes_of_one_version_succeeds(make_user: MakeUser) -> None:
    caller = await make_user()
    path = f"/api/v1/users/{caller.id}"
    headers = {"If-Match": (await caller.http.get(path)).headers["etag"]}
    changes = [caller.http.patch(path, json={"name": f"name {n}"}, headers=headers) for n in range(10)]
    changes += [caller.http.patch(path, json={"metadata": {f"n{n}": n}}, headers=headers) for n in range(10)]
    statuses = [response.status_code for response in await asyncio.gather(*changes)]
    assert sorted(statuses) == [200] + 19 * [412]


async def test_no_concurrent_patch_of_metadata_is_lost(make_user: MakeUser) -> None:
    caller = await make_user()
    path = f"/api/v1/users/{caller.id}"
    patches = [caller.http.patch(path, json={"metadata": {f"n{n}": n}}) for n in range(15)]
    assert {response.status_code for response in await asyncio.gather(*patches)} == {200}
    assert (await caller.http.get(path)).json()["metadata"] == {f"n{n}": n for n in range(15)}


# --- passwords -------------------------------------------------------------------------------------


async def test_a_new_password_ends_all_other_sessions(stack: Stack) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    body = {"current_password": PASSWORD, "new_password": "staple battery horse"}
    response = await caller.http.put(f"/api/v1/users/{caller.id}/password", json=body)
    assert (response.status_code, response.content) == (204, b"")
    assert (await caller.http.get("/api/v1/users/me")).status_code == 200
    assert_problem(await other.http.get("/api/v1/users/me"), 401, "unauthenticated")
    refresh = await stack.client().post("/api/v1/auth/refresh", json={"refresh_token": other.refresh_token})
    assert_problem(refresh, 401, "unauthenticated")
    old = await stack.client().post("/api/v1/auth/login", json={"email": caller.email, "password": PASSWORD})
    assert_problem(old, 401, "invalid-credentials")
    await stack.log_in(caller.email, "staple battery horse")


async def test_users_need_their_current_password_to_change_it(make_user: MakeUser, admin: Caller) -> None:
    caller = await make_user()
    path = f"/api/v1/users/{caller.id}/password"
    body = {"current_password": "wrong password", "new_password": "staple battery horse"}
    response = await caller.http.put(path, json=body)
    assert response.status_code in (400, 403)
    by_admin = {"current_password": PASSWORD, "new_password": "staple battery horse"}
    assert_problem(await admin.http.put(path, json=by_admin), 403, "forbidden")
    response = await admin.http.put(f"/api/v1/users/{UNKNOWN_ID}/password", json=by_admin)
    assert_problem(response, 404, "not-found")


async def test_weak_new_passwords_are_refused(make_user: MakeUser) -> None:
    caller = await make_user()
    for weak in ("short", "password", f"i am {caller.email.partition('@')[0]}"):
        body = {"current_password": PASSWORD, "new_password": weak}
        response = await caller.http.put(f"/api/v1/users/{caller.id}/password", json=body)
        assert faults_of(response) == ["/new_password"]


# --- deleting --------------------------------------------------------------------------------------


async def test_deleting_an_account_ends_its_sessions_and_frees_its_address(stack: Stack) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    await caller.http.post("/api/v1/resources", json={"type": "note", "data": {}})
    response = await caller.http.delete(f"/api/v1/users/{caller.id}")
    assert (response.status_code, response.content) == (204, b"")
    client = stack.client()
    for session in (caller, other):
        assert_problem(await session.http.get("/api/v1/users/me"), 401, "unauthenticated")
        refresh = await client.post("/api/v1/auth/refresh", json={"refresh_token": session.refresh_token})
        assert_problem(refresh, 401, "unauthenticated")
    login = await client.post("/api/v1/auth/login", json={"email": caller.email, "password": PASSWORD})
    assert_problem(login, 401, "invalid-credentials")
    again = await stack.sign_up(caller.email)
    assert again.id != caller.id
    assert (await again.http.get("/api/v1/resources")).json()["items"] == []


async def test_deleting_an_account_deletes_its_resources(make_user: MakeUser, admin: Caller) -> None:
    caller = await make_user()
    created = await caller.http.post("/api/v1/resources", json={"type": "note", "data": {}})
    assert (await admin.http.delete(f"/api/v1/users/{caller.id}")).status_code == 204
    assert_problem(await admin.http.get(f"/api/v1/resources/{created.json()['id']}"), 404, "not-found")
    for target in (caller.id, caller.id):
        assert_problem(await admin.http.delete(f"/api/v1/users/{target}"), 404, "not-found")


async def test_the_last_administrator_can_be_neither_deleted_nor_demoted_nor_suspended(serve: Serve) -> None:
    stack = await serve()
    admin = await stack.sign_up_admin()
    path = f"/api/v1/users/{admin.id}"
    assert_problem(await admin.http.delete(path), 409, "conflict")
    for body in ({"roles": ["user"]}, {"status": "suspended"}):
        assert_problem(await admin.http.patch(path, json=body), 409, "conflict")
        assert_problem(await admin.http.put(path, json={"email": admin.email} | body), 409, "conflict")
    assert (await admin.http.get("/api/v1/users")).status_code == 200


async def test_concurrent_deletions_of_all_administrators_leave_one(serve: Serve) -> None:
    stack = await serve()
    admins = [await stack.sign_up_admin() for _ in range(4)]
    responses = await asyncio.gather(*[admin.http.delete(f"/api/v1/users/{admin.id}") for admin in admins])
    assert sorted(response.status_code for response in responses) == [204, 204, 204, 409]


# --- administration --------------------------------------------------------------------------------


async def test_a_suspended_account_has_no_access_until_it_is_active_again(stack: Stack, admin: Caller) -> None:
    caller = await stack.sign_up()
    path = f"/api/v1/users/{caller.id}"
    suspended = await admin.http.patch(path, json={"status": "suspended"})
    assert (suspended.status_code, suspended.json()["status"]) == (200, "suspended")
    assert_problem(await caller.http.get("/api/v1/users/me"), 401, "unauthenticated")
    refresh = await stack.client().post("/api/v1/auth/refresh", json={"refresh_token": caller.refresh_token})
    assert_problem(refresh, 401, "unauthenticated")
    body = {"email": caller.email, "password": PASSWORD}
    assert_problem(await stack.client().post("/api/v1/auth/login", json=body), 401, "invalid-credentials")
    assert (await admin.http.patch(path, json={"status": "active"})).json()["status"] == "active"
    assert_problem(await caller.http.get("/api/v1/users/me"), 401, "unauthenticated")
    again = await stack.log_in(caller.email)
    assert (await again.http.get("/api/v1/users/me")).json()["status"] == "active"


async def test_role_changes_apply_to_existing_tokens(stack: Stack, admin: Caller) -> None:
    caller = await stack.sign_up()
    path = f"/api/v1/users/{caller.id}"
    assert_problem(await caller.http.get("/api/v1/users"), 403, "forbidden")
    await admin.http.patch(path, json={"roles": ["user", "admin"]})
    assert (await caller.http.get("/api/v1/users")).status_code == 200
    await admin.http.patch(path, json={"roles": []})
    assert_problem(await caller.http.get("/api/v1/users"), 403, "forbidden")
    assert (await caller.http.get("/api/v1/users/me")).json()["roles"] == []


@pytest.mark.parametrize("change", [{"roles": ["user"]}, {"status": "suspended"}], ids=["demoted", "suspended"])
async def test_concurrent_demotions_or_suspensions_of_all_administrators_leave_one(
    serve: Serve, change: dict[str, Any]
) -> None:
    stack = await serve()
    admins = [await stack.sign_up_admin() for _ in range(4)]
    # Each administrator changes the next one, so that all of them send a request before they lose the role.
    pairs = zip(admins, [*admins[1:], admins[0]], strict=True)
    requests = [admin.http.patch(f"/api/v1/users/{other.id}", json=change) for admin, other in pairs]
    await asyncio.gather(*requests)
    outcomes = [(await admin.http.get("/api/v1/users")).status_code for admin in admins]
    assert set(outcomes) <= {200, 401 if "status" in change else 403}
    assert 200 in outcomes


# --- bad credentials at the sign-up ----------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["Bearer x", "Bearer kp_0", "Bearer a.b.c", "Basic YTpi", "nonsense"])
@pytest.mark.parametrize(("mode", "status"), [("open", 201), ("verified", 202), ("closed", 401)])
async def test_a_sign_up_passes_over_bad_credentials_unless_only_administrators_sign_up(
    serve: Serve, authorization: str, mode: str, status: int
) -> None:
    stack = await serve(SIGNUP=mode)
    body = {"email": "ada@example.com", "password": PASSWORD}
    response = await stack.client().post("/api/v1/users", json=body, headers={"Authorization": authorization})
    assert response.status_code == status
