"""Opening a database by its URL."""

import contextlib
from urllib.parse import urlsplit

from kingpost.problems import Unavailable
from kingpost.storage import CannotOpen, migration
from kingpost.storage.database import Database


async def open_migrated(url: str) -> Database:
    """Open a database whose schema is up to date. Migrate SQLite first if necessary.

    Raises:
        CannotOpen: the database cannot be reached, or its schema is not the one that this release needs.
    """
    database = await open_database(url)
    try:
        if database.dialect.name == "sqlite":
            await migration.upgrade(database)
        await migration.check(database, "run `kingpost migrate`")
        with contextlib.suppress(Unavailable):  # Another process is writing, and housekeeping tries again.
            await database.refresh_statistics()
    except BaseException:
        await database.close()
        raise
    return database


async def migrate(url: str) -> None:
    """Migrate a database to the schema of this release. Several nodes may do so at once.

    Raises:
        CannotOpen: the database cannot be reached, or its schema is newer than this release.
    """
    database = await open_database(url)
    try:
        await migration.upgrade(database)
        await migration.check(database, "run `kingpost migrate` again")
    finally:
        await database.close()


async def open_database(url: str) -> Database:
    """Connect to `sqlite:///file` or `postgresql://…`.

    Raises:
        CannotOpen: the URL names no database that can be opened.
    """
    scheme = urlsplit(url).scheme
    # Import only the driver in use: the other one would cost memory in every worker.
    if scheme == "sqlite":
        from kingpost.storage.sqlite.database import SQLiteDatabase  # noqa: PLC0415

        return await SQLiteDatabase.open(url.removeprefix("sqlite:///"))
    if scheme in ("postgresql", "postgres"):
        from kingpost.storage.postgresql.database import PostgreSQLDatabase  # noqa: PLC0415

        return await PostgreSQLDatabase.open(url)
    raise CannotOpen("KINGPOST_DATABASE_URL must start with sqlite:/// or postgresql://.")
