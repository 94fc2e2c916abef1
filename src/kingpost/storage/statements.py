"""Pieces of statements that several tables need."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, bindparam
from sqlalchemy.engine import Dialect


def versions_in(column: ColumnElement[int], count: int | None) -> list[ColumnElement[bool]]:
    """The condition that a version is one of the parameters `v0`, `v1` …; no condition where the count is None."""
    if count is None:
        return []
    # A client may name versions that no column would hold.
    return [column.in_([bindparam(f"v{index}", type_=BigInteger) for index in range(count)])]


def insert_many(columns: Sequence[Column[Any]], dialect: Dialect) -> str:
    """An insert of many rows as one statement whose parameters are one array a column; empty for SQLite."""
    if dialect.name != "postgresql":
        return ""
    names = ", ".join(column.name for column in columns)
    types = [column.type.dialect_impl(dialect).compile(dialect=dialect) for column in columns]
    # A collation belongs to a column, not to the type of an array.
    arrays = ", ".join(f"${n}::{kind.split(' COLLATE ')[0]}[]" for n, kind in enumerate(types, 1))
    # Nothing here comes from outside: names and types are those of our own tables.
    return f"INSERT INTO {columns[0].table.name} ({names}) SELECT * FROM unnest({arrays})"  # noqa: S608
