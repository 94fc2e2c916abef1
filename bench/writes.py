"""Measures writes at the storage port, without HTTP, in one process: `python3 dev.py python -m bench.writes`.

64 callers run each kind of write, in interleaved rounds. A write is compared with the bare statement of the same round,
which is written by hand and passed to the driver. The driver coalesces inserts on PostgreSQL and groups all writes on
SQLite. The last comparison is a batch of 100 creates with 100 creates by one caller, one after another.

Only the ratios are meaningful. CPU is the processor time of this process for each write, without PostgreSQL's; it
depends least on other load.
"""

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec
import uvloop
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, Text, bindparam, delete, func, insert, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.schema import CreateTable

from bench import databases, samples
from kingpost import clock
from kingpost.accounts.users.sql import SQLUsers
from kingpost.model import Resource, User
from kingpost.resources.sql import KINDS, SQLResources
from kingpost.resources.store import CreateResource, DeleteResource, ReplaceResource
from kingpost.resources.tables import RESOURCE, resources
from kingpost.storage.coalescing import Coalescer
from kingpost.storage.columns import Document, Identifier, Time
from kingpost.storage.database import Database, Query, Script, Statement
from kingpost.storage.opening import migrate, open_database
from kingpost.storage.writes import Writes, insertion

CALLERS = 64
BATCH = 100

metadata = MetaData()
history = Table(
    "bench_history",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("data", Document, nullable=False),
    Column("at", Time, nullable=False),
)
receipts = Table(
    "bench_receipts",
    metadata,
    Column("key", Text, primary_key=True),
    Column("resource_id", Identifier, nullable=False),
    Column("at", Time, nullable=False),
)
outbox = Table(
    "bench_outbox",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("at", Time, nullable=False),
)


class Version(NamedTuple):
    id: str
    version: int
    data: str
    at: str


class Receipt(NamedTuple):
    key: str
    resource_id: str
    at: str


class Message(NamedTuple):
    id: str
    kind: str
    sealed: bytes
    at: str


EFFECTS: dict[type, Any] = {
    Version: insertion(history, tuple, list(history.c)),
    Receipt: insertion(receipts, tuple, list(receipts.c))._replace(key=("key",), early=True),
    Message: insertion(outbox, tuple, list(outbox.c)),
}


def effects_of(resource: Resource) -> Sequence[Any]:
    """Return the effects that a create will have one day: a row of the history, a receipt, and a message."""
    message_id, at = clock.new_id()
    return [
        Version(resource.id, 1, bytes(resource.data).decode(), at),
        Receipt(message_id, resource.id, at),
        Message(message_id, "webhook", bytes(100), at),
    ]


class ByHand:
    """The bare statements, passed to the driver."""

    def __init__(self, database: Any) -> None:
        self._database = database
        dialect = database.dialect
        is_it = resources.c.id == bindparam("resource_id"), resources.c.version == bindparam("old")
        changed = {
            "data": bindparam("document", type_=resources.c.data.type),
            "version": resources.c.version + 1,
            "updated_at": bindparam("at", type_=resources.c.updated_at.type),
        }
        self._insert = Statement(insert(resources).values({c.name: bindparam(c.name) for c in RESOURCE}), dialect)
        self._replace = Statement(update(resources).where(*is_it).values(changed).returning(*RESOURCE), dialect)
        self._delete = Statement(delete(resources).where(*is_it).returning(resources.c.id), dialect)
        if dialect.name == "postgresql":
            types = [
                Text() if isinstance(column.type, Text) and column.name == "type" else column.type
                for column in RESOURCE
            ]
            arrays = [bindparam(c.name, type_=ARRAY(t)) for c, t in zip(RESOURCE, types, strict=True)]
            rows = func.unnest(*arrays).table_valued(*[c.name for c in RESOURCE]).render_derived()
            many = insert(resources).from_select([c.name for c in RESOURCE], rows.select())
            self._insert_many = Statement(many, dialect).text
            self._inserts = Coalescer(self._many, self._one, time_limit=10.0)

        tables = resources, history, receipts, outbox
        self._four = [
            Statement(insert(table).values({c.name: bindparam(c.name) for c in table.columns}), dialect).text
            for table in tables
        ]

    async def create_with_effects(self, r: Resource) -> None:
        queries = [Query(text, tuple(row)) for text, row in zip(self._four, [_row(r), *effects_of(r)], strict=True)]

        def script() -> Script[None]:
            # A script receives rows where it yields, which `yield from` a list cannot.
            for query in queries:  # noqa: UP028
                yield query

        await self._database.transact(script)

    async def _many(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[None]:
        await self._database._run(Query(self._insert_many, tuple(zip(*rows, strict=True))), None)
        return [None] * len(rows)

    async def _one(self, row: tuple[Any, ...]) -> None:
        await self._database._run(Query(self._insert.text, row), None)

    async def create(self, r: Resource) -> None:
        if self._database.dialect.name == "postgresql":
            await self._inserts.call(_row(r))
        else:
            await self._database.write(Query(self._insert.text, _row(r)))

    async def replace(self, r: Resource) -> None:
        values = {"resource_id": r.id, "old": 1, "document": bytes(r.data).decode(), "at": r.updated_at}
        assert await self._database.write(self._replace(**values))

    async def delete(self, r: Resource) -> None:
        assert await self._database.write(self._delete(resource_id=r.id, old=1))


def _row(r: Resource) -> tuple[Any, ...]:
    return r.id, r.type, r.owner_id, bytes(r.data).decode(), r.version, r.created_at, r.updated_at


class Works:
    """The writes to measure, on one database."""

    def __init__(self, database: Database, owner_id: str) -> None:
        self._database = database
        self._writes = Writes(database, KINDS | EFFECTS)
        self._store = SQLResources(database, self._writes)
        self._hand = ByHand(database)
        source = random.Random(1)
        self._documents = itertools.cycle([msgspec.json.encode(samples.data(source)) for _ in range(1000)])
        self._owner_id = owner_id
        self.works: dict[str, tuple[Callable[[Resource], Awaitable[Any]], str]] = {
            "create, by hand": (self._hand.create, "create, by hand"),
            "create": (lambda r: self._store.commit([CreateResource(r)]), "create, by hand"),
            "create with three effects": (self._full, "create, by hand"),
            "… as a script, by hand": (self._hand.create_with_effects, "create, by hand"),
            "replace, by hand": (self._hand.replace, "replace, by hand"),
            "replace": (self._replace, "replace, by hand"),
            "delete, by hand": (self._hand.delete, "delete, by hand"),
            "delete": (lambda r: self._store.commit([DeleteResource(r.id, (1,))]), "delete, by hand"),
        }

    def new(self) -> Resource:
        resource_id, now = clock.new_id()
        return Resource(resource_id, "movie", self._owner_id, msgspec.Raw(next(self._documents)), 1, now, now)

    async def rate(self, name: str, count: int, callers: int) -> tuple[float, float]:
        """Run a write `count` times; return the writes in a second, and the processor time of each in µs."""
        work, _ = self.works[name]
        todo = [self.new() for _ in range(count)]
        if not name.startswith(("create", "…")):
            for start in range(0, count, BATCH):
                await self._store.commit([CreateResource(resource) for resource in todo[start : start + BATCH]])
        waiting = iter(todo)

        async def call() -> None:
            for resource in waiting:
                await work(resource)

        began, spent = time.perf_counter(), time.process_time()
        await asyncio.gather(*[call() for _ in range(callers)])
        return count / (time.perf_counter() - began), (time.process_time() - spent) / count * 1e6

    async def batch(self) -> tuple[float, float]:
        """Return the seconds that 100 creates take one after another, and in a batch."""
        began = time.perf_counter()
        for _ in range(BATCH):
            await self._store.commit([CreateResource(self.new())])
        single = time.perf_counter() - began
        began = time.perf_counter()
        await self._store.commit([CreateResource(self.new()) for _ in range(BATCH)])
        return single, time.perf_counter() - began

    async def _full(self, resource: Resource) -> None:
        await self._writes.commit([CreateResource(resource)], effects_of(resource))

    async def _replace(self, r: Resource) -> None:
        await self._store.commit([ReplaceResource(r.id, r.data, r.updated_at, (1,))])


async def measure(url: str, options: argparse.Namespace) -> None:
    """Measure everything on one database, and print the results."""
    await migrate(url)
    database = await open_database(url)
    for table in metadata.sorted_tables:
        await database.write(Query(str(CreateTable(table).compile(dialect=database.dialect)), ()))
    user_id, now = clock.new_id()
    user = User(user_id, "bench@example.com", True, None, msgspec.Raw(b"{}"), ("user",), "active", 1, now, now)
    await SQLUsers(database, Writes(database, {}), []).create(user, "bench@example.com", "hash")
    works = Works(database, user_id)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in works.works}
    for turn in range(options.rounds + 1):
        for name in works.works if turn % 2 else reversed(works.works):
            measured = await works.rate(name, options.count, CALLERS)
            if turn:  # The first round warms up.
                rates[name].append(measured)
    print(f"{'':28}{'rate':>12}{'ratio':>8}{'CPU':>10}")
    for name, (_, base) in works.works.items():
        ratio = median(ours / bare for (ours, _), (bare, _) in zip(rates[name], rates[base], strict=True))
        rate, cpu = median(rate for rate, _ in rates[name]), median(cpu for _, cpu in rates[name])
        print(f"{name:28}{rate:10,.0f}/s{ratio:8.2f}{cpu:7.1f} µs")
    batches = [await works.batch() for _ in range(options.rounds)]
    single, batch = median(pair[0] for pair in batches), median(pair[1] for pair in batches)
    share = median(together / alone for alone, together in batches)
    print(f"100 creates: {single * 1000:.1f} ms one after another, {batch * 1000:.1f} ms in a batch ({share:.3f})\n")
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.writes", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--rounds", type=int, default=15, help="the table shows their medians")
    parser.add_argument("--count", type=int, default=3200, help="writes in a round")
    options = parser.parse_args()
    for kind in ["sqlite", "postgresql"] if options.database == "both" else [options.database]:
        with tempfile.TemporaryDirectory(prefix="kingpost-bench-") as name, databases.database(kind, Path(name)) as url:
            print(databases.version(url))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(measure(url, options))


if __name__ == "__main__":
    main()
