"""Signing keys on SQL."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, delete, insert, literal, select

from kingpost.auth.signing_keys.store import SealedKey
from kingpost.auth.signing_keys.tables import signing_keys
from kingpost.storage.database import Database, Script, Statement
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.functions import exclusive_section
from kingpost.storage.writes import Writes

KEYS = 0x6B657973  # the section of all that adds or removes keys


class SQLSigningKeys:
    """`kingpost.auth.signing_keys.store.SigningKeyStore` on SQL."""

    def __init__(self, database: Database, writes: Writes) -> None:
        self._database = database
        self._writes = writes
        dialect = database.dialect
        columns = [signing_keys.c[field] for field in SealedKey.__struct_fields__]
        self._list = Statement(select(*columns).order_by(signing_keys.c.created_at, signing_keys.c.id), dialect)
        self._in_turn = Statement(select(exclusive_section(literal(KEYS))), dialect)
        self._insert = Statement(insert(signing_keys).values({c.name: bindparam(c.name) for c in columns}), dialect)
        self._delete = Statement(delete(signing_keys).where(signing_keys.c.id == bindparam("key_id")), dialect)

    async def list(self) -> Sequence[SealedKey]:
        return [SealedKey(*row) for row in await self._database.read(self._list())]

    async def add_first(self, key: SealedKey) -> None:
        def script() -> Script[None]:
            if not (yield from self._ids_in_turn()):
                yield self._insert(**msgspec.structs.asdict(key))

        await self._database.transact(script)

    async def add_after(self, newest_id: str, key: SealedKey, effects: Effects = NO_EFFECTS) -> bool:
        def script() -> Script[bool]:
            ids = yield from self._ids_in_turn()
            if ids[-1:] != [newest_id]:
                return False
            yield self._insert(**msgspec.structs.asdict(key))
            yield from self._writes.steps(effects)
            return True

        return await self._writes.transact(script, effects)

    async def remove(self, key_id: str, effects: Effects = NO_EFFECTS, *, superseded_by: str | None = None) -> bool:
        def script() -> Script[bool]:
            ids = yield from self._ids_in_turn()
            if key_id not in ids or len(ids) == 1 or superseded_by not in (None, *ids):
                return False
            yield self._delete(key_id=key_id)
            yield from self._writes.steps(effects)
            return True

        return await self._writes.transact(script, effects)

    def _ids_in_turn(self) -> Script[Sequence[str]]:
        """Lock out other writers of keys until the transaction ends; return the ids of the keys, oldest first."""
        yield self._in_turn()
        return [row[0] for row in (yield self._list())]
