"""Accounts over HTTP."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from kingpost.accounts.users.schemas import ChangeUser, ReplaceUser, UserBody, UserList, UserQuery
from kingpost.accounts.users.service import AccountChange, Users, metadata_faults
from kingpost.emails import email_faults
from kingpost.http.app.answers import NO_STORE, PRIVATE, Answer, answer
from kingpost.http.app.call import Call, Machine
from kingpost.http.app.etags import format_etag, if_match, if_none_match
from kingpost.http.app.input import Rules, parse_body
from kingpost.http.app.pages import listing, next_page
from kingpost.http.app.router import Route, Who
from kingpost.http.app.schemas import JSONPatch
from kingpost.jsontools import json_patch, merge_patch, strict
from kingpost.model import User
from kingpost.problems import Conflict, Fault, Forbidden, NotFound, RateLimited, VersionMismatch
from kingpost.tags import USERS


def account_rules(users: Users) -> Rules:
    """Return the rules of address and metadata, which are reported together with the schema's faults."""

    def rules(document: dict[str, Any]) -> Iterable[Fault]:
        email, metadata = document.get("email"), document.get("metadata")
        if isinstance(email, str):
            yield from email_faults(email)
        if isinstance(metadata, dict):
            yield from metadata_faults(metadata)

    return rules


async def get_me(call: Call, users: Users) -> Answer:
    return await _get(call, users, call.caller.user_id)


async def get_user(call: Call, users: Users) -> Answer:
    return await _get(call, users, call.path["id"])


async def _get(call: Call, users: Users, user_id: str) -> Answer:
    user = await users.read(call.caller, user_id)
    if if_none_match(call.header(b"if-none-match"), user.version):
        return Answer(304, b"", [PRIVATE, _etag(user)])
    return answer(UserBody.of(user), PRIVATE, _etag(user))


async def list_users(call: Call, users: Users) -> Answer:
    page_request, binding = listing(call)
    page = await users.list(page_request)
    cursor, headers = next_page(call, page.next, binding)
    items = [UserBody.of(user) for user in page.items]
    return answer(UserList(items, cursor, **({} if page.total is None else {"total": page.total})), PRIVATE, *headers)


async def replace_user(call: Call, users: Users) -> Answer:
    body: ReplaceUser = call.body
    change = AccountChange(body.email, body.name, body.metadata, body.roles, body.status, body.current_password)
    versions = if_match(call.header(b"if-match"))
    with _current_as_body():
        return _changed(await users.replace(call.context, call.path["id"], change, versions))


async def patch_user(call: Call, users: Users) -> Answer:
    body: ChangeUser | JSONPatch = call.body
    versions = if_match(call.header(b"if-match"))

    def patch(user: User) -> AccountChange:
        return _json_patched(user, body, call.machine) if isinstance(body, JSONPatch) else _merged(user, body)

    with _current_as_body():
        return _changed(await users.patch(call.context, call.path["id"], patch, versions))


def _merged(user: User, body: ChangeUser) -> AccountChange:
    metadata: dict[str, Any] | UnsetType = UNSET
    if body.metadata is not UNSET:
        metadata = {} if body.metadata is None else merge_patch.apply(msgspec.json.decode(user.metadata), body.metadata)
    return AccountChange(body.email, body.name, metadata, body.roles, body.status, body.current_password)


def _json_patched(user: User, patch: JSONPatch, machine: Machine) -> AccountChange:
    before = {
        "email": user.email,
        "name": user.name,
        "metadata": msgspec.json.decode(user.metadata),
        "roles": user.roles,
        "status": user.status,
    }
    patched = json_patch.apply(before, patch.operations, machine.body_limit)
    # A patch can nest deeper than its input, so check the result again.
    after = parse_body(strict.decode(msgspec.json.encode(patched), machine.json_limits), ReplaceUser, None)
    return AccountChange(
        after.email,
        after.name,
        after.metadata,
        # Unchanged values count as absent, so that callers other than administrators can patch their accounts.
        UNSET if after.roles == user.roles else after.roles,
        UNSET if after.status == user.status else after.status,
        after.current_password,
    )


def _changed(user: User) -> Answer:
    return answer(UserBody.of(user), PRIVATE, _etag(user))


async def delete_user(call: Call, users: Users) -> Answer:
    versions = if_match(call.header(b"if-match"))
    with _current_as_body():
        await users.delete(call.context, call.path["id"], versions)
    return Answer(204, b"", [NO_STORE])


@contextlib.contextmanager
def _current_as_body() -> Iterator[None]:
    """Replace the current account in a `VersionMismatch` by its response body."""
    try:
        yield
    except VersionMismatch as mismatch:
        raise VersionMismatch(UserBody.of(mismatch.current)) from None


def _etag(user: User) -> tuple[bytes, bytes]:
    return b"etag", format_etag(user.version).encode()


_JSON_PATCH = (
    {"op": "test", "path": "/name", "value": "Ada Lovelace"},
    {"op": "replace", "path": "/name", "value": "Ada King"},
)

CHANGES_BY_KEYS = (
    "An API key needs `users:write` for the `name` and `metadata` of its owner, and `users:admin` for `roles`, "
    "`status` and every other account. No key can change the `email` of its owner."
)

ROUTES: tuple[Route[Users], ...] = (
    Route(
        method="GET",
        path="/api/users",
        handler=list_users,
        who=Who.ADMIN,
        scopes=("users:read",),
        tag=USERS,
        summary="List accounts",
        query=UserQuery,
        result=UserList,
        headers=("Link",),
    ),
    Route(
        method="GET",
        path="/api/users/me",
        handler=get_me,
        who=Who.CALLER,
        scopes=("users:read",),
        tag=USERS,
        summary="Read your own account",
        result=UserBody,
        headers=("ETag",),
        problems=(NotFound,),
    ),
    Route(
        method="GET",
        path="/api/users/{id}",
        handler=get_user,
        who=Who.CALLER,
        scopes=("users:read",),
        tag=USERS,
        summary="Read an account",
        result=UserBody,
        headers=("ETag",),
        problems=(Forbidden, NotFound),
    ),
    Route(
        method="PUT",
        path="/api/users/{id}",
        handler=replace_user,
        who=Who.CALLER,
        scopes=("users:write", "users:admin"),
        tag=USERS,
        summary="Replace an account",
        description=CHANGES_BY_KEYS,
        body=ReplaceUser,
        rules=account_rules,
        result=UserBody,
        headers=("ETag",),
        preconditions=True,
        problems=(Conflict, Forbidden, NotFound, RateLimited),
    ),
    Route(
        method="PATCH",
        path="/api/users/{id}",
        handler=patch_user,
        who=Who.CALLER,
        scopes=("users:write", "users:admin"),
        tag=USERS,
        summary="Change an account",
        description=CHANGES_BY_KEYS,
        body=ChangeUser,
        json_patch_example=_JSON_PATCH,
        rules=account_rules,
        result=UserBody,
        headers=("ETag",),
        preconditions=True,
        problems=(Conflict, Forbidden, NotFound, RateLimited),
    ),
    Route(
        method="DELETE",
        path="/api/users/{id}",
        handler=delete_user,
        who=Who.CALLER,
        scopes=("users:write", "users:admin"),
        tag=USERS,
        summary="Delete an account and everything it owns",
        description="No API key can delete the account of its owner. For another account it needs `users:admin`.",
        status=204,
        preconditions=True,
        problems=(Conflict, Forbidden, NotFound),
    ),
)
