"""Compares ways to store a document on PostgreSQL: `python3 dev.py python -m bench.documents`.

64 callers create resources, 64 in a statement, and read pages of 20 at random positions, through 16 connections and
without HTTP. The ways are measured in interleaved rounds, each in a table of its own. Only the ratios to `jsonb`, the
first way, are meaningful.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import asyncpg
import msgspec
import uvloop

from bench import databases, samples
from kingpost import clock
from kingpost.storage.postgresql.connect import PostgreSQL

CALLERS, CONNECTIONS, GROUP, PAGE = 64, 16, 64, 20


class Way(NamedTuple):
    """A way to store a document: the columns, the type of the parameter, and what a page reads.

    Attributes:
        name: the way in the output.
        columns: the definitions of the columns beside id and owner.
        stored: the values of these columns, made from a parameter `data` of type text.
        page: the expressions that a page reads of each row. One expression is joined to one text by the database.
    """

    name: str
    columns: str
    stored: str
    page: str


ROW = "id::text AS key, owner::text AS account, version, created_at"
"""Other names than the columns have, so that ORDER BY does not mean the texts."""
ITEM = """format('{"id":"%s","owner_id":"%s","data":%s,"version":%s}', id, owner, data, version)"""
WAYS = [
    Way("jsonb", "data jsonb", "data::jsonb", f"{ROW}, data::text"),
    Way("json", "data json", "data::json", f"{ROW}, data::text"),
    Way("text", "data text", "data", f"{ROW}, data"),
    Way("text beside jsonb", "data text, searched jsonb", "data, data::jsonb", f"{ROW}, data"),
    Way("jsonb, one row", "data jsonb", "data::jsonb", ITEM),
    Way("text, one row", "data text", "data", ITEM),
    Way("ready items, one row", "data text, item text", "data, data", "item"),
]


class Table:
    """A table that stores documents in one way."""

    def __init__(self, index: int, way: Way, connections: Sequence[PostgreSQL], owners: list[str]) -> None:
        self.way = way
        self._name = f"documents_{index}"
        self._free: asyncio.Queue[PostgreSQL] = asyncio.Queue()
        for connection in connections:
            self._free.put_nowait(connection)
        self._owners = owners
        source = random.Random(1)
        self._documents = [msgspec.json.encode(samples.data(source)).decode() for _ in range(1000)]
        page = f"SELECT {way.page} AS item FROM {self._name} WHERE owner = $1 AND id < $2 ORDER BY id DESC LIMIT {PAGE}"
        self._page = f"SELECT string_agg(item, ',') FROM ({page}) AS page" if "one row" in way.name else page
        names = ", ".join(part.split()[0] for part in way.columns.split(", "))
        self._insert = (
            f"INSERT INTO {self._name} (id, owner, version, created_at, {names}) "
            f"SELECT id, owner, 1, now(), {way.stored} "
            "FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS r(id, owner, data)"
        )

    async def prepare(self, count: int) -> None:
        async def make(connection: PostgreSQL) -> None:
            await connection.execute(
                f"CREATE TABLE {self._name} (id uuid PRIMARY KEY, owner uuid NOT NULL, version int NOT NULL, "
                f"created_at timestamptz NOT NULL, {self.way.columns})"
            )
            await connection.execute(f"CREATE INDEX ON {self._name} (owner, id)")

        await self._with_connection(make)
        for _ in range(count // GROUP):
            await self.create()
        await self._with_connection(lambda connection: connection.execute(f"VACUUM ANALYZE {self._name}"))

    async def create(self) -> None:
        ids = [clock.new_id()[0] for _ in range(GROUP)]
        owners = random.choices(self._owners, k=GROUP)
        documents = random.choices(self._documents, k=GROUP)
        await self._with_connection(lambda connection: connection.execute(self._insert, ids, owners, documents))

    async def read(self) -> None:
        parameters = random.choice(self._owners), clock.new_id()[0]
        rows = await self._with_connection(lambda connection: connection.fetch(self._page, *parameters))
        assert rows

    async def size(self) -> int:
        return await self._with_connection(
            lambda connection: connection.fetchval(f"SELECT pg_total_relation_size('{self._name}')")
        )

    async def _with_connection[T](self, work: Callable[[PostgreSQL], Awaitable[T]]) -> T:
        connection = await self._free.get()
        try:
            return await work(connection)
        finally:
            self._free.put_nowait(connection)


async def rate(work: Callable[[], Awaitable[None]], seconds: float) -> float:
    """Return how often 64 callers finish the work in a second."""
    count, end = 0, time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await work()
            count += 1

    begin = time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(CALLERS)])
    return count / (time.perf_counter() - begin)


async def main(url: str, count: int, rounds: int, seconds: float) -> None:
    connections = [await asyncpg.connect(url) for _ in range(CONNECTIONS)]
    owners = [clock.new_id()[0] for _ in range(1000)]
    tables = [Table(index, way, connections, owners) for index, way in enumerate(WAYS)]
    for table in tables:
        await table.prepare(count)
    lists: dict[str, list[float]] = {way.name: [] for way in WAYS}
    creates: dict[str, list[float]] = {way.name: [] for way in WAYS}
    # Lists first: the creates make the tables larger than the server's buffers.
    for _ in range(rounds):
        for table in tables:
            lists[table.way.name].append(await rate(table.read, seconds))
    for _ in range(rounds):
        for table in tables:
            creates[table.way.name].append(await rate(table.create, seconds) * GROUP)
    print(f"{'':24}{'creates/s':>12}{'ratio':>8}{'pages/s':>12}{'ratio':>8}{'bytes/row':>12}")
    first = WAYS[0].name
    for table in tables:
        name = table.way.name
        created, listed = median(creates[name]), median(lists[name])
        rows = await connections[0].fetchval(f"SELECT count(*) FROM {table._name}")
        print(
            f"{name:24}{created:12,.0f}{created / median(creates[first]):8.2f}"
            f"{listed:12,.0f}{listed / median(lists[first]):8.2f}{await table.size() / rows:12,.0f}"
        )
    for connection in connections:
        await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, databases.database("postgresql", Path(directory)) as url:
        uvloop.run(main(url, arguments.rows, arguments.rounds, arguments.seconds))
