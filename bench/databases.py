"""Create and fill temporary databases for measurements."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw
import asyncpg

from kingpost.model import Resource
from tests.servers import PostgreSQLServer

COLUMNS = Resource.__struct_fields__
# The server of the tests is not durable. Measurements of writes need the cost of durability.
DURABLE = ("fsync = on", "shared_buffers = '256MB'", "max_wal_size = '4GB'")


@contextmanager
def database(kind: str, directory: Path) -> Iterator[str]:
    """Yield the URL of a new, empty database. The kind is `sqlite` or `postgresql`."""
    if kind == "sqlite":
        yield f"sqlite:///{directory}/bench.db"
        return
    server = PostgreSQLServer()
    try:
        for setting in DURABLE:
            asyncio.run(_execute(server.url(), f"ALTER SYSTEM SET {setting}"))
        server.stop()
        server.start()
        yield server.url()
    finally:
        server.remove()


def fill(url: str, resources: Iterable[Resource]) -> None:
    """Insert resources directly into the table, in the form in which the API stores them."""
    rows = [
        (r.id, r.type, r.owner_id, bytes(r.data).decode(), r.version, r.created_at, r.updated_at) for r in resources
    ]
    if url.startswith("sqlite:"):
        _fill_sqlite(url.removeprefix("sqlite:///"), rows)
    else:
        asyncio.run(_fill_postgresql(url, rows))


def version(url: str) -> str:
    """Return the name and version of the database and its driver."""
    if url.startswith("sqlite:"):
        return f"SQLite {apsw.sqlite_lib_version()} through apsw {apsw.apsw_version()}"
    return f"PostgreSQL {asyncio.run(_execute(url, 'SHOW server_version'))} through asyncpg {asyncpg.__version__}"


def _fill_sqlite(path: str, rows: list[tuple[Any, ...]]) -> None:
    connection = apsw.Connection(path)
    places = ", ".join("?" for _ in COLUMNS)
    with connection:
        connection.executemany(f"INSERT INTO resources ({', '.join(COLUMNS)}) VALUES ({places})", rows)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


async def _fill_postgresql(url: str, rows: list[tuple[Any, ...]]) -> None:
    connection = await asyncpg.connect(url)
    times = [index for index, name in enumerate(COLUMNS) if name.endswith("_at")]
    records = [tuple(datetime.fromisoformat(v) if i in times else v for i, v in enumerate(row)) for row in rows]
    await connection.copy_records_to_table("resources", records=records, columns=COLUMNS)
    await connection.execute("VACUUM ANALYZE resources")
    await connection.execute("CHECKPOINT")
    await connection.close()


async def _execute(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
