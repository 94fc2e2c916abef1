"""What is kept about one account, on SQL. `deletion.py` is its counterpart: what is told here is deleted there."""

from typing import Any

import msgspec
from sqlalchemy import Table, bindparam, func, select

from kingpost.accounts.export.store import (
    AccountRecords,
    JobRecord,
    KeyRecord,
    SecondFactorRecord,
    SessionRecord,
    TokenRecord,
)
from kingpost.model import User
from kingpost.storage.sql.database import Database, Row, Statement
from kingpost.storage.sql.rows import USER, user_of
from kingpost.storage.sql.schema import (
    api_keys,
    jobs,
    one_time_tokens,
    recovery_codes,
    second_factors,
    sessions,
    users,
)


class SQLRecords:
    """`kingpost.accounts.export.store.RecordStore` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.dialect
        self._user = Statement(select(*USER).where(users.c.id == bindparam("user_id")), dialect)
        self._sessions = self._all_of(sessions, SessionRecord)
        self._api_keys = self._all_of(api_keys, KeyRecord)
        self._one_time_tokens = self._all_of(one_time_tokens, TokenRecord)
        self._jobs = self._all_of(jobs, JobRecord)
        left = select(func.count()).where(recovery_codes.c.user_id == second_factors.c.user_id).scalar_subquery()
        factor = select(second_factors.c.created_at, second_factors.c.confirmed_at, left)
        self._second_factor = Statement(factor.where(second_factors.c.user_id == bindparam("user_id")), dialect)

    async def find(self, user_id: str) -> AccountRecords | None:
        users_found = await self._database.read(self._user(user_id=user_id))
        if not users_found:
            return None
        user: User = user_of(users_found[0])
        factors = await self._database.read(self._second_factor(user_id=user_id))
        return AccountRecords(
            user=user,
            sessions=[SessionRecord(*row) for row in await self._rows(self._sessions, user_id)],
            api_keys=[_key_of(row) for row in await self._rows(self._api_keys, user_id)],
            second_factor=SecondFactorRecord(*factors[0]) if factors else None,
            one_time_tokens=[TokenRecord(*row) for row in await self._rows(self._one_time_tokens, user_id)],
            jobs=[JobRecord(*row) for row in await self._rows(self._jobs, user_id)],
        )

    async def _rows(self, statement: Statement, user_id: str) -> Any:
        # Nobody knows how many there are: a script may sign in all day.
        return await self._database.scan(statement(user_id=user_id))

    def _all_of(self, table: Table, record: type[msgspec.Struct]) -> Statement:
        columns = [table.c[name] for name in record.__struct_fields__]
        rows = select(*columns).where(table.c.user_id == bindparam("user_id"))
        return Statement(rows.order_by(table.c.created_at, *table.primary_key), self._database.dialect)


def _key_of(row: Row) -> KeyRecord:
    scopes = tuple(msgspec.json.decode(row[2], type=list[str]))
    return KeyRecord(row[0], row[1], scopes, *row[3:])
