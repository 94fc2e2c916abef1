"""What ended or changed on any node, on SQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, bindparam, delete, select

from kingpost.accounts.users.tables import roles_of, users
from kingpost.auth.api_keys.tables import api_keys
from kingpost.auth.revocations.store import EndAPIKeys, RequireSession
from kingpost.auth.sessions.tables import sessions
from kingpost.problems import Unauthenticated
from kingpost.storage.columns import Time
from kingpost.storage.database import Database, Statement
from kingpost.storage.functions import database_after
from kingpost.storage.writes import Kind, Parameters


def _is_alive(row: Parameters) -> Select[Any]:
    living = select(sessions.c.id).where(sessions.c.id == row.id, sessions.c.ended_at.is_(None))
    return living.with_for_update(read=True, of=sessions)


KINDS: Mapping[type, Kind[Any]] = {
    RequireSession: Kind[RequireSession](
        row=msgspec.structs.astuple,
        parameters=lambda shape: {"id": sessions.c.id.type},
        build=_is_alive,
        returning=[sessions.c.id],
        refusal=lambda: Unauthenticated("The session has ended"),
    ),
    EndAPIKeys: Kind[EndAPIKeys](
        row=msgspec.structs.astuple,
        parameters=lambda shape: {"user_id": api_keys.c.user_id.type},
        build=lambda row: delete(api_keys).where(api_keys.c.user_id == row.user_id),
    ),
}


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
