"""Opening a database by its URL."""

from urllib.parse import urlsplit

from kingpost.storage import CannotOpen, migration
from kingpost.storage.database import Database


async def open_migrated(url: str) -> Database:
    """Open a database whose schema is up to date. SQLite is migrated first, if need be.

    Raises:
        CannotOpen: it cannot be reached, or its schema is not the one this release expects.
    """
    database = await open_database(url)
    try:
        if database.dialect.name == "sqlite":
            await migration.upgrade(database)
        await migration.check(database, "run `kingpost migrate`")
    except BaseException:
        await database.close()
        raise
    return database


async def migrate(url: str) -> None:
    """Bring a database's schema up to date. Safe from many nodes at once.

    Raises:
        CannotOpen: it cannot be reached, or its schema is newer than this release.
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
        CannotOpen: the URL names no database that could be opened.
    """
    scheme = urlsplit(url).scheme
    # Only the driver in use is imported: the other would cost every worker memory.
    if scheme == "sqlite":
        from kingpost.storage.sqlite.database import SQLiteDatabase  # noqa: PLC0415

        return await SQLiteDatabase.open(url.removeprefix("sqlite:///"))
    if scheme in ("postgresql", "postgres"):
        from kingpost.storage.postgresql.database import PostgreSQLDatabase  # noqa: PLC0415

        return await PostgreSQLDatabase.open(url)
    raise CannotOpen("KINGPOST_DATABASE_URL must start with sqlite:/// or postgresql://.")
