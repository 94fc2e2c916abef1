"""The access matrix: the status of every route for every kind of caller."""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import httpx

from kingpost.http.app.router import Route
from tests.api.machines import NEW_KEY, new_key_id
from tests.api.stack import PASSWORD, Caller, Stack

CALLERS = ("anonymous", "bad token", "ended session", "other user", "owner", "admin")
SLUGS = {401: "unauthenticated", 403: "forbidden", 404: "not-found"}


class Entry(NamedTuple):
    """The statuses of a route for each of `CALLERS`, and how the route is called.

    `target` returns the path parameter: the id of the owner, or of a new object of the owner.
    """

    statuses: tuple[int, int, int, int, int, int]
    body: Callable[[Caller], Mapping[str, Any]] | None = None
    target: Callable[[Caller], Awaitable[str]] | str = ""

    async def target_of(self, owner: Caller) -> str:
        return self.target if isinstance(self.target, str) else await self.target(owner)


async def user_id(owner: Caller) -> str:
    return owner.id


async def session_id_of(owner: Caller) -> str:
    return owner.session_id


async def new_resource_id(owner: Caller) -> str:
    created = await owner.http.post("/api/v1/resources", json={"type": "note", "data": {}})
    return str(created.json()["id"])


def fixed(**fields: Any) -> Callable[[Caller], Mapping[str, Any]]:
    return lambda owner: fields


def new_account_body(owner: Caller) -> Mapping[str, Any]:
    return {"email": f"{next(_numbers)}.{owner.email}", "password": PASSWORD}


_numbers = itertools.count()
PASSWORDS = fixed(current_password=PASSWORD, new_password="staple battery horse")
PUBLIC = (200, 200, 200, 200, 200, 200)

# fmt: off
EXPECTED: Mapping[tuple[str, str], Entry] = {
    #                                             anonymous, bad token, ended, other user, owner, admin
    ("POST", "/api/users"):                  Entry((201, 201, 201, 201, 201, 201), new_account_body),
    ("GET", "/api/users"):                   Entry((401, 401, 401, 403, 403, 200)),
    ("GET", "/api/users/me"):                Entry((401, 401, 401, 200, 200, 200)),
    ("GET", "/api/users/{id}"):              Entry((401, 401, 401, 403, 200, 200), None, user_id),
    ("PUT", "/api/users/{id}"):              Entry((401, 401, 401, 403, 200, 200),
                                                   lambda owner: {"email": owner.email}, user_id),
    ("PATCH", "/api/users/{id}"):            Entry((401, 401, 401, 403, 200, 200), fixed(name="Ada"), user_id),
    ("DELETE", "/api/users/{id}"):           Entry((401, 401, 401, 403, 204, 204), None, user_id),
    ("GET", "/api/users/{id}/export"):       Entry((401, 401, 401, 403, 200, 200), None, user_id),
    ("PUT", "/api/users/{id}/password"):     Entry((401, 401, 401, 403, 204, 403), PASSWORDS, user_id),
    # These routes authenticate by the body; an access token makes no difference.
    ("POST", "/api/auth/login"):             Entry(PUBLIC, lambda o: {"email": o.email, "password": PASSWORD}),
    ("POST", "/api/auth/refresh"):           Entry(PUBLIC, lambda o: {"refresh_token": o.refresh_token}),
    ("POST", "/api/auth/logout"):            Entry((401, 401, 401, 204, 204, 204)),
    ("GET", "/api/auth/sessions"):           Entry((401, 401, 401, 200, 200, 200)),
    ("DELETE", "/api/auth/sessions"):        Entry((401, 401, 401, 204, 204, 204)),
    ("DELETE", "/api/auth/sessions/{id}"):   Entry((401, 401, 401, 403, 204, 204), None, session_id_of),
    ("GET", "/api/users/{id}/sessions"):     Entry((401, 401, 401, 403, 200, 200), None, user_id),
    ("DELETE", "/api/users/{id}/sessions"):  Entry((401, 401, 401, 403, 204, 204), None, user_id),
    # These routes take a token or an address in the body; the access token matters only where there is no body.
    ("POST", "/api/auth/email/verify"):      Entry((400, 400, 400, 400, 400, 400), fixed(token="unknown")),
    ("POST", "/api/auth/email/stop"):        Entry((400, 400, 400, 400, 400, 400), fixed(token="unknown")),
    ("POST", "/api/auth/email/resend"):      Entry((401, 401, 401, 202, 202, 202)),
    ("POST", "/api/auth/password/forgot"):   Entry((202, 202, 202, 202, 202, 202), fixed(email="who@example.com")),
    ("POST", "/api/auth/password/reset"):    Entry((400, 400, 400, 400, 400, 400),
                                                   fixed(token="unknown", new_password="staple battery horse")),
    ("GET", "/api/auth/totp"):               Entry((401, 401, 401, 200, 200, 200)),
    ("POST", "/api/auth/totp"):              Entry((401, 401, 401, 200, 200, 200), fixed(password=PASSWORD)),
    # Too long for a valid code, so the answer does not depend on the state of the enrolment.
    ("POST", "/api/auth/totp/confirm"):      Entry((401, 401, 401, 400, 400, 400), fixed(otp="0" * 65)),
    # These accounts have no second factor; tests/api/test_second_factor.py tests accounts that have one.
    ("DELETE", "/api/auth/totp"):            Entry((401, 401, 401, 404, 404, 404),
                                                   fixed(password=PASSWORD, otp="123456")),
    ("DELETE", "/api/users/{id}/totp"):      Entry((401, 401, 401, 403, 403, 404), None, user_id),
    ("POST", "/api/api-keys"):               Entry((401, 401, 401, 201, 201, 201), fixed(**NEW_KEY)),
    ("GET", "/api/api-keys"):                Entry((401, 401, 401, 200, 200, 200)),
    ("DELETE", "/api/api-keys/{id}"):        Entry((401, 401, 401, 403, 204, 204), None, new_key_id),
    ("GET", "/api/resources"):               Entry((401, 401, 401, 200, 200, 200)),
    ("POST", "/api/resources"):              Entry((401, 401, 401, 201, 201, 201), fixed(type="note", data={})),
    ("GET", "/api/resources/{id}"):          Entry((401, 401, 401, 403, 200, 200), None, new_resource_id),
    ("PUT", "/api/resources/{id}"):          Entry((401, 401, 401, 403, 200, 200), fixed(data={}), new_resource_id),
    ("PATCH", "/api/resources/{id}"):        Entry((401, 401, 401, 403, 200, 200), fixed(data={}), new_resource_id),
    ("DELETE", "/api/resources/{id}"):       Entry((401, 401, 401, 403, 204, 204), None, new_resource_id),
    ("GET", "/email/verify"):                Entry(PUBLIC),
    ("GET", "/email/stop"):                  Entry(PUBLIC),
    ("GET", "/password/reset"):              Entry(PUBLIC),
    ("GET", "/mail/{asset}"):                Entry(PUBLIC, None, "page.js"),
    ("GET", "/api/audit"):                   Entry((401, 401, 401, 403, 403, 200)),
    ("GET", "/api/audit/export"):            Entry((401, 401, 401, 403, 403, 200)),
    ("GET", "/livez"):                       Entry(PUBLIC),
    ("GET", "/readyz"):                      Entry(PUBLIC),
    ("GET", "/.well-known/jwks.json"):       Entry(PUBLIC),
    ("GET", "/openapi.json"):                Entry(PUBLIC),
    ("GET", "/docs"):                        Entry(PUBLIC),
    ("GET", "/docs/{asset}"):                Entry(PUBLIC, None, "docs.js"),
    ("GET", "/problems/{slug}"):             Entry(PUBLIC, None, "not-found"),
}
# fmt: on


def name_of(route: Route[Any]) -> str:
    return f"{route.method} {route.path}"


def path_of(route: Route[Any], target: str) -> str:
    """The path to call. API paths alternate between their two forms, with and without the version."""
    head, parameter, tail = route.path.partition("{")
    path = head if not parameter else head + target + tail.partition("}")[2]
    return path.replace("/api/", "/api/v1/") if next(_numbers) % 2 else path


async def client_of(stack: Stack, kind: str, owner: Caller) -> httpx.AsyncClient:
    """The HTTP client of a kind of caller. Each has its own account, as some routes end all sessions of an account."""
    match kind:
        case "anonymous":
            return stack.client()
        case "bad token":
            return stack.client(forged(owner.access_token))
        case "ended session":
            ended = await stack.log_in(owner.email)
            await ended.http.post("/api/v1/auth/logout")
            return ended.http
        case "other user":
            return (await stack.sign_up()).http
        case "owner":
            return owner.http
    return (await stack.sign_up_admin()).http


def forged(token: str) -> str:
    """The same claims with an invalid signature."""
    head, claims, signature = token.split(".")
    return f"{head}.{claims}.{signature[::-1]}"
