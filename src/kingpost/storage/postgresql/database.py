"""PostgreSQL as a `Database`, on asyncpg.

Connections come from a fair pool (`pool.py`); point reads that wait at the same moment share one
statement (`coalescing.py`), and so do writes (`postgresql_commits.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as sqlalchemy_asyncpg
from sqlalchemy.engine import Dialect

from kingpost.problems import Unavailable
from kingpost.storage.coalescing import Coalescer
from kingpost.storage.database import PATIENCE, Lookup, Query, Row, Script
from kingpost.storage.postgresql.commits import Commits
from kingpost.storage.postgresql.connect import Connector, PostgreSQL, find_way
from kingpost.storage.postgresql.errors import is_outage, translated
from kingpost.storage.postgresql.pool import Pool
from kingpost.storage.writes import Unit

CONNECTIONS = 16
SCANS = 4


class PostgreSQLDatabase:
    """`kingpost.storage.database.Database` on one PostgreSQL database."""

    def __init__(self, connector: Connector, *, connections: int = CONNECTIONS, patience: float = PATIENCE) -> None:
        self.dialect: Dialect = sqlalchemy_asyncpg.dialect()  # type: ignore[no-untyped-call]
        self._connector = connector
        self._pool: Pool[PostgreSQL] = Pool(connector.connect, connections)
        self._patience = patience
        self._scans = asyncio.Semaphore(SCANS)  # Long reads leave connections to the short ones.
        self._lookups: dict[str, Coalescer[str, Row | None]] = {}
        self._commits = Commits(self.dialect, self._run, self.transact, patience)

    @classmethod
    async def open(
        cls, url: str, *, connections: int = CONNECTIONS, patience: float = PATIENCE
    ) -> "PostgreSQLDatabase":
        """Connect to a server.

        Args:
            url: as libpq takes it, `postgresql://user:password@host:5432/name`.
            connections: how many to open at most.
            patience: seconds after which whatever has not been answered is `Unavailable`.

        Raises:
            CannotOpen: it cannot be reached, or refuses.
        """
        return cls(await find_way(url), connections=connections, patience=patience)

    async def read(self, query: Query) -> Sequence[Row]:
        return await self._run(query, self._patience)

    async def scan(self, query: Query) -> Sequence[Row]:
        try:
            async with asyncio.timeout(self._patience), self._scans:
                return await self._run(query, None)
        except TimeoutError as error:
            raise translated(error) from error

    async def lookup(self, lookup: Lookup, key: str) -> Row | None:
        """As promised by `Database`; the key must be written as the database writes it."""
        coalescer = self._lookups.get(lookup.many)
        if coalescer is None:
            coalescer = self._lookups[lookup.many] = self._coalesced_lookup(lookup)
        return await coalescer.call(key)

    def commit(self, unit: Unit, *, dry_run: bool = False) -> Awaitable[Sequence[Row | None]]:
        return self._commits.commit(unit, dry_run=dry_run)

    async def write(self, query: Query) -> Sequence[Row]:
        return await self._run(query, self._patience)

    async def transact[T](
        self, script: Callable[[], Script[T]], patience: float | None = PATIENCE, *, undo: bool = False
    ) -> T:
        async def play(connection: PostgreSQL) -> T:
            return await self._in_transaction(connection, lambda: _play(connection, script()), undo=undo)

        return await self._use(play, patience and min(patience, self._patience))

    async def ping(self) -> None:
        rows = await self.read(Query("SELECT current_setting('transaction_read_only')", ()))
        if rows[0][0] != "off":
            raise Unavailable("The database is read-only")

    async def close(self) -> None:
        for lookups in self._lookups.values():
            await lookups.drain()
        await self._commits.drain()
        await self._pool.close()

    def _coalesced_lookup(self, lookup: Lookup) -> Coalescer[str, Row | None]:
        async def many(keys: Sequence[str]) -> Sequence[Row | None]:
            rows = await self._run(Query(lookup.many, (keys,)), None)
            found = {row[0]: row for row in rows}
            return [found.get(key) for key in keys]

        async def one(key: str) -> Row | None:
            rows = await self._run(Query(lookup.one, (key,)), None)
            return rows[0] if rows else None

        return Coalescer(many, one, patience=self._patience)

    async def _run(self, query: Query, patience: float | None) -> Sequence[Row]:
        """Run one statement as a transaction of its own."""

        async def fetch(connection: PostgreSQL) -> Sequence[Row]:
            if self._connector.pooled:
                # Parse and Bind are two round trips, and outside a transaction each may meet another server.
                return await self._in_transaction(connection, lambda: _fetch(connection, query))
            return await _fetch(connection, query)

        return await self._use(fetch, patience)

    async def _use[T](self, work: Callable[[PostgreSQL], Awaitable[T]], patience: float | None) -> T:
        """Do work with a connection. One whose state is in doubt is never used again."""
        try:
            async with asyncio.timeout(patience):
                connection = await self._pool.acquire()
                try:
                    return await work(connection)
                except BaseException as error:
                    # Cancelled in the middle of a statement: its answer would come to the next one.
                    if is_outage(error) or not isinstance(error, Exception):
                        connection.terminate()
                    raise
                finally:
                    self._pool.release(connection)
        except Exception as error:
            meaning = translated(error)
            if meaning is error:
                raise
            raise meaning from error

    async def _in_transaction[T](
        self, connection: PostgreSQL, work: Callable[[], Awaitable[T]], *, undo: bool = False
    ) -> T:
        await connection.execute(self._connector.begin)
        try:
            value = await work()
        except Exception:
            await connection.execute("ROLLBACK")
            raise
        await connection.execute("ROLLBACK" if undo else "COMMIT")
        return value


async def _play[T](connection: PostgreSQL, script: Script[T]) -> T:
    try:
        query = next(script)
        while True:
            try:
                rows = await _fetch(connection, query)
            except asyncpg.IntegrityConstraintViolationError as error:
                script.throw(translated(error))
                raise  # The script went on, which it cannot.
            query = script.send(rows)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        script.close()


async def _fetch(connection: PostgreSQL, query: Query) -> Sequence[Row]:
    rows: Sequence[Row] = await connection.fetch(query.text, *query.parameters)
    return rows
