"""Accounts over HTTP."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from kingpost.accounts.users.schemas import ChangeUser, ReplaceUser, UserBody, UserList, UserQuery
from kingpost.accounts.users.service import AccountChange, Users, metadata_faults
from kingpost.emails import email_faults
from kingpost.http.app.answers import NO_STORE, PRIVATE, Answer, answer
from kingpost.http.app.call import Call, Machine
from kingpost.http.app.input import Rules, parse_body
from kingpost.http.app.pages import listing, next_page
from kingpost.http.app.router import Route, Who
from kingpost.http.app.schemas import JSONPatch
from kingpost.jsontools import json_patch, merge_patch, strict
from kingpost.model import User
from kingpost.problems import Conflict, Fault, Forbidden, NotFound, RateLimited
from kingpost.tags import USERS

ACCOUNT_SIZE = 16 * 1024
"""Maximum number of bytes of the JSON of an account while a JSON Patch changes it. A valid account is far smaller."""


def account_rules(users: Users) -> Rules:
    """Return the rules of address and metadata, which are reported together with the schema's faults."""

    def rules(document: dict[str, Any]) -> Iterable[Fault]:
        email, metadata = document.get("email"), document.get("metadata")
        if isinstance(email, str):
            yield from email_faults(email)
        if isinstance(metadata, dict):
            yield from metadata_faults(metadata)

    return rules


async def _find(call: Call, users: Users) -> User:
    return await users.read(call.caller, call.path["id"])


async def _find_to_write(call: Call, users: Users) -> User:
    return await users.find_to_write(call.caller, call.path["id"])


async def _find_to_delete(call: Call, users: Users) -> User:
    return await users.find_to_delete(call.caller, call.path["id"])


def _body(call: Call, user: User) -> UserBody:
    """Return what the caller sees of an account."""
    return UserBody.of(user, for_owner=call.caller.user_id == user.id)


async def get_me(call: Call, users: Users) -> Answer:
    return await get_user(call, users)


async def get_user(call: Call, users: Users) -> Answer:
    return _answer(call, call.target)


async def list_users(call: Call, users: Users) -> Answer:
    page_request, binding = listing(call)
    page = await users.list(page_request)
    cursor, headers = next_page(call, page.next, binding)
    items = [UserBody.of(user) for user in page.items]
    return answer(UserList(items, cursor, **({} if page.total is None else {"total": page.total})), PRIVATE, *headers)


async def replace_user(call: Call, users: Users) -> Answer:
    body: ReplaceUser = call.body
    proof = body.current_password, body.otp
    change = AccountChange(body.email, body.name, body.metadata, body.roles, body.status, *proof)
    return _answer(call, await users.replace(call.context, call.target, change, call.versions))


async def patch_user(call: Call, users: Users) -> Answer:
    body: ChangeUser | JSONPatch = call.body

    def patch(user: User) -> AccountChange:
        return _json_patched(user, body, call.machine) if isinstance(body, JSONPatch) else _merged(user, body)

    return _answer(call, await users.patch(call.context, call.target, patch, call.versions))


def _merged(user: User, body: ChangeUser) -> AccountChange:
    metadata: dict[str, Any] | UnsetType = UNSET
    if body.metadata is not UNSET:
        metadata = {} if body.metadata is None else merge_patch.apply(_stored(user), body.metadata)
    return AccountChange(body.email, body.name, metadata, body.roles, body.status, body.current_password, body.otp)


def _stored(user: User) -> dict[str, Any]:
    metadata: dict[str, Any] = strict.decode_stored(bytes(user.metadata))
    return metadata


def _json_patched(user: User, patch: JSONPatch, machine: Machine) -> AccountChange:
    before = {
        "email": user.email,
        "name": user.name,
        "metadata": _stored(user),
        "roles": list(user.roles),
        "status": user.status,
    }
    patched = json_patch.apply(before, patch.operations, ACCOUNT_SIZE)
    # A patch can nest deeper than its input, so check the result again.
    after = parse_body(strict.decode(msgspec.json.encode(patched), machine.json_limits), ReplaceUser, None)
    return AccountChange(
        # Naming the present address withdraws a pending change, so an address that no operation names counts as absent.
        after.email if after.email != user.email or _names_email(patch) else UNSET,
        after.name,
        after.metadata,
        # Unchanged values count as absent, so that callers other than administrators can patch their accounts.
        UNSET if after.roles == user.roles else after.roles,
        UNSET if after.status == user.status else after.status,
        after.current_password,
        after.otp,
    )


def _names_email(patch: JSONPatch) -> bool:
    """Return whether an operation writes the address."""
    return any(step["op"] != "test" and step["path"] in ("", "/email") for step in patch.operations)


def _answer(call: Call, user: User) -> Answer:
    return answer(_body(call, user), PRIVATE, version=user.version)


async def delete_user(call: Call, users: Users) -> Answer:
    await users.delete(call.context, call.target, call.versions)
    return Answer(204, b"", [NO_STORE])


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
        target=_find,
        representation=_body,
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
        target=_find,
        representation=_body,
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
        target=_find_to_write,
        representation=_body,
        who=Who.CALLER,
        scopes=("users:write", "users:admin"),
        tag=USERS,
        summary="Replace an account",
        description=CHANGES_BY_KEYS,
        body=ReplaceUser,
        rules=account_rules,
        result=UserBody,
        headers=("ETag",),
        problems=(Conflict, Forbidden, NotFound, RateLimited),
    ),
    Route(
        method="PATCH",
        path="/api/users/{id}",
        handler=patch_user,
        target=_find_to_write,
        representation=_body,
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
        problems=(Conflict, Forbidden, NotFound, RateLimited),
    ),
    Route(
        method="DELETE",
        path="/api/users/{id}",
        handler=delete_user,
        target=_find_to_delete,
        representation=_body,
        who=Who.CALLER,
        scopes=("users:admin",),
        tag=USERS,
        summary="Delete an account and everything it owns",
        description="No API key can delete the account of its owner. For another account it needs `users:admin`.",
        status=204,
        problems=(Conflict, Forbidden, NotFound),
    ),
)
