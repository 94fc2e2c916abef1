"""Every route as every kind of caller. A route that is not in the table fails."""

import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import httpx
import pytest

from kingpost.auth.api_keys.scopes import SCOPES, Scope
from kingpost.http.app.router import Route, Who
from kingpost.main import ROUTES
from tests.api.stack import NOBODY, PASSWORD, Caller, Stack, assert_problem

CALLERS = ("anonymous", "bad token", "ended session", "stranger", "owner", "admin")
SLUGS = {401: "unauthenticated", 403: "forbidden", 404: "not-found"}


class World(NamedTuple):
    """What a request of the matrix is about: things of one owner."""

    owner: Caller
    resource_id: str
    api_key_id: str


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


def of_api_key(world: World) -> str:
    return world.api_key_id


def always(**members: Any) -> Callable[[World], Mapping[str, Any]]:
    return lambda world: members


def fresh_account(world: World) -> Mapping[str, Any]:
    return {"email": f"{next(_numbers)}.{world.owner.email}", "password": PASSWORD}


_numbers = itertools.count()
NEW_KEY = {"name": "a machine", "scopes": ["users:read"]}
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
    ("GET", "/api/users/{id}/export"):       Entry((401, 401, 401, 403, 200, 200), None, of_user),
    ("PUT", "/api/users/{id}/password"):     Entry((401, 401, 401, 403, 204, 403), PASSWORDS, of_user),
    # Signing in proves who calls by the body; an access token makes no difference.
    ("POST", "/api/auth/login"):             Entry(PUBLIC, lambda w: {"email": w.owner.email, "password": PASSWORD}),
    ("POST", "/api/auth/refresh"):           Entry(PUBLIC, lambda w: {"refresh_token": w.owner.refresh_token}),
    ("POST", "/api/auth/logout"):            Entry((401, 401, 401, 204, 204, 204)),
    ("GET", "/api/auth/sessions"):           Entry((401, 401, 401, 200, 200, 200)),
    ("DELETE", "/api/auth/sessions"):        Entry((401, 401, 401, 204, 204, 204)),
    ("DELETE", "/api/auth/sessions/{id}"):   Entry((401, 401, 401, 403, 204, 204), None, of_session),
    ("GET", "/api/users/{id}/sessions"):     Entry((401, 401, 401, 403, 200, 200), None, of_user),
    ("DELETE", "/api/users/{id}/sessions"):  Entry((401, 401, 401, 403, 204, 204), None, of_user),
    # Tokens and addresses are the proof, or nobody's; an access token makes a difference where there is no body.
    ("POST", "/api/auth/email/verify"):      Entry((400, 400, 400, 400, 400, 400), always(token="unknown")),
    ("POST", "/api/auth/email/resend"):      Entry((401, 401, 401, 202, 202, 202)),
    ("POST", "/api/auth/password/forgot"):   Entry((202, 202, 202, 202, 202, 202), always(email="who@example.com")),
    ("POST", "/api/auth/password/reset"):    Entry((400, 400, 400, 400, 400, 400),
                                                   always(token="unknown", new_password="staple battery horse")),
    ("GET", "/api/auth/totp"):               Entry((401, 401, 401, 200, 200, 200)),
    ("POST", "/api/auth/totp"):              Entry((401, 401, 401, 200, 200, 200)),
    # Too long to be any code, whatever has been begun.
    ("POST", "/api/auth/totp/confirm"):      Entry((401, 401, 401, 400, 400, 400), always(otp="0" * 65)),
    # Nobody has a second factor here; tests/api/test_second_factor.py has them.
    ("DELETE", "/api/auth/totp"):            Entry((401, 401, 401, 404, 404, 404),
                                                   always(password=PASSWORD, otp="123456")),
    ("DELETE", "/api/users/{id}/totp"):      Entry((401, 401, 401, 403, 403, 404), None, of_user),
    ("POST", "/api/api-keys"):               Entry((401, 401, 401, 201, 201, 201), always(**NEW_KEY)),
    ("GET", "/api/api-keys"):                Entry((401, 401, 401, 200, 200, 200)),
    ("DELETE", "/api/api-keys/{id}"):        Entry((401, 401, 401, 403, 204, 204), None, of_api_key),
    ("GET", "/api/resources"):               Entry((401, 401, 401, 200, 200, 200)),
    ("POST", "/api/resources"):              Entry((401, 401, 401, 201, 201, 201), always(type="note", data={})),
    ("GET", "/api/resources/{id}"):          Entry((401, 401, 401, 403, 200, 200), None, of_resource),
    ("PUT", "/api/resources/{id}"):          Entry((401, 401, 401, 403, 200, 200), always(data={}), of_resource),
    ("PATCH", "/api/resources/{id}"):        Entry((401, 401, 401, 403, 200, 200), always(data={}), of_resource),
    ("DELETE", "/api/resources/{id}"):       Entry((401, 401, 401, 403, 204, 204), None, of_resource),
    ("GET", "/email/verify"):                Entry(PUBLIC),
    ("GET", "/password/reset"):              Entry(PUBLIC),
    ("GET", "/mail/{asset}"):                Entry(PUBLIC, None, lambda world: "page.js"),
    ("GET", "/api/audit"):                   Entry((401, 401, 401, 403, 403, 200)),
    ("GET", "/api/audit/export"):            Entry((401, 401, 401, 403, 403, 200)),
    ("GET", "/livez"):                       Entry(PUBLIC),
    ("GET", "/readyz"):                      Entry(PUBLIC),
    ("GET", "/.well-known/jwks.json"):       Entry(PUBLIC),
    ("GET", "/openapi.json"):                Entry(PUBLIC),
    ("GET", "/docs"):                        Entry(PUBLIC),
    ("GET", "/docs/{asset}"):                Entry(PUBLIC, None, lambda world: "docs.js"),
    ("GET", "/problems/{slug}"):             Entry(PUBLIC, None, lambda world: "not-found"),
}
# fmt: on


def name_of(route: Route[Any]) -> str:
    return f"{route.method} {route.path}"


def path_of(route: Route[Any], target: str) -> str:
    """The path to call; those of the API alternate between their two names."""
    head, parameter, tail = route.path.partition("{")
    path = head if not parameter else head + target + tail.partition("}")[2]
    return path.replace("/api/", "/api/v1/") if next(_numbers) % 2 else path


@pytest.fixture
def make_world(stack: Stack) -> Callable[[], Awaitable[World]]:
    """Makes an owner of a resource, of a session and of an API key."""

    async def make() -> World:
        owner = await stack.sign_up()
        created = await owner.http.post("/api/v1/resources", json={"type": "note", "data": {}})
        key = await owner.http.post("/api/v1/api-keys", json=NEW_KEY)
        return World(owner, created.json()["id"], key.json()["id"])

    return make


@pytest.fixture
def make_client(stack: Stack) -> Callable[[str, World], Awaitable[httpx.AsyncClient]]:
    """Makes the HTTP client of a kind of caller, with an account of its own: some routes end all of its sessions."""

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
                return (await stack.sign_up()).http
            case "owner":
                return world.owner.http
        return (await stack.sign_up_admin()).http

    return make


def forged(token: str) -> str:
    """The same claims under a signature that is none."""
    head, claims, signature = token.split(".")
    return f"{head}.{claims}.{signature[::-1]}"


def test_the_table_lists_every_route_and_no_other() -> None:
    assert {(route.method, route.path) for route in ROUTES} == EXPECTED.keys()


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
async def test_each_caller_gets_what_it_may(
    route: Route[Any],
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
    route: Route[Any],
    stack: Stack,
    make_world: Callable[[], Awaitable[World]],
    make_client: Callable[[str, World], Awaitable[httpx.AsyncClient]],
) -> None:
    entry = EXPECTED[route.method, route.path]
    world = await make_world()
    for caller, status in zip(CALLERS[3:], entry.statuses[3:], strict=True):
        session = await make_client(caller, world)
        for scopes, is_within in keys_to_try(route):
            owner = world.owner.http if caller == "owner" else session
            made = await owner.post("/api/v1/api-keys", json={"name": caller, "scopes": scopes})
            client = stack.client(made.json()["key"])
            body = None if entry.body is None else entry.body(world)
            response = await client.request(route.method, path_of(route, entry.target(world)), json=body)
            # Where credentials are not looked at, a key is as good as none.
            expected = status if is_within or route.who is Who.ANYONE else 403
            assert response.status_code == expected, (caller, scopes, response.text)
            if expected in SLUGS:
                assert_problem(response, expected, SLUGS[expected])
            if expected == 204:  # What this was about may be gone.
                world = await make_world()


@pytest.mark.parametrize("route", [route for route in ROUTES if "{id}" in route.path], ids=name_of)
async def test_what_is_missing_is_not_found_for_whoever_may_call(
    route: Route[Any], stack: Stack, alice: Caller, admin: Caller
) -> None:
    body = EXPECTED[route.method, route.path].body
    content = None if body is None else body(World(alice, NOBODY, NOBODY))
    nobody, forger = stack.client(), stack.client(forged(alice.access_token))
    for client, status in ((nobody, 401), (forger, 401), (alice.http, 404), (admin.http, 404)):
        response = await client.request(route.method, path_of(route, NOBODY), json=content)
        assert_problem(response, status, SLUGS[status])
