"""PostgreSQL as a `Database`, on asyncpg.

Connections come from a fair pool (`pool.py`). Concurrent point reads share one statement (`coalescing.py`), and so do
writes (`commits.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as sqlalchemy_asyncpg
from sqlalchemy.engine import Dialect

from kingpost.problems import Unavailable
from kingpost.storage.coalescing import Coalescer
from kingpost.storage.database import QUERY_TIMEOUT, Lookup, Query, Row, Script
from kingpost.storage.postgresql.commits import Commits
from kingpost.storage.postgresql.connect import Connector, PostgreSQL, find_connector
from kingpost.storage.postgresql.errors import is_outage, translated
from kingpost.storage.postgresql.pool import Pool
from kingpost.storage.writes import Unit

MAX_CONNECTIONS = 16
MAX_SCANS = 4


class PostgreSQLDatabase:
    """`kingpost.storage.database.Database` on one PostgreSQL database."""

    def __init__(
        self, connector: Connector, *, connections: int = MAX_CONNECTIONS, query_timeout: float = QUERY_TIMEOUT
    ) -> None:
        self.dialect: Dialect = sqlalchemy_asyncpg.dialect()  # type: ignore[no-untyped-call]
        self._connector = connector
        self._pool: Pool[PostgreSQL] = Pool(connector.connect, connections)
        self._query_timeout = query_timeout
        self._scans = asyncio.Semaphore(MAX_SCANS)  # Long reads must leave connections to the short ones.
        self._lookups: dict[str, Coalescer[str, Row | None]] = {}
        self._commits = Commits(self.dialect, self._run, self.transact, query_timeout)

    @classmethod
    async def open(
        cls, url: str, *, connections: int = MAX_CONNECTIONS, query_timeout: float = QUERY_TIMEOUT
    ) -> "PostgreSQLDatabase":
        """Connect to a server.

        Args:
            url: in libpq's form, `postgresql://user:password@host:5432/name`.
            connections: the maximum number of connections.
            query_timeout: the seconds after which an unanswered call raises `Unavailable`.

        Raises:
            CannotOpen: the server cannot be reached, or refuses the connection.
        """
        return cls(await find_connector(url), connections=connections, query_timeout=query_timeout)

    async def read(self, query: Query) -> Sequence[Row]:
        return await self._run(query, self._query_timeout)

    async def scan(self, query: Query) -> Sequence[Row]:
        try:
            async with asyncio.timeout(self._query_timeout), self._scans:
                return await self._run(query, None)
        except TimeoutError as error:
            raise translated(error) from error

    async def lookup(self, lookup: Lookup, key: str) -> Row | None:
        """As for `Database`. The key must have the form in which the database returns it."""
        coalescer = self._lookups.get(lookup.many)
        if coalescer is None:
            coalescer = self._lookups[lookup.many] = self._coalesced_lookup(lookup)
        return await coalescer.call(key)

    def commit(self, unit: Unit, *, dry_run: bool = False) -> Awaitable[Sequence[Row | None]]:
        return self._commits.commit(unit, dry_run=dry_run)

    async def write(self, query: Query) -> Sequence[Row]:
        return await self._run(query, self._query_timeout)

    async def transact[T](
        self, script: Callable[[], Script[T]], time_limit: float | None = QUERY_TIMEOUT, *, undo: bool = False
    ) -> T:
        async def play(connection: PostgreSQL) -> T:
            return await self._in_transaction(connection, lambda: _play(connection, script()), undo=undo)

        return await self._use(play, time_limit and min(time_limit, self._query_timeout))

    async def refresh_statistics(self) -> None:
        """Do nothing: PostgreSQL's autovacuum does this."""

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

        return Coalescer(many, one, time_limit=self._query_timeout)

    async def _run(self, query: Query, time_limit: float | None) -> Sequence[Row]:
        """Run one statement as a transaction of its own."""

        async def fetch(connection: PostgreSQL) -> Sequence[Row]:
            if self._connector.pooled:
                # Parse and Bind are two round trips, and outside a transaction each may meet another server.
                return await self._in_transaction(connection, lambda: _fetch(connection, query))
            return await _fetch(connection, query)

        return await self._use(fetch, time_limit)

    async def _use[T](self, work: Callable[[PostgreSQL], Awaitable[T]], time_limit: float | None) -> T:
        """Call `work` with a connection. A connection in an unknown state is never used again."""
        try:
            async with asyncio.timeout(time_limit):
                connection = await self._pool.acquire()
                try:
                    return await work(connection)
                except BaseException as error:
                    # After a cancellation, the next statement would receive the answer of this one.
                    if is_outage(error) or not isinstance(error, Exception):
                        connection.terminate()
                    raise
                finally:
                    self._pool.release(connection)
        except Exception as error:
            translation = translated(error)
            if translation is error:
                raise
            raise translation from error

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
                raise  # A script must not go on after a failed step.
            query = script.send(rows)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        script.close()


async def _fetch(connection: PostgreSQL, query: Query) -> Sequence[Row]:
    rows: Sequence[Row] = await connection.fetch(query.text, *query.parameters)
    return rows
