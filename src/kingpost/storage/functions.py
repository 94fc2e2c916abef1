"""SQL expressions that SQLite and PostgreSQL write differently."""

from typing import Any

from sqlalchemy import Boolean, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class database_now(FunctionElement[str]):
    """The present time by the clock of the database, which all nodes share."""

    inherit_cache = True
    type = Text()


@compiles(database_now, "postgresql")
def _(element: database_now, compiler: SQLCompiler, **options: Any) -> str:
    return "clock_timestamp()"


@compiles(database_now, "sqlite")
def _(element: database_now, compiler: SQLCompiler, **options: Any) -> str:
    return "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


class database_after(FunctionElement[str]):
    """The time a number of seconds after the start of the statement, by the clock of the database.

    Seconds are an integer, negative for the past. The time is the same for all rows, so that an index can find it.
    """

    inherit_cache = True
    type = Text()


@compiles(database_after, "postgresql")
def _(element: database_after, compiler: SQLCompiler, **options: Any) -> str:
    return f"statement_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)})"


@compiles(database_after, "sqlite")
def _(element: database_after, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', printf('%+d seconds', {seconds}))"


class exclusive_section(FunctionElement[str]):
    """A lock, named by an integer, that one transaction at a time holds until it ends.

    It is an advisory lock on PostgreSQL. SQLite has only one writer, so it needs none.
    """

    inherit_cache = True
    type = Text()


@compiles(exclusive_section, "postgresql")
def _(element: exclusive_section, compiler: SQLCompiler, **options: Any) -> str:
    return f"pg_advisory_xact_lock({compiler.process(element.clauses, **options)})::text"


@compiles(exclusive_section, "sqlite")
def _(element: exclusive_section, compiler: SQLCompiler, **options: Any) -> str:
    return "NULL"


class is_listed(FunctionElement[bool]):
    """Whether an integer is in a list of integers, given as text with commas."""

    inherit_cache = True
    type = Boolean()


@compiles(is_listed, "postgresql")
def _(element: is_listed, compiler: SQLCompiler, **options: Any) -> str:
    number, text = [compiler.process(clause, **options) for clause in element.clauses]
    return f"{number} = ANY (string_to_array({text}, ',')::bigint[])"


@compiles(is_listed, "sqlite")
def _(element: is_listed, compiler: SQLCompiler, **options: Any) -> str:
    number, text = [compiler.process(clause, **options) for clause in element.clauses]
    return f"{number} IN (SELECT value FROM json_each('[' || {text} || ']'))"  # noqa: S608
