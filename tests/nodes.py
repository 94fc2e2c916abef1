"""The stores of one node on a database, as tests use them."""

from dataclasses import dataclass

from kingpost.main import KINDS, Stores, stores_on
from kingpost.storage.database import Database
from kingpost.storage.opening import open_migrated
from kingpost.storage.writes import Writes


@dataclass(frozen=True, kw_only=True)
class Node(Stores):
    """All stores, and the database that they share."""

    database: Database

    async def is_alive(self, session_id: str, at: str) -> bool:
        return await self.revocations.find_roles(session_id, at) is not None

    async def ping(self) -> None:
        await self.database.ping()

    async def close(self) -> None:
        await self.database.close()


async def open_node(url: str) -> Node:
    """Open a database whose schema is up to date; SQLite is migrated first."""
    database = await open_migrated(url)
    stores = stores_on(database, Writes(database, KINDS))
    return Node(database=database, **{name: getattr(stores, name) for name in Stores.__dataclass_fields__})
