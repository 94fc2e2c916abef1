"""Opening a database by its URL, as the storage port."""

from urllib.parse import urlsplit

from kingpost.storage import CannotOpen
from kingpost.storage.sql import migration
from kingpost.storage.sql.api_keys import SQLAPIKeys
from kingpost.storage.sql.audit import SQLAuditLog
from kingpost.storage.sql.consequences import ConsequenceScripts
from kingpost.storage.sql.database import Database
from kingpost.storage.sql.jobs import SQLJobs
from kingpost.storage.sql.one_time_tokens import SQLOneTimeTokens
from kingpost.storage.sql.records import SQLRecords
from kingpost.storage.sql.resources import SQLResources
from kingpost.storage.sql.second_factors import SQLSecondFactors
from kingpost.storage.sql.sessions import SQLSessions
from kingpost.storage.sql.signing_keys import SQLSigningKeys
from kingpost.storage.sql.users import SQLUsers


class SQLStorage:
    """`kingpost.storage.Storage` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        consequences = ConsequenceScripts(database.dialect)
        self.users = SQLUsers(database, consequences)
        self.sessions = SQLSessions(database, consequences)
        self.second_factors = SQLSecondFactors(database, consequences)
        self.api_keys = SQLAPIKeys(database, consequences)
        self.signing_keys = SQLSigningKeys(database, consequences)
        self.resources = SQLResources(database)
        self.one_time_tokens = SQLOneTimeTokens(database, consequences)
        self.jobs = SQLJobs(database, consequences)
        self.audit = SQLAuditLog(database, consequences)
        self.records = SQLRecords(database)

    async def ping(self) -> None:
        await self._database.ping()

    async def close(self) -> None:
        await self._database.close()


async def open_storage(url: str) -> SQLStorage:
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
    return SQLStorage(database)


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
        from kingpost.storage.sql.sqlite import SQLiteDatabase  # noqa: PLC0415

        return await SQLiteDatabase.open(url.removeprefix("sqlite:///"))
    if scheme in ("postgresql", "postgres"):
        from kingpost.storage.sql.postgresql import PostgreSQLDatabase  # noqa: PLC0415

        return await PostgreSQLDatabase.open(url)
    raise CannotOpen("KINGPOST_DATABASE_URL must start with sqlite:/// or postgresql://.")
