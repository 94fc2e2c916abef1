"""The permissions of API keys by their scopes: every route is called with keys of every kind."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from kingpost.auth.api_keys.scopes import SCOPES, Scope
from kingpost.http.app.router import Route
from kingpost.http.openapi.document import IGNORE_BAD_CREDENTIALS
from kingpost.main import ROUTES
from tests.api.access import CALLERS, EXPECTED, SLUGS, client_of, name_of, path_of
from tests.api.machines import KEYS
from tests.api.stack import PASSWORD, Stack, assert_problem


def keys_to_try(route: Route[Any]) -> Iterator[tuple[Sequence[str], bool]]:
    """Yield sets of scopes, each with whether a key with these scopes has its owner's permissions on the route."""
    yield SCOPES, route.scope is not None
    if route.scope is not None:
        yield (route.scope, *ALSO_NEEDED.get((route.method, route.path), ())), True
        yield [scope for scope in SCOPES if scope != route.scope], False


ALSO_NEEDED: Mapping[tuple[str, str], tuple[Scope, ...]] = {
    ("GET", "/api/users/{id}/export"): ("resources:read",),
}


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
async def test_an_api_key_has_the_permissions_of_its_owner_within_its_scopes(route: Route[Any], stack: Stack) -> None:
    entry = EXPECTED[route.method, route.path]
    owner = await stack.sign_up()
    for caller, status in zip(CALLERS[3:], entry.statuses[3:], strict=True):
        session = await client_of(stack, caller, owner)
        for scopes, is_within in keys_to_try(route):
            creator = owner.http if caller == "owner" else session
            created = await creator.post(KEYS, json={"name": caller, "scopes": scopes, "password": PASSWORD})
            client = stack.client(created.json()["key"])
            body = None if entry.body is None else entry.body(owner)
            response = await client.request(route.method, path_of(route, await entry.target_of(owner)), json=body)
            # On routes that ignore credentials, a key makes no difference.
            expected = status if is_within or route.who in IGNORE_BAD_CREDENTIALS else 403
            assert response.status_code == expected, (caller, scopes, response.text)
            if expected in SLUGS:
                assert_problem(response, expected, SLUGS[expected])
            if expected == 204:  # The object may have been deleted.
                owner = await stack.sign_up()


def test_no_scope_permits_routes_of_second_factors() -> None:
    routes = [route for route in ROUTES if route.path.endswith(("/totp", "/totp/confirm"))]
    assert [route.scope for route in routes] == [None] * 5


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
