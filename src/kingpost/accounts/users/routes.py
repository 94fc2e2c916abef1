"""Accounts on the wire."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from kingpost.accounts.recovery.routes import accepted
from kingpost.accounts.users.schemas import ChangePassword, ChangeUser, ReplaceUser, SignUp, UserBody, UserList
from kingpost.accounts.users.service import AccountChange, NewAccount
from kingpost.http.app.call import NO_STORE, PRIVATE, Answer, Call, Features, answer
from kingpost.http.app.etags import format_etag, if_match, if_none_match
from kingpost.http.app.input import Rules, parse_body
from kingpost.http.app.pages import listing, next_page
from kingpost.http.app.schemas import JSONPatch
from kingpost.jsontools import json_patch, merge_patch
from kingpost.jsontools import strict as strict_json
from kingpost.jsontools.strict import JSONLimits
from kingpost.model import User
from kingpost.problems import Fault
from kingpost.settings import Settings


async def create_user(call: Call) -> Answer:
    new: SignUp = call.body
    principal = None if call.header(b"authorization") is None else await call.authenticate()
    account = NewAccount(new.email, new.password, new.name, new.metadata)
    user = await call.features.registration.sign_up(principal, account, call.origin)
    if user is None:
        return accepted()
    location = (b"location", f"/api/v1/users/{user.id}".encode())
    return answer(UserBody.of(user), NO_STORE, location, _etag(user), status=201)


def account_rules(features: Features) -> Rules:
    """Rules of address, password and metadata, told together with what the schema has to say."""

    def rules(document: dict[str, Any]) -> Iterable[Fault]:
        email, password, metadata = (document.get(name) for name in ("email", "password", "metadata"))
        known = NewAccount(
            email if isinstance(email, str) else "",
            password if isinstance(password, str) else "",
            metadata=metadata if isinstance(metadata, dict) else {},
        )
        told = [name for name, value in (("/email", email), ("/password", password)) if isinstance(value, str)]
        return [f for f in features.accounts.faults(known) if f.pointer in (*told, "/metadata")]

    return rules


async def get_me(call: Call) -> Answer:
    return await _get(call, call.caller.user_id)


async def get_user(call: Call) -> Answer:
    return await _get(call, call.path["id"])


async def _get(call: Call, user_id: str) -> Answer:
    user = await call.features.accounts.read(call.caller, user_id)
    if if_none_match(call.header(b"if-none-match"), user.version):
        return Answer(304, b"", [PRIVATE, _etag(user)])
    return answer(UserBody.of(user), PRIVATE, _etag(user))


async def list_users(call: Call) -> Answer:
    part, binding = listing(call)
    page = await call.features.accounts.list(part)
    cursor, headers = next_page(call, page.next, binding)
    items = [UserBody.of(user) for user in page.items]
    return answer(UserList(items, cursor, **({} if page.total is None else {"total": page.total})), PRIVATE, *headers)


async def replace_user(call: Call) -> Answer:
    body: ReplaceUser = call.body
    change = AccountChange(body.email, body.name, body.metadata, body.roles, body.status, body.current_password)
    versions = if_match(call.header(b"if-match"))
    return _changed(await call.features.accounts.replace(call.caller, call.path["id"], change, versions, call.origin))


async def patch_user(call: Call) -> Answer:
    body: ChangeUser | JSONPatch = call.body
    versions = if_match(call.header(b"if-match"))
    settings = call.features.settings

    def patch(user: User) -> AccountChange:
        return _json_patched(user, body, settings) if isinstance(body, JSONPatch) else _merged(user, body)

    return _changed(await call.features.accounts.patch(call.caller, call.path["id"], patch, versions, call.origin))


def _merged(user: User, body: ChangeUser) -> AccountChange:
    metadata: dict[str, Any] | UnsetType = UNSET
    if body.metadata is not UNSET:
        metadata = {} if body.metadata is None else merge_patch.apply(msgspec.json.decode(user.metadata), body.metadata)
    return AccountChange(body.email, body.name, metadata, body.roles, body.status, body.current_password)


def _json_patched(user: User, patch: JSONPatch, settings: Settings) -> AccountChange:
    before = {
        "email": user.email,
        "name": user.name,
        "metadata": msgspec.json.decode(user.metadata),
        "roles": user.roles,
        "status": user.status,
    }
    patched = json_patch.apply(before, patch.operations, settings.body_limit)
    # The result may be deeper than what came in.
    limits = JSONLimits(depth=settings.json_depth, keys=settings.json_keys)
    after = parse_body(strict_json.decode(msgspec.json.encode(patched), limits), ReplaceUser, None)
    return AccountChange(
        after.email,
        after.name,
        after.metadata,
        # Sent back as they were, they are no attempt to change them.
        UNSET if after.roles == user.roles else after.roles,
        UNSET if after.status == user.status else after.status,
        after.current_password,
    )


def _changed(user: User) -> Answer:
    return answer(UserBody.of(user), PRIVATE, _etag(user))


async def change_password(call: Call) -> Answer:
    body: ChangePassword = call.body
    await call.features.accounts.change_password(
        call.caller, call.path["id"], body.current_password, body.new_password, call.origin
    )
    return Answer(204, b"", [NO_STORE])


def new_password_rules(features: Features) -> Rules:
    """Rules of a new password, told together with what the schema has to say."""

    def rules(document: dict[str, Any]) -> Iterable[Fault]:
        new = document.get("new_password")
        known = features.accounts.faults(NewAccount("", new)) if isinstance(new, str) else ()
        return [Fault(f.detail, f.code, pointer="/new_password") for f in known if f.pointer == "/password"]

    return rules


async def delete_user(call: Call) -> Answer:
    versions = if_match(call.header(b"if-match"))
    await call.features.accounts.delete(call.caller, call.path["id"], versions, call.origin)
    return Answer(204, b"", [NO_STORE])


def _etag(user: User) -> tuple[bytes, bytes]:
    return b"etag", format_etag(user.version).encode()
