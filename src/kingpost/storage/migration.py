"""Migrates a database to the schema that this release needs.

Alembic generates the statements in its offline mode, so it needs no driver. They run in one transaction that holds a
lock, so any number of nodes may migrate at once.
"""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from kingpost.storage import CannotOpen
from kingpost.storage.database import Database, Query, Script

HEAD = "0005"
MIGRATION_LOCK = 0x6D696772

FIND_TABLE = {
    "postgresql": "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = '{}'",
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{}'",
}
HAS_VERSION = {dialect: find.format("alembic_version") for dialect, find in FIND_TABLE.items()}
HAS_USERS = {dialect: find.format("users") for dialect, find in FIND_TABLE.items()}
VERSION = "SELECT version_num FROM alembic_version"


async def check(database: Database, advice: str) -> None:
    """Check that the schema is the one that this release needs.

    Raises:
        CannotOpen: the schema is missing or older (`advice` says what to do), or newer.
    """
    found = await database.transact(lambda: _current(database))
    if found == HEAD:
        return
    if found is None:
        raise CannotOpen(f"The database is empty: {advice}.")
    if found > HEAD:
        raise CannotOpen(
            f"The database has schema {found}, which is newer than schema {HEAD} of this release: upgrade Kingpost."
        )
    raise CannotOpen(f"The database has schema {found}, this release needs schema {HEAD}: {advice}.")


async def upgrade(database: Database) -> None:
    """Migrate the schema to `HEAD`, if necessary."""
    if await database.transact(lambda: _current(database)) != HEAD:
        await database.transact(lambda: _upgrade(database), time_limit=None)


def _current(database: Database) -> Script[str | None]:
    if not (yield Query(HAS_VERSION[database.dialect.name], ())):
        return None
    rows = yield Query(VERSION, ())
    return rows[0][0] if rows else None


def _upgrade(database: Database) -> Script[None]:
    if database.dialect.name == "postgresql":
        yield Query("SET LOCAL statement_timeout = 0", ())
        yield Query(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})", ())
    current = yield from _current(database)
    if current is not None and current >= HEAD:
        return
    if current is None and (yield Query(HAS_USERS[database.dialect.name], ())):
        raise CannotOpen("The database contains tables of another program: give Kingpost its own database.")
    for statement in statements(database.dialect.name, current):
        yield Query(statement, ())


def statements(dialect_name: str, current: str | None) -> Sequence[str]:
    """Return the statements that migrate from a revision (None: an empty database) to `HEAD`."""
    # Alembic takes half a second to import, and a server rarely needs it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    recorder = _Recorder()
    config = Config(output_buffer=recorder, stdout=StringIO())
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["dialect_name"] = dialect_name
    command.upgrade(config, f"{current}:{HEAD}" if current else HEAD, sql=True)
    return recorder.statements


class _Recorder(StringIO):
    """Records the output of Alembic's offline mode, which writes one statement per call."""

    def __init__(self) -> None:
        super().__init__()
        self.statements: list[str] = []

    def write(self, text: str) -> int:
        statement = text.strip().removesuffix(";")
        if statement and not statement.startswith("--"):
            self.statements.append(statement)
        return len(text)
