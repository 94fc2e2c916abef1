"""One-time tokens on SQL.

All writes of tokens first lock the account, as changes of the account do. So no two transactions deadlock, and a token
that is issued during a change of the account is stored for its new state.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, literal, or_, select, true, update

from kingpost import clock
from kingpost.accounts.one_time_tokens.schemas import ExportedToken
from kingpost.accounts.one_time_tokens.store import Allowance, OneTimeToken, Purpose
from kingpost.accounts.one_time_tokens.tables import delete_tokens_of_change, one_time_tokens
from kingpost.accounts.users.tables import NO_PENDING_CHANGE, USER, end_pending_change, user_of, users
from kingpost.audit.tables import audit
from kingpost.auth.sessions.tables import end_sessions, sessions
from kingpost.jobs.store import FinishJob
from kingpost.model import User
from kingpost.problems import Conflict, NotFound
from kingpost.storage.columns import Identifier, Time
from kingpost.storage.database import Database, Script, Statement, UniqueViolation
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.owned import Owned, owned_rows
from kingpost.storage.writes import Kind, Parameters, UpsertableInsert, Writes

TOKEN = [one_time_tokens.c[field] for field in OneTimeToken.__struct_fields__]
TOKEN_KEY = ("user_id", "purpose")
CLOCK_SKEW = 60
"""Seconds by which the clock of another node may be ahead."""
FOR_ADDRESSES: tuple[Purpose, ...] = ("verify-email", "change-email")
TO_STOP: tuple[Purpose, ...] = ("stop-email-change",)
FOR_PASSWORDS: tuple[Purpose, ...] = ("reset-password",)


def _upsert(row: Parameters) -> UpsertableInsert:
    statement = row.insert(one_time_tokens, **{column.name: row[column.name] for column in TOKEN})
    new = {column.name: statement.excluded[column.name] for column in TOKEN if column.name not in TOKEN_KEY}
    return statement.on_conflict_do_update(index_elements=TOKEN_KEY, set_=new)


KINDS: Mapping[type, Kind[Any]] = {
    OneTimeToken: Kind[OneTimeToken](
        row=msgspec.structs.astuple,
        parameters=lambda shape: {column.name: column.type for column in TOKEN},
        build=_upsert,
        key=TOKEN_KEY,
    )
}


class SQLOneTimeTokens:
    """`kingpost.accounts.one_time_tokens.store.OneTimeTokenStore` on SQL."""

    def __init__(self, database: Database, writes: Writes, owned: Sequence[Owned]) -> None:
        """`owned` describes the rows of accounts in the tables of other features."""
        self._database = database
        self._writes = writes
        dialect = database.dialect
        self._export = Statement(owned_rows(one_time_tokens, ExportedToken), dialect)
        account = select(users.c.id).where(users.c.id == bindparam("user_id"))
        self._lock_account = Statement(account.with_for_update(key_share=True), dialect)
        is_theirs = one_time_tokens.c.user_id == bindparam("user_id")
        is_of_purpose = is_theirs, one_time_tokens.c.purpose == bindparam("purpose")
        lives = one_time_tokens.c.expires_at > bindparam("at", type_=Time)
        living = select(one_time_tokens.c.user_id).where(*is_of_purpose, lives)
        self._find_living = Statement(living.where(one_time_tokens.c.email_key == bindparam("email_key")), dialect)
        self._kill = Statement(delete(one_time_tokens).where(*is_of_purpose), dialect)
        self._kill_all = Statement(delete(one_time_tokens).where(is_theirs), dialect)
        # Entries carry their time in their id, which the indexes are sorted by.
        since = audit.c.id >= bindparam("since", type_=Identifier)
        # Entries of the future were written before the clock was set back, and would count until then.
        until = audit.c.id < bindparam("until", type_=Identifier)
        counted = audit.c.target_id == bindparam("user_id"), audit.c.action == bindparam("action"), since, until
        self._count = Statement(select(func.count()).select_from(audit).where(*counted), dialect)
        same_address = one_time_tokens.c.email_key == users.c.email_key
        is_good = or_(one_time_tokens.c.purpose == literal("change-email"), same_address)
        is_this = one_time_tokens.c.token_hash == bindparam("token_hash")
        found = select(*TOKEN, *USER).where(is_this, lives, users.c.id == one_time_tokens.c.user_id, is_good)
        self._find = Statement(found, dialect)
        self._find_to_use = Statement(found.with_for_update(key_share=True, of=users), dialect)
        self._use = Statement(delete(one_time_tokens).where(is_this).returning(one_time_tokens.c.user_id), dialect)
        proved = {
            "email_verified": true(),
            "version": users.c.version + 1,
            "updated_at": bindparam("at", type_=users.c.updated_at.type),
        }
        changed = update(users).where(users.c.id == bindparam("user_id")).returning(*USER)
        address = {"email": bindparam("email"), "email_key": bindparam("email_key", type_=users.c.email_key.type)}
        self._set_proved = Statement(changed.values(proved), dialect)
        self._set_email = Statement(changed.values(proved | address | NO_PENDING_CHANGE), dialect)
        self._set_password = Statement(
            changed.values(password_hash=bindparam("hash"), **proved, **NO_PENDING_CHANGE), dialect
        )
        self._find_account = Statement(select(*USER).where(users.c.id == bindparam("user_id")), dialect)
        self._distrust = [Statement(statement, dialect) for each in owned for statement in each.distrust]
        ended_change = end_pending_change().returning(users.c.id)
        self._end_change = [Statement(ended_change, dialect), Statement(delete_tokens_of_change(), dialect)]
        self._end_sessions = Statement(end_sessions(), dialect)
        is_session = sessions.c.id == bindparam("session_id"), sessions.c.user_id == bindparam("user_id")
        active = select(sessions.c.id).where(*is_session, sessions.c.ended_at.is_(None))
        self._find_active_session = Statement(active, dialect)
        expired = one_time_tokens.c.expires_at < bindparam("before", type_=Time)
        self._forget = Statement(delete(one_time_tokens).where(expired), dialect)

    async def issue(
        self,
        token: OneTimeToken,
        effects: Effects = NO_EFFECTS,
        *,
        kills: Sequence[Purpose] = (),
        allowance: Allowance | None = None,
    ) -> None:
        def script() -> Script[None]:
            yield from self._lock(token.user_id)
            for purpose in kills:
                yield self._kill(user_id=token.user_id, purpose=purpose)
            yield from self._store(token, effects, allowance)

        await self._writes.transact(script, effects)

    async def renew(
        self, token: OneTimeToken, effects: Effects = NO_EFFECTS, *, allowance: Allowance | None = None
    ) -> bool:
        key = {"user_id": token.user_id, "purpose": token.purpose, "email_key": token.email_key}

        def script() -> Script[bool]:
            yield from self._lock(token.user_id)
            if not (yield self._find_living(**key, at=token.created_at)):
                return False
            yield from self._store(token, effects, allowance)
            return True

        return await self._writes.transact(script, effects)

    async def find(self, token_hash: bytes, at: str) -> tuple[OneTimeToken, User] | None:
        rows = await self._database.read(self._find(token_hash=token_hash, at=at))
        return (OneTimeToken(*rows[0][: len(TOKEN)]), user_of(rows[0][len(TOKEN) :])) if rows else None

    async def confirm_email(
        self,
        token_hash: bytes,
        at: str,
        effects: Effects = NO_EFFECTS,
        *,
        spared_by: str | None = None,
        if_removed: Effects = NO_EFFECTS,
    ) -> tuple[User, Sequence[str]] | None:
        def script() -> Script[tuple[User, Sequence[str]] | None]:
            token = yield from self._consume(token_hash, at, FOR_ADDRESSES)
            if token is None:
                return None
            ended: Sequence[str] = ()
            is_proved = yield from self._is_proved(token.user_id)
            if not is_proved and not (yield from self._is_spared(token.user_id, spared_by)):
                ended = yield from self._remove_setup(token.user_id, at, if_removed)
            if token.purpose == "change-email":
                address = {"email": token.email, "email_key": token.email_key}
                rows = yield self._set_email(user_id=token.user_id, at=at, **address)
                yield self._kill_all(user_id=token.user_id)
            else:
                rows = yield self._set_proved(user_id=token.user_id, at=at)
            yield from self._writes.steps(effects)
            return user_of(rows[0]), ended

        try:
            return await self._writes.transact(script, effects)
        except UniqueViolation as error:
            raise Conflict("This e-mail address belongs to an account already") from error

    async def stop_change(self, token_hash: bytes, at: str, effects: Effects = NO_EFFECTS) -> User | None:
        def script() -> Script[User | None]:
            token = yield from self._consume(token_hash, at, TO_STOP)
            if token is None:
                return None
            for statement in self._end_change:
                yield statement(user_id=token.user_id, at=at)
            yield from self._writes.steps(effects)
            return user_of((yield self._find_account(user_id=token.user_id))[0])

        return await self._writes.transact(script, effects)

    async def reset_password(
        self,
        token_hash: bytes,
        password_hash: str,
        at: str,
        effects: Effects = NO_EFFECTS,
        *,
        if_removed: Effects = NO_EFFECTS,
    ) -> tuple[User, Sequence[str]] | None:
        def script() -> Script[tuple[User, Sequence[str]] | None]:
            token = yield from self._consume(token_hash, at, FOR_PASSWORDS)
            if token is None:
                return None
            was_proved = yield from self._is_proved(token.user_id)
            rows = yield self._set_password(user_id=token.user_id, hash=password_hash, at=at)
            if was_proved:
                ended = yield from self._end_all_sessions(token.user_id)
            else:
                ended = yield from self._remove_setup(token.user_id, at, if_removed)
            yield self._kill_all(user_id=token.user_id)
            yield from self._writes.steps(effects)
            return user_of(rows[0]), ended

        return await self._writes.transact(script, effects)

    async def forget_expired(self, before: str) -> None:
        await self._database.write(self._forget(before=before))

    def _is_proved(self, user_id: str) -> Script[bool]:
        return user_of((yield self._find_account(user_id=user_id))[0]).email_verified

    def _is_spared(self, user_id: str, session_id: str | None) -> Script[bool]:
        return session_id is not None and bool(
            (yield self._find_active_session(user_id=user_id, session_id=session_id))
        )

    def _remove_setup(self, user_id: str, at: str, effects: Effects) -> Script[Sequence[str]]:
        """Remove what was set up before the first proof of the address; return the ids of the ended sessions.

        The effects are stored if there was anything.
        """
        found = False
        for statement in [*self._distrust, *self._end_change]:
            found |= bool((yield statement(user_id=user_id, at=at)))
        ended = yield from self._end_all_sessions(user_id)
        if found or ended:
            yield from self._writes.steps(effects)
        return ended

    def _end_all_sessions(self, user_id: str) -> Script[Sequence[str]]:
        return [row[0] for row in (yield self._end_sessions(user_id=user_id, kept=None))]

    def _lock(self, user_id: str) -> Script[None]:
        if not (yield self._lock_account(user_id=user_id)):
            raise NotFound()

    def _store(self, token: OneTimeToken, effects: Effects, allowance: Allowance | None) -> Script[None]:
        """Store the token and the effects, or only a `FinishJob` if the allowance is used up.

        The account must be locked.
        """
        if allowance is not None and (yield from self._is_used_up(token.user_id, allowance)):
            yield from self._writes.steps([effect for effect in effects if isinstance(effect, FinishJob)])
        else:
            yield from self._writes.steps([token, *effects])

    def _is_used_up(self, user_id: str, allowance: Allowance) -> Script[bool]:
        since, until = clock.first_id_of(allowance.since), clock.first_id_of(clock.after(CLOCK_SKEW))
        counted = 0
        for action in allowance.actions:
            counted += (yield self._count(user_id=user_id, action=action, since=since, until=until))[0][0]
        return counted >= allowance.most

    def _consume(self, token_hash: bytes, at: str, purposes: Sequence[Purpose]) -> Script[OneTimeToken | None]:
        """Lock the account of a valid token with one of these purposes, and use the token up. None if there is none."""
        rows = yield self._find_to_use(token_hash=token_hash, at=at)
        if not rows:
            return None
        token = OneTimeToken(*rows[0][: len(TOKEN)])
        if token.purpose not in purposes:
            return None
        # A transaction that held the lock before may have used or revoked the token.
        return token if (yield self._use(token_hash=token_hash)) else None

    async def export(self, user_id: str) -> Sequence[ExportedToken]:
        # There can be many rows, because scripts may call all day.
        rows = await self._database.scan(self._export(user_id=user_id))
        return [ExportedToken(*row) for row in rows]


OWNED = Owned([delete(one_time_tokens).where(one_time_tokens.c.user_id == bindparam("user_id", type_=Identifier))])
