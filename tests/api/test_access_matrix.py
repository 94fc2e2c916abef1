"""Every route, called by every kind of caller. A route that is missing from the table is a failure."""

from typing import Any

import pytest

from kingpost.http.app.router import Route
from kingpost.main import ROUTES
from tests.api.access import CALLERS, EXPECTED, SLUGS, client_of, forged, name_of, path_of
from tests.api.stack import UNKNOWN_ID, Caller, Stack, assert_problem


def test_the_table_lists_exactly_the_routes() -> None:
    assert {(route.method, route.path) for route in ROUTES} == EXPECTED.keys()


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
async def test_each_caller_gets_the_expected_status(route: Route[Any], stack: Stack) -> None:
    entry = EXPECTED[route.method, route.path]
    owner = await stack.sign_up()
    for caller, status in zip(CALLERS, entry.statuses, strict=True):
        client = await client_of(stack, caller, owner)
        body = None if entry.body is None else entry.body(owner)
        response = await client.request(route.method, path_of(route, await entry.target_of(owner)), json=body)
        assert response.status_code == status, (caller, response.text)
        if status in SLUGS:
            assert_problem(response, status, SLUGS[status])
        if status == 204:  # The object may have been deleted.
            owner = await stack.sign_up()


@pytest.mark.parametrize("route", [route for route in ROUTES if "{id}" in route.path], ids=name_of)
async def test_a_missing_object_is_not_found_for_authenticated_callers(
    route: Route[Any], stack: Stack, alice: Caller, admin: Caller
) -> None:
    body = EXPECTED[route.method, route.path].body
    content = None if body is None else body(alice)
    anonymous, forger = stack.client(), stack.client(forged(alice.access_token))
    for client, status in ((anonymous, 401), (forger, 401), (alice.http, 404), (admin.http, 404)):
        response = await client.request(route.method, path_of(route, UNKNOWN_ID), json=content)
        assert_problem(response, status, SLUGS[status])
