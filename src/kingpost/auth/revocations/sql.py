"""What ended or changed on any node, on SQL."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from kingpost.accounts.users.tables import roles_of, users
from kingpost.auth.sessions.tables import sessions
from kingpost.storage.columns import Time
from kingpost.storage.database import Database, Statement
from kingpost.storage.functions import database_after


class SQLRevocations:
    """`kingpost.auth.revocations.store.RevocationStore` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.dialect
        ended = sessions.c.ended_at > database_after(bindparam("seconds"))
        self._ended_within = Statement(select(sessions.c.id).where(ended), dialect)
        changed = users.c.roles_changed_at > database_after(bindparam("seconds"))
        self._roles_changed_within = Statement(select(users.c.id, users.c.roles).where(changed), dialect)
        is_alive = (
            sessions.c.id == bindparam("session_id"),
            sessions.c.ended_at.is_(None),
            sessions.c.expires_at > bindparam("at", type_=Time),
        )
        self._find_roles = Statement(select(users.c.roles).where(users.c.id == sessions.c.user_id, *is_alive), dialect)

    async def ended_within(self, seconds: int) -> Sequence[str]:
        # This runs several times a second, so it also finds out whether SQLite's file is still there.
        await self._database.ping()
        rows = await self._database.read(self._ended_within(seconds=-seconds))
        return [row[0] for row in rows]

    async def roles_changed_within(self, seconds: int) -> Sequence[tuple[str, tuple[str, ...]]]:
        rows = await self._database.read(self._roles_changed_within(seconds=-seconds))
        return [(row[0], roles_of(row[1])) for row in rows]

    async def find_roles(self, session_id: str, at: str) -> Sequence[str] | None:
        rows = await self._database.read(self._find_roles(session_id=session_id, at=at))
        return roles_of(rows[0][0]) if rows else None
