"""Every route as every kind of caller. A route that is not in the table fails."""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import httpx
import pytest

from kingpost.http.router import Route
from kingpost.http.routes import ROUTES
from tests.api.stack import NOBODY, PASSWORD, Caller, Stack, assert_problem

CALLERS = ("anonymous", "bad token", "ended session", "stranger", "owner", "admin")
SLUGS = {401: "unauthenticated", 403: "forbidden", 404: "not-found"}


class World(NamedTuple):
    """What a request of the matrix is about: things of one owner."""

    owner: Caller
    resource_id: str


class Entry(NamedTuple):
    """What a route answers to each of `CALLERS`, and how it is called."""

    statuses: tuple[int, int, int, int, int, int]
    body: Callable[[World], Mapping[str, Any]] | None = None
    target: Callable[[World], str] = lambda world: ""


def of_user(world: World) -> str:
    return world.owner.id


def of_resource(world: World) -> str:
    return world.resource_id


def of_session(world: World) -> str:
    return world.owner.session_id


def always(**members: Any) -> Callable[[World], Mapping[str, Any]]:
    return lambda world: members


def fresh_account(world: World) -> Mapping[str, Any]:
    return {"email": f"{next(_numbers)}.{world.owner.email}", "password": PASSWORD}


_numbers = itertools.count()
PASSWORDS = always(current_password=PASSWORD, new_password="staple battery horse")
PUBLIC = (200, 200, 200, 200, 200, 200)

# fmt: off
EXPECTED: Mapping[tuple[str, str], Entry] = {
    #                                             anonymous, bad token, ended, stranger, owner, admin
    ("POST", "/api/users"):                  Entry((201, 401, 401, 201, 201, 201), fresh_account),
    ("GET", "/api/users"):                   Entry((401, 401, 401, 403, 403, 200)),
    ("GET", "/api/users/me"):                Entry((401, 401, 401, 200, 200, 200)),
    ("GET", "/api/users/{id}"):              Entry((401, 401, 401, 403, 200, 200), None, of_user),
    ("PUT", "/api/users/{id}"):              Entry((401, 401, 401, 403, 200, 200),
                                                   lambda world: {"email": world.owner.email}, of_user),
    ("PATCH", "/api/users/{id}"):            Entry((401, 401, 401, 403, 200, 200), always(name="Ada"), of_user),
    ("DELETE", "/api/users/{id}"):           Entry((401, 401, 401, 403, 204, 204), None, of_user),
    ("PUT", "/api/users/{id}/password"):     Entry((401, 401, 401, 403, 204, 403), PASSWORDS, of_user),
    # Signing in proves who calls by the body; an access token makes no difference.
    ("POST", "/api/auth/login"):             Entry(PUBLIC, lambda w: {"email": w.owner.email, "password": PASSWORD}),
    ("POST", "/api/auth/refresh"):           Entry(PUBLIC, lambda w: {"refresh_token": w.owner.refresh_token}),
    ("POST", "/api/auth/logout"):            Entry((401, 401, 401, 204, 204, 204)),
    ("GET", "/api/auth/sessions"):           Entry((401, 401, 401, 200, 200, 200)),
    ("DELETE", "/api/auth/sessions/{id}"):   Entry((401, 401, 401, 403, 204, 403), None, of_session),
    ("GET", "/api/resources"):               Entry((401, 401, 401, 200, 200, 200)),
    ("POST", "/api/resources"):              Entry((401, 401, 401, 201, 201, 201), always(type="note", data={})),
    ("GET", "/api/resources/{id}"):          Entry((401, 401, 401, 403, 200, 200), None, of_resource),
    ("PUT", "/api/resources/{id}"):          Entry((401, 401, 401, 403, 200, 200), always(data={}), of_resource),
    ("PATCH", "/api/resources/{id}"):        Entry((401, 401, 401, 403, 200, 200), always(data={}), of_resource),
    ("DELETE", "/api/resources/{id}"):       Entry((401, 401, 401, 403, 204, 204), None, of_resource),
    ("GET", "/livez"):                       Entry(PUBLIC),
    ("GET", "/readyz"):                      Entry(PUBLIC),
    ("GET", "/.well-known/jwks.json"):       Entry(PUBLIC),
    ("GET", "/openapi.json"):                Entry(PUBLIC),
    ("GET", "/docs"):                        Entry(PUBLIC),
    ("GET", "/docs/{asset}"):                Entry(PUBLIC, None, lambda world: "docs.js"),
    ("GET", "/problems/{slug}"):             Entry(PUBLIC, None, lambda world: "not-found"),
}
# fmt: on


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def path_of(route: Route, target: str) -> str:
    """The path to call; those of the API alternate between their two names."""
    head, parameter, tail = route.path.partition("{")
    path = head if not parameter else head + target + tail.partition("}")[2]
    return path.replace("/api/", "/api/v1/") if next(_numbers) % 2 else path


@pytest.fixture
def make_world(stack: Stack) -> Callable[[], Awaitable[World]]:
    """Makes an owner of a resource and of a session."""

    async def make() -> World:
        owner = await stack.sign_up()
        created = await owner.http.post("/api/v1/resources", json={"type": "note", "data": {}})
        return World(owner, created.json()["id"])

    return make


@pytest.fixture
def make_client(stack: Stack, bob: Caller, admin: Caller) -> Callable[[str, World], Awaitable[httpx.AsyncClient]]:
    """Makes the HTTP client of a kind of caller, with a session of its own."""

    async def make(kind: str, world: World) -> httpx.AsyncClient:
        match kind:
            case "anonymous":
                return stack.client()
            case "bad token":
                return stack.client(forged(world.owner.access_token))
            case "ended session":
                ended = await stack.log_in(world.owner.email)
                await ended.http.post("/api/v1/auth/logout")
                return ended.http
            case "stranger":
                return (await stack.log_in(bob.email)).http
            case "owner":
                return world.owner.http
        return (await stack.log_in(admin.email)).http

    return make


def forged(token: str) -> str:
    """The same claims under a signature that is none."""
    head, claims, signature = token.split(".")
    return f"{head}.{claims}.{signature[::-1]}"


def test_the_table_lists_every_route_and_no_other() -> None:
    assert {(route.method, route.path) for route in ROUTES} == EXPECTED.keys()


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
async def test_each_caller_gets_what_it_may(
    route: Route,
    make_world: Callable[[], Awaitable[World]],
    make_client: Callable[[str, World], Awaitable[httpx.AsyncClient]],
) -> None:
    entry = EXPECTED[route.method, route.path]
    world = await make_world()
    for caller, status in zip(CALLERS, entry.statuses, strict=True):
        client = await make_client(caller, world)
        body = None if entry.body is None else entry.body(world)
        response = await client.request(route.method, path_of(route, entry.target(world)), json=body)
        assert response.status_code == status, (caller, response.text)
        if status in SLUGS:
            assert_problem(response, status, SLUGS[status])
        if status == 204:  # What this was about may be gone.
            world = await make_world()


@pytest.mark.parametrize("route", [route for route in ROUTES if "{id}" in route.path], ids=name_of)
async def test_what_is_missing_is_not_found_for_whoever_may_call(
    route: Route, stack: Stack, alice: Caller, admin: Caller
) -> None:
    body = EXPECTED[route.method, route.path].body
    content = None if body is None else body(World(alice, NOBODY))
    nobody, forger = stack.client(), stack.client(forged(alice.access_token))
    for client, status in ((nobody, 401), (forger, 401), (alice.http, 404), (admin.http, 404)):
        response = await client.request(route.method, path_of(route, NOBODY), json=content)
        assert_problem(response, status, SLUGS[status])
