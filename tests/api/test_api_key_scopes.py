"""The permissions of API keys by their scopes: every route is called with keys of every kind."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kingpost.auth.api_keys.scopes import SCOPES
from kingpost.http.app.router import Route
from kingpost.http.openapi.document import IGNORE_BAD_CREDENTIALS
from kingpost.main import ROUTES
from tests.api.access import CALLERS, EXPECTED, SLUGS, client_of, name_of, path_of
from tests.api.machines import KEYS, ME, Machine, make_key
from tests.api.stack import PASSWORD, Caller, MakeUser, Stack, assert_problem

NEVER = ("never",)
"""Stands for a scope that no key has."""

# The scopes that a key needs on each route: for a thing of its owner, and for one of another account.
NEEDED: Mapping[tuple[str, str], tuple[Sequence[str], Sequence[str]]] = {
    ("POST", "/api/users"): (["users:admin"], ["users:admin"]),
    ("GET", "/api/users"): (["users:read"], ["users:read"]),
    ("GET", "/api/users/me"): (["users:read"], ["users:read"]),
    ("GET", "/api/users/{id}"): (["users:read"], ["users:read"]),
    ("PUT", "/api/users/{id}"): (["users:write"], ["users:admin"]),
    ("PATCH", "/api/users/{id}"): (["users:write"], ["users:admin"]),
    ("DELETE", "/api/users/{id}"): (NEVER, ["users:admin"]),
    ("GET", "/api/users/{id}/export"): (["users:read", "resources:read"], ["users:read", "resources:read"]),
    ("DELETE", "/api/users/{id}/sessions"): (NEVER, ["users:admin"]),
    ("DELETE", "/api/users/{id}/totp"): (NEVER, ["users:admin"]),
    ("GET", "/api/resources"): (["resources:read"], ["resources:read"]),
    ("POST", "/api/resources"): (["resources:write"], ["resources:write"]),
    ("GET", "/api/resources/{id}"): (["resources:read"], ["resources:read"]),
    ("PUT", "/api/resources/{id}"): (["resources:write"], ["resources:write"]),
    ("PATCH", "/api/resources/{id}"): (["resources:write"], ["resources:write"]),
    ("DELETE", "/api/resources/{id}"): (["resources:write"], ["resources:write"]),
    ("GET", "/api/audit"): (["audit:read"], ["audit:read"]),
    ("GET", "/api/audit/export"): (["audit:read"], ["audit:read"]),
}


def keys_to_try(needed: Sequence[str], *, by_admin: bool) -> list[list[str]]:
    """Every scope alone, all scopes together, the needed ones alone, and all but one of the needed."""
    grantable: list[str] = [scope for scope in SCOPES if by_admin or scope != "users:admin"]
    tried = [*([scope] for scope in grantable), grantable]
    tried += [[scope for scope in grantable if scope != missing] for missing in needed]
    if set(needed) <= set(grantable):
        tried.append(list(needed))
    return tried


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
async def test_an_api_key_has_the_permissions_of_its_owner_within_its_scopes(route: Route[Any], stack: Stack) -> None:
    entry = EXPECTED[route.method, route.path]
    by_place = NEEDED.get((route.method, route.path), (NEVER, NEVER))
    owner = await stack.sign_up()
    for caller, status in zip(CALLERS[3:], entry.statuses[3:], strict=True):
        needed = by_place[0] if caller == "owner" else by_place[1]
        session = await client_of(stack, caller, owner)
        for scopes in keys_to_try(needed, by_admin=caller == "admin"):
            creator = owner.http if caller == "owner" else session
            created = await creator.post(KEYS, json={"name": caller, "scopes": scopes, "password": PASSWORD})
            client = stack.client(created.json()["key"])
            body = None if entry.body is None else entry.body(owner)
            response = await client.request(route.method, path_of(route, await entry.target_of(owner)), json=body)
            # On routes that ignore credentials, a key makes no difference.
            is_within = route.who in IGNORE_BAD_CREDENTIALS or set(needed) <= set(scopes)
            expected = status if is_within else 403
            assert response.status_code == expected, (caller, scopes, response.text)
            if expected in SLUGS:
                assert_problem(response, expected, SLUGS[expected])
            if expected == 204:  # The object may have been deleted.
                owner = await stack.sign_up()


def test_every_route_with_a_scope_is_in_the_table() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.scopes} == NEEDED.keys()


def test_no_scope_lets_a_key_have_a_second_factor() -> None:
    routes = [route for route in ROUTES if route.path.startswith("/api/auth/totp")]
    assert [route.scopes for route in routes] == [()] * 4


@pytest.mark.parametrize(
    ("scopes", "status"),
    [(["users:read", "resources:read"], 200), (["users:read"], 403), (["resources:read"], 403), (["audit:read"], 403)],
)
async def test_an_account_export_with_an_api_key_requires_the_scopes_for_all_its_data(
    stack: Stack, scopes: list[str], status: int
) -> None:
    user = await stack.sign_up()
    created = await user.http.post(KEYS, json={"name": "backup", "scopes": scopes, "password": PASSWORD})
    assert created.status_code == 201, created.text
    response = await stack.client(created.json()["key"]).get(f"/api/v1/users/{user.id}/export")
    assert response.status_code == status


# --- users:admin -----------------------------------------------------------------------------------

WITHOUT_ADMIN = [scope for scope in SCOPES if scope != "users:admin"]
JSON_PATCH = {"Content-Type": "application/json-patch+json"}


async def test_only_an_administrator_can_create_a_key_that_administers_accounts(stack: Stack) -> None:
    user, admin = await stack.sign_up(), await stack.sign_up_admin()
    for scopes in (["users:admin"], list(SCOPES)):
        body = {"name": "x", "scopes": scopes, "password": PASSWORD}
        problem = assert_problem(await user.http.post(KEYS, json=body), 403, "forbidden")
        assert "users:admin" in problem["detail"]
        assert (await admin.http.post(KEYS, json=body)).status_code == 201
    assert (await user.http.get(KEYS)).json()["items"] == []
    # Not with a key either, whatever its scopes. Such a key cannot suspend its owner.
    machine = await make_key(stack, admin)
    assert_problem(await machine.http.post(KEYS, json={"name": "x", "scopes": ["users:admin"]}), 403, "forbidden")
    assert_problem(await machine.http.patch(ME, json={"status": "suspended"}), 403, "forbidden")
    assert (await machine.http.patch(ME, json={"status": "active"})).status_code == 200


WRITES_THAT_NEED_IT = [
    ("PATCH", "/users/{other}", {"name": "Eve"}),
    ("PATCH", "/users/{other}", {"email": "eve@example.com"}),
    ("PATCH", "/users/{other}", {"metadata": {"a": 1}}),
    ("PATCH", "/users/{other}", {}),
    ("PATCH", "/users/{other}", {"roles": ["user", "admin"]}),
    ("PATCH", "/users/{other}", {"status": "suspended"}),
    ("PATCH", "/users/{own}", {"roles": ["user"]}),
    ("PATCH", "/users/{own}", {"roles": ["user", "admin"]}),
    ("PATCH", "/users/{own}", {"roles": ["user", "admin", "editor"], "name": "Eve"}),
    ("PATCH", "/users/{own}", {"status": "active"}),
    ("PATCH", "/users/{other}", [{"op": "replace", "path": "/roles", "value": ["admin"]}]),
    ("PATCH", "/users/{other}", [{"op": "replace", "path": "/name", "value": "Eve"}]),
    ("PATCH", "/users/{own}", [{"op": "replace", "path": "/roles", "value": ["admin", "editor"]}]),
    ("PUT", "/users/{other}", {"email": "eve@example.com"}),
    ("PUT", "/users/{own}", {"email": "{own_email}", "roles": ["user", "admin", "editor"]}),
    ("DELETE", "/users/{other}", None),
    ("DELETE", "/users/{other}/sessions", None),
    ("DELETE", "/users/{other}/totp", None),
    ("POST", "/users", {"email": "new.{other}@example.com", "password": PASSWORD}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES_THAT_NEED_IT)
async def test_a_key_without_users_admin_administers_nothing(stack: Stack, method: str, path: str, body: Any) -> None:
    admin, other = await stack.sign_up_admin(), await stack.sign_up()
    machine = await make_key(stack, admin, WITHOUT_ADMIN)
    before = [(await admin.http.get(f"/api/v1/users/{user.id}")).json() for user in (admin, other)]
    response = await send(machine, method, path, body, admin, other)
    assert "users:admin" in assert_problem(response, 403, "forbidden")["detail"]
    assert [(await admin.http.get(f"/api/v1/users/{user.id}")).json() for user in (admin, other)] == before
    assert (await other.http.get(ME)).status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), WRITES_THAT_NEED_IT)
async def test_a_key_with_users_admin_has_no_effect_without_the_role_of_its_owner(
    stack: Stack, method: str, path: str, body: Any
) -> None:
    admin, other, demoted = await stack.sign_up_admin(), await stack.sign_up(), await stack.sign_up_admin()
    machine = await make_key(stack, demoted)
    assert (await machine.http.patch(f"/api/v1/users/{other.id}", json={"name": "Ada"})).status_code == 200
    roles = {"roles": ["user"]}
    assert (await admin.http.patch(f"/api/v1/users/{demoted.id}", json=roles)).status_code == 200
    response = await send(machine, method, path, body, demoted, other)
    if method == "POST":  # Sign-up is open to everyone.
        assert response.json()["roles"] == ["user"]
    else:
        assert_problem(response, 403, "forbidden")
    assert (await other.http.get(ME)).status_code == 200


async def send(machine: Machine, method: str, path: str, body: Any, own: Caller, other: Caller) -> Any:
    path = f"/api/v1{path.format(own=own.id, other=other.id)}"
    if isinstance(body, dict):
        names = {"own_email": own.email, "other": other.id}
        body = {name: value.format(**names) if isinstance(value, str) else value for name, value in body.items()}
    headers = JSON_PATCH if isinstance(body, list) else {}
    return await machine.http.request(method, path, json=body, headers=headers)


async def test_a_key_with_users_admin_alone_writes_other_accounts_but_not_its_owner(stack: Stack) -> None:
    admin, other = await stack.sign_up_admin(), await stack.sign_up()
    machine = await make_key(stack, admin, ["users:admin"])
    path = f"/api/v1/users/{other.id}"
    changed = await machine.http.patch(path, json={"name": "Ada", "roles": ["user", "editor"]})
    assert (changed.json()["name"], changed.json()["roles"]) == ("Ada", ["user", "editor"])
    assert_problem(await machine.http.get(path), 403, "forbidden")
    problem = assert_problem(
        await machine.http.patch(f"/api/v1/users/{admin.id}", json={"name": "Eve"}), 403, "forbidden"
    )
    assert "users:write" in problem["detail"]
    assert (await machine.http.patch(f"/api/v1/users/{admin.id}", json={"roles": ["user", "admin"]})).status_code == 200
    assert (await machine.http.delete(f"{path}/sessions")).status_code == 204
    assert_problem(await other.http.get(ME), 401, "unauthenticated")
    assert (await machine.http.delete(path)).status_code == 204


@pytest.mark.parametrize("version", ['"1"', '"99"'])
async def test_a_key_without_the_scope_does_not_see_another_account_in_a_version_mismatch(
    stack: Stack, version: str
) -> None:
    admin, other = await stack.sign_up_admin(), await stack.sign_up()
    machine, headers = await make_key(stack, admin, ["users:write"]), {"If-Match": version}
    path = f"/api/v1/users/{other.id}"
    for method, body in (("PATCH", {"name": "Eve"}), ("PUT", {"email": "eve@example.com"}), ("DELETE", None)):
        response = await machine.http.request(method, path, json=body, headers=headers)
        assert other.email not in response.text
        assert_problem(response, 403, "forbidden")


# --- a key and its owner ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_admin", [False, True])
async def test_no_key_destroys_or_takes_over_its_owner(stack: Stack, make_user: MakeUser, is_admin: bool) -> None:
    owner = await stack.sign_up_admin() if is_admin else await make_user()
    await stack.sign_up_admin()  # So that the owner is not the last administrator.
    machine = await make_key(stack, owner)
    moved = {"email": "eve@example.com", "current_password": owner.password}
    passwords = {"current_password": owner.password, "new_password": "staple battery horse"}
    proof = {"password": owner.password, "otp": "123456"}
    for name in (owner.id, owner.id.upper()):
        path = f"/api/v1/users/{name}"
        for method, where, body, detail in (
            ("DELETE", path, None, "delete the account of its owner" if is_admin else "users:admin"),
            ("PATCH", path, moved, "No API key can change the e-mail address of its owner"),
            ("PUT", path, moved, "No API key can change the e-mail address of its owner"),
            ("DELETE", f"{path}/sessions", None, "sessions of its owner" if is_admin else "users:admin"),
            ("DELETE", f"{path}/totp", None, "own second factor" if is_admin else "users:admin"),
            ("PUT", f"{path}/password", passwords, "access token"),
            ("POST", "/api/v1/auth/totp", {}, "access token"),
            ("POST", "/api/v1/auth/totp/confirm", {"otp": "123456"}, "access token"),
            ("DELETE", "/api/v1/auth/totp", proof, "access token"),
            ("POST", "/api/v1/auth/logout", {"everywhere": True}, "access token"),
            ("DELETE", "/api/v1/auth/sessions", None, "access token"),
            ("DELETE", f"/api/v1/auth/sessions/{owner.session_id}", None, "access token"),
            ("POST", KEYS, {"name": "x", "scopes": ["users:read"]}, "access token"),
            ("DELETE", f"{KEYS}/{machine.id}", None, "access token"),
        ):
            response = await machine.http.request(method, where, json=body)
            if "/users/{own}" in where and response.status_code == 404:
                continue  # Not every path knows `me` yet.
            assert detail in assert_problem(response, 403, "forbidden")["detail"], (method, where)
    assert (await stack.log_in(owner.email)).id == owner.id
    assert await machine.status() == 200
