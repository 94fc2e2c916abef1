"""The migrations make the same schema as the tables in the code, on both databases."""

from collections.abc import Sequence
from pathlib import Path

import apsw
import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateIndex, CreateTable

from kingpost.storage import migration
from kingpost.storage.columns import metadata
from tests import servers

VERSION_TABLE = "alembic_version"
# Columns are compared by name: a migration adds one at the end of its table. The migrations alone define triggers.
SQLITE_SCHEMA = """
    SELECT t.name, 'column', c.name || ' ' || c.type || ' ' || c."notnull" || ' ' || coalesce(c.dflt_value, '')
    FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table'
    UNION ALL SELECT t.name, 'key', group_concat(c.name || c.pk)
    FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' AND c.pk GROUP BY t.name
    UNION ALL SELECT t.name, 'foreign key', f."table" || ' ' || f."from" || ' ' || f."to" || ' ' || f.on_delete
    FROM sqlite_master t, pragma_foreign_key_list(t.name) f WHERE t.type = 'table'
    UNION ALL SELECT t.name, 'index', i."unique" || ' ' || i.partial || ' ' || coalesce(m.sql, '') || ' ' ||
        (SELECT group_concat(x.name || x.desc) FROM pragma_index_xinfo(i.name) x WHERE x.key)
    FROM sqlite_master t, pragma_index_list(t.name) i LEFT JOIN sqlite_master m ON m.name = i.name
    WHERE t.type = 'table'
"""
POSTGRESQL_SCHEMA = """
    SELECT table_name::text, 'column', format('%s %s %s %s %s', column_name, data_type, is_nullable, collation_name,
        column_default)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT tablename::text, 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conrelid::regclass::text, 'constraint', conname || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
"""

type Schema = list[tuple[str, ...]]


def described(dialect_name: str) -> list[str]:
    """Return the statements that create the tables which the code describes."""
    dialect = make_url(f"{dialect_name}://").get_dialect()()
    tables = [str(CreateTable(table).compile(dialect=dialect)) for table in metadata.sorted_tables]
    indexes = [index for table in metadata.sorted_tables for index in table.indexes]
    return [*tables, *[str(CreateIndex(index).compile(dialect=dialect)) for index in indexes]]


def sqlite_schema(path: Path, statements: list[str]) -> Schema:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    rows = connection.execute(SQLITE_SCHEMA).fetchall()
    connection.close()
    return comparable(rows)


async def postgresql_schema(server: servers.PostgreSQLServer, statements: list[str]) -> Schema:
    async with servers.fresh_database(server) as name:
        connection = await asyncpg.connect(server.url(name))
        try:
            for statement in statements:
                await connection.execute(statement)
            return comparable([tuple(row) for row in await connection.fetch(POSTGRESQL_SCHEMA)])
        finally:
            await connection.close()


def comparable(rows: Sequence[tuple[object, ...]]) -> Schema:
    return sorted(tuple(" ".join(str(cell).split()) for cell in row) for row in rows if row[0] != VERSION_TABLE)


def test_the_migrations_create_the_tables_that_the_code_describes_on_sqlite(tmp_path: Path) -> None:
    made = sqlite_schema(tmp_path / "made.db", list(migration.statements("sqlite", None)))
    assert made == sqlite_schema(tmp_path / "described.db", described("sqlite"))


@pytest.mark.postgresql
async def test_the_migrations_create_the_tables_that_the_code_describes_on_postgresql(
    postgresql_server: servers.PostgreSQLServer,
) -> None:
    made = await postgresql_schema(postgresql_server, list(migration.statements("postgresql", None)))
    assert made == await postgresql_schema(postgresql_server, described("postgresql"))
