"""Find the data about one account in the database: store a row in every table, and search for a text."""

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from sqlalchemy import Boolean, Column, Integer, LargeBinary, Table, bindparam, insert

from kingpost import clock
from kingpost.storage.columns import Document, Identifier, Time, metadata
from kingpost.storage.database import Database, Query, Statement

POINTERS = frozenset({"user_id", "owner_id", "actor_id", "target_id"})
"""The columns that say which account a row is about."""
TABLES_OF_ACCOUNTS = [t for t in metadata.sorted_tables if t.name != "users" and POINTERS & {*t.columns.keys()}]
"""The tables that have data about accounts, except the table of accounts itself."""
REMAINS = {"audit.actor_id", "audit.target_id", "sessions.user_id"}
"""The columns that may have the id of a deleted account."""
LISTS = frozenset({"scopes"})
IMPERSONAL = frozenset({"action", "actor_type", "target_type", "purpose", "kind", "type", "algorithm", "request_id"})
"""Columns with constants of Kingpost, without personal data."""


def unclassified_columns() -> list[str]:
    """Columns with ids of unknown meaning: a new one must be listed here, and be handled by the deletion."""
    known = POINTERS | {"id"}
    return [str(c) for t in metadata.sorted_tables for c in t.columns if c.type is Identifier and c.name not in known]


async def leave_traces(database: Database, user_id: str, marker: str, tables: Iterable[Table] = ()) -> None:
    """Store a row about the account in each table, with the marker in every column that can hold personal data.

    A table with two columns for accounts gets a row for each column.
    """
    for table in tables or TABLES_OF_ACCOUNTS:
        pointers = [column.name for column in table.columns if column.name in POINTERS]
        statement = Statement(
            insert(table).values({c.name: bindparam(c.name) for c in table.columns}), database.dialect
        )
        for pointer in pointers:
            row_id, now = clock.new_id()
            row = {column.name: _value(column, row_id, now, marker) for column in table.columns}
            await database.write(statement(**row | dict.fromkeys(pointers) | {pointer: user_id}))


def _value(column: Column[Any], row_id: str, now: str, marker: str) -> Any:
    kind, name = column.type, column.name
    if name == "id":
        return row_id
    if kind is Time:
        return None if column.nullable and name != "confirmed_at" else now
    if kind is Document:
        return f'["{marker}"]' if name in LISTS else "{}" if column.table.name == "audit" else f'{{"k": "{marker}"}}'
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, Integer):
        return 1
    if isinstance(kind, LargeBinary):
        return f"{marker} {row_id}".encode()
    return f"{column.table.name}.{name}" if name in IMPERSONAL else f"{marker} {column.table.name}.{name}"


async def places_of(database: Database, needle: str) -> set[str]:
    """Return the columns, as `table.column`, in which any row contains a text."""
    return {place async for place in _places(database, needle)}


async def _places(database: Database, needle: str) -> AsyncIterator[str]:
    for table in metadata.sorted_tables:
        names = [column.name for column in table.columns]
        rows = await database.read(Query(f"SELECT {', '.join(names)} FROM {table.name}", ()))
        for name, value in (pair for row in rows for pair in zip(names, row, strict=True)):
            if any(needle.casefold() in spelling.casefold() for spelling in _spellings(value)):
                yield f"{table.name}.{name}"


def _spellings(value: Any) -> Iterator[str]:
    yield str(value)
    if isinstance(value, bytes):
        yield value.decode("latin-1")
        yield value.decode("utf-8", "replace")
