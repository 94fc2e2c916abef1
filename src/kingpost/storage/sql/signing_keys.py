"""Signing keys on SQL."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, insert, literal, select

from kingpost.storage import SealedKey
from kingpost.storage.sql.database import Database, Script, Statement
from kingpost.storage.sql.functions import exclusive_section
from kingpost.storage.sql.schema import signing_keys

FIRST_KEY = 0x6B657973  # the section in which the first key is made


class SQLSigningKeys:
    """`kingpost.storage.SigningKeys` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        columns = [signing_keys.c[field] for field in SealedKey.__struct_fields__]
        self._list = Statement(select(*columns).order_by(signing_keys.c.id), database.dialect)
        self._in_turn = Statement(select(exclusive_section(literal(FIRST_KEY))), database.dialect)
        self._insert = Statement(
            insert(signing_keys).values({c.name: bindparam(c.name) for c in columns}), database.dialect
        )

    async def list(self) -> Sequence[SealedKey]:
        return [SealedKey(*row) for row in await self._database.read(self._list())]

    async def add_first(self, key: SealedKey) -> None:
        def script() -> Script[None]:
            yield self._in_turn()
            if not (yield self._list()):
                yield self._insert(**msgspec.structs.asdict(key))

        await self._database.transact(script())
