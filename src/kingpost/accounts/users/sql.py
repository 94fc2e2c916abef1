"""Accounts on SQL."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Text, bindparam, cast, delete, insert, literal, select, update

from kingpost.accounts.one_time_tokens.tables import delete_tokens_of_change, one_time_tokens
from kingpost.accounts.users.store import UserChange
from kingpost.accounts.users.tables import NO_PENDING_CHANGE, USER, end_pending_change, user_columns, user_of, users
from kingpost.auth.sessions.tables import end_sessions
from kingpost.model import ADMIN, Page, Status, User
from kingpost.problems import Conflict, Forbidden, NotFound, VersionMismatch
from kingpost.storage.database import Database, Row, Script, Statement, UniqueViolation
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.functions import database_now, exclusive_section
from kingpost.storage.listing import Listing
from kingpost.storage.owned import Owned
from kingpost.storage.paging import Filter, Pages
from kingpost.storage.writes import Writes

SORTED_BY = {"created_at": "id", "email": "email_key"}
FILTERS = {
    "status": Filter(users.c.status == bindparam("status"), pins="status"),
    "role": Filter(cast(users.c.roles, Text).like(bindparam("role"), escape="/")),
}
ADMINISTRATORS = 0x6B696E67  # the section of all that could leave no administrator


class SQLUsers:
    """`kingpost.accounts.users.store.UserStore` on SQL."""

    def __init__(self, database: Database, writes: Writes, owned: Sequence[Owned]) -> None:
        """`owned` describes the rows of accounts in the tables of other features."""
        self._database = database
        self._writes = writes
        dialect = database.dialect
        found = select(*USER)
        by_id = found.where(users.c.id == bindparam("id"))
        created = [*USER, users.c.email_key, users.c.password_hash]
        self._insert = Statement(insert(users).values({c.name: bindparam(c.name) for c in created}), dialect)
        self._find = Statement(by_id, dialect)
        self._find_to_change = Statement(by_id.with_for_update(), dialect)
        self._find_by_email = Statement(found.where(users.c.email_key == bindparam("email_key")), dialect)
        self._administrators_in_turn = Statement(select(exclusive_section(literal(ADMINISTRATORS))), dialect)
        is_admin = cast(users.c.roles, Text).like(f'%"{ADMIN}"%')
        active_admin = select(users.c.id).where(is_admin, users.c.status == literal("active"))
        self._some_admin = Statement(active_admin.limit(1), dialect)
        self._find_admin = Statement(active_admin.where(users.c.id == bindparam("user_id")), dialect)
        self._end_sessions = Statement(end_sessions(), dialect)
        # Sessions are not among them: ended, they outlive the account until every node knows that they have ended.
        self._delete_owned = [Statement(statement, dialect) for each in owned for statement in each.delete]
        self._delete = Statement(delete(users).where(users.c.id == bindparam("user_id")), dialect)
        is_theirs = one_time_tokens.c.user_id == bindparam("user_id")
        self._kill_tokens = Statement(delete(one_time_tokens).where(is_theirs), dialect)
        self._kill_tokens_of_change = Statement(delete_tokens_of_change(), dialect)
        at = bindparam("at", type_=users.c.updated_at.type)
        has_expired = users.c.pending_email_expires_at <= at
        self._end_expired = Statement(end_pending_change().where(has_expired).returning(users.c.id), dialect)
        # Through the tokens, whose expiry has an index.
        expired = one_time_tokens.c.purpose == literal("change-email"), one_time_tokens.c.expires_at <= at
        self._with_expired = Statement(select(one_time_tokens.c.user_id).where(*expired), dialect)
        self._pages = Pages(database, USER, user_of, filters=FILTERS, aliases=SORTED_BY)
        self._update = lru_cache(maxsize=64)(self._make_update)

    async def create(self, user: User, email_key: str, password_hash: str, effects: Effects = NO_EFFECTS) -> None:
        columns = user_columns(user) | {"email_key": email_key, "password_hash": password_hash}

        def script() -> Script[None]:
            yield self._insert(**columns)
            yield from self._writes.steps(effects)

        try:
            await self._writes.transact(script, effects)
        except UniqueViolation as error:
            raise _address_taken() from error

    async def find(self, user_id: str) -> User | None:
        rows = await self._database.read(self._find(id=user_id))
        return user_of(rows[0]) if rows else None

    async def find_by_email(self, email_key: str) -> User | None:
        rows = await self._database.read(self._find_by_email(email_key=email_key))
        return user_of(rows[0]) if rows else None

    async def list(self, listing: Listing, *, status: Status | None = None, role: str | None = None) -> Page[User]:
        # A role is a name in quotes in the JSON of all roles; `_` would stand for any character.
        pattern = None if role is None else f'%"{role.replace("_", "/_")}"%'
        given = {name: value for name, value in (("status", status), ("role", pattern)) if value is not None}
        return await self._pages.list(listing, **given)

    async def change(
        self,
        user_id: str,
        change: UserChange,
        at: str,
        versions: Sequence[int] | None,
        effects: Effects = NO_EFFECTS,
        *,
        by_admin: str | None = None,
    ) -> tuple[User, Sequence[str]]:
        def script() -> Script[tuple[User, Sequence[str]]]:
            if by_admin is not None:
                yield from self._require_admin(by_admin)
            changed = yield from self._change(user_id, change, at, versions)
            yield from self._writes.steps(effects)
            return changed

        try:
            return await self._writes.transact(script, effects)
        except UniqueViolation as error:
            raise _address_taken() from error

    def _change(
        self, user_id: str, change: UserChange, at: str, versions: Sequence[int] | None
    ) -> Script[tuple[User, Sequence[str]]]:
        demotes = change.status == "suspended" or (change.roles is not msgspec.UNSET and ADMIN not in change.roles)
        was_admin = (yield from self._find_changeable(user_id, versions, demotes)).roles.count(ADMIN) > 0
        values = {name: value for name, value in user_columns(change).items() if value is not msgspec.UNSET}
        is_at_an_end = change.email is not msgspec.UNSET or change.status == "suspended"
        if is_at_an_end:
            values |= dict.fromkeys(NO_PENDING_CHANGE)
        rows = yield self._update(tuple(sorted(values)))(user_id=user_id, at=at, **values)
        changed = user_of(rows[0])
        if demotes and was_admin:
            yield from self._keep_an_admin()
        if change.email is not msgspec.UNSET:
            yield self._kill_tokens(user_id=user_id)
        elif is_at_an_end or change.pending_email is not msgspec.UNSET:
            yield self._kill_tokens_of_change(user_id=user_id)
        ended: Sequence[Row] = ()
        if changed.status == "suspended":
            ended = yield self._end_sessions(user_id=user_id, kept=None)
        return changed, [row[0] for row in ended]

    async def end_expired_change(self, user_id: str, at: str) -> User | None:
        def script() -> Script[User | None]:
            rows = yield self._find_to_change(id=user_id)
            if not rows:
                return None
            if not (yield self._end_expired(user_id=user_id, at=at)):
                return user_of(rows[0])
            yield self._kill_tokens_of_change(user_id=user_id)
            return user_of((yield self._find(id=user_id))[0])

        return await self._database.transact(script)

    async def with_expired_changes(self, at: str) -> Sequence[str]:
        rows = await self._database.read(self._with_expired(at=at))
        return [row[0] for row in rows]

    async def delete(
        self, user_id: str, versions: Sequence[int] | None, effects: Effects = NO_EFFECTS
    ) -> Sequence[str]:
        def script() -> Script[Sequence[str]]:
            user = yield from self._find_changeable(user_id, versions, demotes=True)
            ended = yield self._end_sessions(user_id=user_id, kept=None)
            yield from self._writes.steps(effects)
            for statement in [*self._delete_owned, self._delete]:
                yield statement(user_id=user_id)
            if ADMIN in user.roles:
                yield from self._keep_an_admin()
            return [row[0] for row in ended]

        return await self._writes.transact(script, effects)

    def _find_changeable(self, user_id: str, versions: Sequence[int] | None, demotes: bool) -> Script[User]:
        """Lock the account. If `demotes`, first take the lock that serialises changes of administrators."""
        if demotes:
            yield self._administrators_in_turn()
        rows = yield self._find_to_change(id=user_id)
        if not rows:
            raise NotFound()
        user = user_of(rows[0])
        if versions is not None and user.version not in versions:
            raise VersionMismatch(user)
        return user

    def _require_admin(self, user_id: str) -> Script[None]:
        yield self._administrators_in_turn()
        if not (yield self._find_admin(user_id=user_id)):
            raise Forbidden("Only administrators can do this")

    def _keep_an_admin(self) -> Script[None]:
        if not (yield self._some_admin()):
            raise Conflict("This is the last active administrator: make another account one first")

    def _make_update(self, names: tuple[str, ...]) -> Statement:
        values: dict[str, Any] = {name: bindparam(name, type_=users.c[name].type) for name in names}
        values["version"] = users.c.version + 1
        values["updated_at"] = bindparam("at", type_=users.c.updated_at.type)
        if "roles" in names:
            values["roles_changed_at"] = database_now()
        statement = update(users).where(users.c.id == bindparam("user_id")).values(values).returning(*USER)
        return Statement(statement, self._database.dialect)


def _address_taken() -> Conflict:
    return Conflict("This e-mail address belongs to an account already")
