"""SQLite as a `Database`, on apsw.

Short reads run on the event loop itself, which is faster than handing them to a thread. Long ones run on a few
threads, and so does a read that turns out to be long. Writes run on one thread, which groups them (`writer.py`).
WAL lets readers and the writer of any number of processes work side by side.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import apsw
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect

from kingpost.problems import Unavailable
from kingpost.storage.database import QUERY_TIMEOUT, ForeignKeyViolation, Lookup, Query, Row, Script, UniqueViolation
from kingpost.storage.sqlite.file import (
    REFRESH_STATISTICS,
    SCANNERS,
    STEPS_BETWEEN_CHECKS,
    SQLiteFile,
    translated,
)
from kingpost.storage.sqlite.writer import Writer
from kingpost.storage.writes import Refused, Unit

MAX_WAITING_SCANS = 64


class SQLiteDatabase:
    """`kingpost.storage.database.Database` on one SQLite file."""

    def __init__(self, file: SQLiteFile) -> None:
        self.dialect: Dialect = sqlite.dialect(paramstyle="qmark")
        self._file = file
        self._writer = Writer(file)
        self._scans = ThreadPoolExecutor(SCANNERS, "kingpost-sqlite-scan")
        self._scans_waiting = 0
        self._closed = False

    @classmethod
    async def open(cls, path: str) -> "SQLiteDatabase":
        """Open the file, and create it if there is none.

        Raises:
            CannotOpen: it cannot be opened or created, or is no SQLite database.
        """
        return cls(await asyncio.to_thread(SQLiteFile, path))

    async def read(self, query: Query) -> Sequence[Row]:
        if self._file.is_gone:
            raise Unavailable("The database is not available right now")
        try:
            return self._file.current.read(query)
        except (apsw.BusyError, apsw.InterruptError):
            return await self.scan(query)
        except apsw.Error as error:
            raise translated(error) from error

    async def lookup(self, lookup: Lookup, key: str) -> Row | None:
        rows = await self.read(Query(lookup.one, (key,)))
        return rows[0] if rows else None

    async def scan(self, query: Query) -> Sequence[Row]:
        if self._closed or self._scans_waiting >= MAX_WAITING_SCANS:
            raise Unavailable("Too many long reads are waiting")
        self._scans_waiting += 1
        deadline = time.monotonic() + QUERY_TIMEOUT
        work = asyncio.get_running_loop().run_in_executor(self._scans, self._scan, query, deadline)
        work.add_done_callback(self._scan_ended)
        return await work

    def _scan(self, query: Query, deadline: float) -> Sequence[Row]:
        with self._file.connections().scanner() as connection:
            connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_CHECKS)
            try:
                return connection.execute(*query).fetchall()
            except apsw.Error as error:
                raise translated(error) from error

    def _scan_ended(self, _: asyncio.Future[Sequence[Row]]) -> None:
        self._scans_waiting -= 1

    async def commit(self, unit: Unit, *, dry_run: bool = False) -> Sequence[Row | None]:
        if unit.plan.is_single and not dry_run:
            try:
                return unit.outcome(await self._writer.submit(unit.query, QUERY_TIMEOUT))
            except (UniqueViolation, ForeignKeyViolation) as violation:
                raise Refused(0, violation) from violation
        done = self._writer.submit(unit.play, QUERY_TIMEOUT, size=len(unit.rows), undo=dry_run)
        return cast(Sequence[Row | None], await done)

    async def write(self, query: Query) -> Sequence[Row]:
        return cast(Sequence[Row], await self._writer.submit(query, QUERY_TIMEOUT))

    async def transact[T](self, script: Callable[[], Script[T]], time_limit: float | None = QUERY_TIMEOUT) -> T:
        return cast(T, await self._writer.submit(script, time_limit))

    async def refresh_statistics(self) -> None:
        await self.write(Query(REFRESH_STATISTICS, ()))

    async def ping(self) -> None:
        await asyncio.to_thread(self._file.connections)
        await self.read(Query("SELECT 1 FROM sqlite_master LIMIT 1", ()))

    async def close(self) -> None:
        self._closed = True
        await self._writer.close()
        await asyncio.to_thread(self._scans.shutdown)
        self._file.current.close()
