"""Sessions on SQL."""

from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import (
    ColumnElement,
    Text,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    literal,
    or_,
    select,
    update,
)

from kingpost import clock
from kingpost.accounts.one_time_tokens.tables import delete_tokens_of_change
from kingpost.accounts.users.tables import USER, end_pending_change, user_of, users
from kingpost.auth.second_factor.tables import second_factors
from kingpost.auth.sessions.schemas import ExportedSession
from kingpost.auth.sessions.store import MAX_LISTED, Rotation
from kingpost.auth.sessions.tables import SESSION, end_sessions, sessions
from kingpost.model import Session
from kingpost.problems import Unauthenticated
from kingpost.storage.columns import Identifier, Time
from kingpost.storage.database import Database, Script, Statement
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.functions import database_after, database_now
from kingpost.storage.owned import owned_rows
from kingpost.storage.writes import Writes

CLOCK_SKEW = 60
"""Seconds by which a rotation may lie in the future, because a clock was corrected in the meantime."""


def _end() -> Update:
    """End the session `session_id`, unless it has ended or belongs to another account than `user_id` (if any)."""
    user_id = bindparam("user_id", type_=Identifier)
    return (
        update(sessions)
        .where(
            sessions.c.id == bindparam("session_id"),
            sessions.c.ended_at.is_(None),
            or_(user_id.is_(None), sessions.c.user_id == user_id),
        )
        .values(ended_at=database_now(), device=None, address=None)
        .returning(sessions.c.id, sessions.c.user_id)
    )


def _alive() -> ColumnElement[bool]:
    return and_(sessions.c.ended_at.is_(None), sessions.c.expires_at > bindparam("at", type_=Time))


def _in_use() -> ColumnElement[bool]:
    return and_(_alive(), sessions.c.last_used_at > bindparam("idle_since", type_=Time))


class SQLSessions:
    """`kingpost.auth.sessions.store.SessionStore` on SQL."""

    def __init__(self, database: Database, writes: Writes) -> None:
        self._database = database
        self._writes = writes
        dialect = database.dialect
        self._export = Statement(owned_rows(sessions, ExportedSession), dialect)
        is_this = sessions.c.id == bindparam("session_id")
        active_user = select(*USER).where(users.c.id == bindparam("user_id"), users.c.status == literal("active", Text))
        self._find_active_user = Statement(active_user, dialect)
        with_hash = active_user.add_columns(users.c.password_hash)
        self._lock_active_user = Statement(with_hash.with_for_update(read=True), dialect)
        confirmed = second_factors.c.user_id == bindparam("user_id"), second_factors.c.confirmed_at.is_not(None)
        self._find_second_factor = Statement(select(second_factors.c.sealed).where(*confirmed), dialect)
        created = [*SESSION, sessions.c.token_hash]
        self._insert = Statement(insert(sessions).values({c.name: bindparam(c.name) for c in created}), dialect)
        self._consume = Statement(
            update(sessions)
            .where(is_this, sessions.c.token_hash == bindparam("presented"), _in_use())
            .values(
                token_hash=bindparam("successor"),
                parent_hash=bindparam("presented"),
                rotated_at=database_now(),
                last_used_at=bindparam("at", type_=Time),
            )
            .returning(*SESSION),
            dialect,
        )
        self._find_rotated = Statement(
            select(*SESSION).where(
                is_this,
                sessions.c.token_hash == bindparam("successor"),
                sessions.c.parent_hash == bindparam("presented"),
                sessions.c.rotated_at > database_after(bindparam("earliest")),
                # Without this, a database clock that was set back would let an old token be sent again for long.
                sessions.c.rotated_at < database_after(bindparam("latest")),
                _in_use(),
            ),
            dialect,
        )
        self._is_in_use = Statement(select(sessions.c.id).where(is_this, _in_use()), dialect)
        self._find = Statement(select(*SESSION).where(is_this, sessions.c.ended_at.is_(None)), dialect)
        self._end = Statement(_end(), dialect)
        only_with, the_one = bindparam("only_with", type_=Identifier), sessions.alias()
        is_alive = exists().where(the_one.c.id == only_with, the_one.c.ended_at.is_(None))
        self._end_all = Statement(end_sessions().where(or_(only_with.is_(None), is_alive)), dialect)
        account = select(users.c.id).where(users.c.id == bindparam("user_id"))
        self._lock_account = Statement(account.with_for_update(key_share=True), dialect)
        self._end_change = [Statement(end_pending_change(), dialect), Statement(delete_tokens_of_change(), dialect)]
        mine = select(*SESSION).where(sessions.c.user_id == bindparam("user_id"), _in_use())
        newest_first = mine.order_by(sessions.c.last_used_at.desc(), sessions.c.id.desc())
        self._list = Statement(newest_first.limit(MAX_LISTED), dialect)
        self._forget = Statement(
            delete(sessions).where(sessions.c.expires_at < bindparam("before", type_=Time)), dialect
        )

    async def create(
        self,
        session: Session,
        token_hash: bytes,
        password_hash: str | None = None,
        effects: Effects = NO_EFFECTS,
        *,
        second_factor: bytes | None = None,
    ) -> None:
        def script() -> Script[None]:
            rows = yield self._lock_active_user(user_id=session.user_id)
            if not rows or password_hash not in (None, rows[0][-1]):
                raise Unauthenticated("The account is gone or suspended, or its password has changed")
            if password_hash is not None:
                factors = yield self._find_second_factor(user_id=session.user_id)
                if [bytes(row[0]) for row in factors] != ([] if second_factor is None else [second_factor]):
                    raise Unauthenticated("The second factor of the account has changed")
            yield self._insert(token_hash=token_hash, **msgspec.structs.asdict(session))
            yield from self._writes.steps(effects)

        await self._writes.transact(script, effects)

    async def rotate(
        self,
        session_id: str,
        token_hash: bytes,
        successor_hash: bytes,
        at: str,
        repeatable_for: int,
        idle_since: str,
        if_reused: Callable[[str], Effects] = lambda user_id: NO_EFFECTS,
    ) -> Rotation | None:
        window = {"earliest": -repeatable_for, "latest": CLOCK_SKEW}
        presented = {"session_id": session_id, "presented": token_hash, "successor": successor_hash}

        def script() -> Script[Rotation | None]:
            rows = yield self._consume(**presented, at=at, idle_since=idle_since)
            if not rows:
                rows = yield self._find_rotated(**presented, at=at, idle_since=idle_since, **window)
            if rows:
                session = Session(*rows[0])
                users_found = yield self._find_active_user(user_id=session.user_id)
                if users_found:
                    return Rotation(user_of(users_found[0]), session)
                yield self._end(session_id=session_id, user_id=None)
                return None
            in_use = yield self._is_in_use(session_id=session_id, at=at, idle_since=idle_since)
            ended = yield self._end(session_id=session_id, user_id=None)
            if in_use and ended:
                yield from self._writes.steps(if_reused(ended[0][1]))
            return None

        return await self._database.transact(script)

    async def find(self, session_id: str) -> Session | None:
        rows = await self._database.read(self._find(session_id=session_id))
        return Session(*rows[0]) if rows else None

    async def list(self, user_id: str, at: str, idle_since: str) -> Sequence[Session]:
        rows = await self._database.read(self._list(user_id=user_id, at=at, idle_since=idle_since))
        return [Session(*row) for row in rows]

    async def end(self, session_id: str, user_id: str | None, effects: Effects = NO_EFFECTS) -> str | None:
        def script() -> Script[str | None]:
            rows = yield self._end(session_id=session_id, user_id=user_id)
            if not rows:
                return None
            yield from self._writes.steps(effects)
            return str(rows[0][1])

        return await self._writes.transact(script, effects)

    async def end_all(
        self,
        user_id: str,
        *,
        keep_session: str | None = None,
        only_with: str | None = None,
        effects: Effects = NO_EFFECTS,
    ) -> Sequence[str]:
        def script() -> Script[Sequence[str]]:
            yield self._lock_account(user_id=user_id)
            rows = yield self._end_all(user_id=user_id, kept=keep_session, only_with=only_with)
            if not rows and only_with is not None:
                return []
            for statement in self._end_change:
                yield statement(user_id=user_id, at=clock.now())
            yield from self._writes.steps(effects)
            return [row[0] for row in rows]

        return await self._writes.transact(script, effects)

    async def forget_expired(self, before: str) -> None:
        await self._database.write(self._forget(before=before))

    async def export(self, user_id: str) -> Sequence[ExportedSession]:
        # There can be many rows, because scripts may sign in all day.
        rows = await self._database.scan(self._export(user_id=user_id))
        return [ExportedSession(*row) for row in rows]
