"""What the SQL package needs of a driver. `sqlite.py` and `postgresql.py` provide it.

Statements are described once with SQLAlchemy Core and compiled once for the dialect in use; what is
executed is text with positional parameters. A transaction of several steps is written once, as a
generator: it yields a query, receives the rows, and returns its result. SQLite drives it inside its
writer thread, PostgreSQL on the event loop, and neither has to know about the other.
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
"""The steps of one transaction. A failing step ends the script, which cannot go on. Where it yielded a statement that
broke a rule, `UniqueViolation` or `ForeignKeyViolation` is raised, so that it can raise an error of its own instead.
"""

PATIENCE = 10.0
"""Seconds after which a database that does not answer counts as unavailable, waiting for a connection included."""


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
        # A `bindparam` without a value is not NULL by default: whoever forgets it shall notice.
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
    """A read of one row by its key, in both forms.

    `one` takes the key as its only parameter. `many` takes an array of keys as its only parameter and
    returns the rows found, in any order, with the key in the first column (PostgreSQL only).
    """

    one: str
    many: str


class UniqueViolation(Exception):
    """A write would have made two rows share a unique value. Nothing was written."""


class ForeignKeyViolation(Exception):
    """A write refers to a row that does not exist. Nothing was written."""


class Database(Protocol):
    """One open database. Every method raises `Unavailable` where the database cannot be reached in time,
    `UniqueViolation` and `ForeignKeyViolation` where a write breaks such a rule."""

    dialect: Dialect

    async def read(self, query: Query) -> Sequence[Row]:
        """Run one short read and return its rows: point reads and bounded pages."""
        ...

    async def scan(self, query: Query) -> Sequence[Row]:
        """Run one read that may take long, such as a count, without holding up anything else."""
        ...

    async def lookup(self, lookup: Lookup, key: str) -> Row | None:
        """Read one row by its key. Calls that wait at the same moment may share one statement."""
        ...

    def commit(self, unit: "Unit", *, dry_run: bool = False) -> Awaitable[Sequence[Row | None]]:
        """Do all writes of a unit durably, or none, and return the outcomes of those that are not effects.

        Calls that wait at the same moment may share one statement or transaction. Each still gets its own outcome,
        and a failing one never harms another. `dry_run` undoes the unit at its end.

        Raises:
            Refused: a write did not hit the row that it must hit, or would have broken a rule.
            Exception: the refusal of a kind that has one.
        """
        ...

    async def write(self, query: Query) -> Sequence[Row]:
        """Run one writing statement as a transaction of its own; return the rows of its RETURNING."""
        ...

    async def transact[T](self, script: Callable[[], Script[T]], patience: float | None = PATIENCE) -> T:
        """Run a script as one transaction. An exception raised in it undoes all of it and reaches the caller.

        Args:
            script: returns a fresh script each time. It may be called again to run the transaction anew, so it must
                have no effect outside of the database.
            patience: how long the transaction may take, in seconds; None sets no limit.
        """
        ...

    async def ping(self) -> None:
        """Return if the database answers and can be written to, as far as that shows without writing."""
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""
        ...
