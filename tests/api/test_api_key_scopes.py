"""What an API key may do by its scopes: every route, with keys of every kind."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from kingpost.auth.api_keys.scopes import SCOPES, Scope
from kingpost.http.app.router import Route, Who
from kingpost.main import ROUTES
from tests.api.access import CALLERS, EXPECTED, SLUGS, client_of, name_of, path_of
from tests.api.machines import KEYS
from tests.api.stack import Stack, assert_problem


def keys_to_try(route: Route[Any]) -> Iterator[tuple[Sequence[str], bool]]:
    """The scopes of API keys, each with whether a key that has them may call a route as far as its owner may."""
    yield SCOPES, route.scope is not None
    if route.scope is not None:
        yield (route.scope, *ALSO_NEEDED.get((route.method, route.path), ())), True
        yield [scope for scope in SCOPES if scope != route.scope], False


ALSO_NEEDED: Mapping[tuple[str, str], tuple[Scope, ...]] = {
    ("GET", "/api/users/{id}/export"): ("resources:read",),
}


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
async def test_an_api_key_may_what_its_owner_may_within_its_scopes_and_nothing_else(
    route: Route[Any], stack: Stack
) -> None:
    entry = EXPECTED[route.method, route.path]
    owner = await stack.sign_up()
    for caller, status in zip(CALLERS[3:], entry.statuses[3:], strict=True):
        session = await client_of(stack, caller, owner)
        for scopes, is_within in keys_to_try(route):
            holder = owner.http if caller == "owner" else session
            made = await holder.post(KEYS, json={"name": caller, "scopes": scopes})
            client = stack.client(made.json()["key"])
            body = None if entry.body is None else entry.body(owner)
            response = await client.request(route.method, path_of(route, await entry.target_of(owner)), json=body)
            # Where credentials are not looked at, a key is as good as none.
            expected = status if is_within or route.who is Who.ANYONE else 403
            assert response.status_code == expected, (caller, scopes, response.text)
            if expected in SLUGS:
                assert_problem(response, expected, SLUGS[expected])
            if expected == 204:  # What this was about may be gone.
                owner = await stack.sign_up()


def test_no_scope_is_for_second_factors() -> None:
    routes = [route for route in ROUTES if route.path.endswith(("/totp", "/totp/confirm"))]
    assert [route.scope for route in routes] == [None] * 5


@pytest.mark.parametrize(
    ("scopes", "status"),
    [(["users:read", "resources:read"], 200), (["users:read"], 403), (["resources:read"], 403), (["audit:read"], 403)],
)
async def test_an_api_key_exports_only_what_its_scopes_let_it_read(
    stack: Stack, scopes: list[str], status: int
) -> None:
    user = await stack.sign_up()
    made = await user.http.post(KEYS, json={"name": "backup", "scopes": scopes})
    assert made.status_code == 201, made.text
    response = await stack.client(made.json()["key"]).get(f"/api/v1/users/{user.id}/export")
    assert response.status_code == status
