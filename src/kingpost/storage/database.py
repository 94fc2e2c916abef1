"""The interface of a database. `sqlite/database.py` and `postgresql/database.py` implement it.

Statements are described with SQLAlchemy Core and compiled once for the dialect in use; the drivers execute text with
positional parameters. A transaction of several steps is a generator, which yields queries, receives their rows, and
returns its result. SQLite runs it in its writer thread, PostgreSQL on the event loop.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy import Executable
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

if TYPE_CHECKING:
    from kingpost.storage.writes import Unit

type Row = Sequence[Any]


class Query(NamedTuple):
    """Statement text in the driver's own form, and its positional parameters."""

    text: str
    parameters: tuple[Any, ...]


type Script[T] = Generator[Query, Sequence[Row], T]
"""The steps of one transaction. A failing step ends the script. If a statement violates a constraint, the script
receives `UniqueViolation` or `ForeignKeyViolation` at its `yield`, so that it can raise an error of its own instead.
"""

QUERY_TIMEOUT = 10.0
"""Seconds after which a database that does not answer is unavailable. This includes the wait for a connection."""


class Statement:
    """A statement compiled for one dialect. Call it with all of its parameters by name to get a `Query`.

    Raises:
        KeyError: a parameter that has no value in the statement itself was left out.
    """

    __slots__ = ("_defaults", "_order", "text")

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        assert compiled.positiontup is not None
        self.text: str = str(compiled)
        self._order: tuple[str, ...] = tuple(compiled.positiontup)
        # A `bindparam` without a value is not NULL by default: forgetting it must raise an error.
        self._defaults: Mapping[str, Any] = {
            name: value for name, value in compiled.params.items() if not compiled.binds[name].required
        }

    def __call__(self, **parameters: Any) -> Query:
        return Query(self.text, tuple([parameters[n] if n in parameters else self._defaults[n] for n in self._order]))

    def for_rows(self, names: Sequence[str]) -> Callable[[tuple[Any, ...]], Query]:
        """Return a function that makes a `Query` of a row of parameters, given in the order of `names`."""
        missing = [name for name in self._order if name not in names]
        text, rest = self.text, tuple(self._defaults[name] for name in missing)
        known = [*names, *missing]
        places = [known.index(name) for name in self._order]
        if places == [*range(len(known))]:
            return lambda row: Query(text, row + rest)
        if len(places) == 1:
            return lambda row: Query(text, (row[places[0]],))
        pick = itemgetter(*places)
        return lambda row: Query(text, pick(row + rest))


class Lookup(NamedTuple):
    """A read of one row by its key, as two statements.

    Attributes:
        one: reads the row of one key, its only parameter.
        many: reads the rows of an array of keys, its only parameter, in any order. The first column is the key.
            Only PostgreSQL uses it.
    """

    one: str
    many: str


class UniqueViolation(Exception):
    """A write would have given two rows the same unique value. Nothing was written."""


class ForeignKeyViolation(Exception):
    """A write refers to a row that does not exist. Nothing was written."""


class Database(Protocol):
    """An open database.

    Every method raises `Unavailable` if the database does not answer in time, and `UniqueViolation` or
    `ForeignKeyViolation` if a write violates such a constraint.
    """

    dialect: Dialect

    async def read(self, query: Query) -> Sequence[Row]:
        """Run a short read, such as a point read or a page that an index leads to, and return its rows."""
        ...

    async def scan(self, query: Query) -> Sequence[Row]:
        """Run a read that may take long, such as a count, without delaying short reads or writes."""
        ...

    async def lookup(self, lookup: Lookup, key: str) -> Row | None:
        """Read one row by its key. Concurrent calls may share one statement."""
        ...

    def commit(self, unit: "Unit", *, dry_run: bool = False) -> Awaitable[Sequence[Row | None]]:
        """Commit all writes of a unit, or none, and return the outcomes of those that are not effects.

        Concurrent calls may share one statement or transaction. Each still gets its own outcome, and a failing one does
        not affect the others. With `dry_run`, the unit is rolled back at its end.

        Raises:
            Refused: a write did not match the row that it needs, or would have violated a constraint.
            Exception: the refusal of a kind that has one.
        """
        ...

    async def write(self, query: Query) -> Sequence[Row]:
        """Run one writing statement as its own transaction, and return the rows of its RETURNING."""
        ...

    async def transact[T](self, script: Callable[[], Script[T]], time_limit: float | None = QUERY_TIMEOUT) -> T:
        """Run a script as one transaction. An exception that it raises rolls everything back and reaches the caller.

        Args:
            script: returns a new script for each call. The transaction may be retried, so it must have no side effects
                outside the database.
            time_limit: how long the transaction may take, in seconds; None sets no limit.
        """
        ...

    async def refresh_statistics(self) -> None:
        """Update the statistics by which the database plans its reads, if the tables have changed much."""
        ...

    async def ping(self) -> None:
        """Return if the database answers and appears to be writable. This does not write."""
        ...

    async def close(self) -> None:
        """Finish what is running, and close the database."""
        ...
