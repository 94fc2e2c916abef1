"""Commits units of writes to PostgreSQL in few statements, which concurrent callers share if possible."""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Protocol

from sqlalchemy import Table, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect

from kingpost.storage.coalescing import Coalescer
from kingpost.storage.database import ForeignKeyViolation, Query, Row, Script, Statement, UniqueViolation
from kingpost.storage.postgresql.joined_writes import Division, JoinedStatement, Outcome, Part, divide
from kingpost.storage.writes import MAX_SHAPES, Form, Unit

type Forms = tuple[Form, ...]


class Transact(Protocol):
    async def __call__[T](self, script: Callable[[], Script[T]], *, undo: bool) -> T: ...


class Commits:
    """Commits units on one database."""

    def __init__(
        self,
        dialect: Dialect,
        run: Callable[[Query, float | None], Awaitable[Sequence[Row]]],
        transact: Transact,
        query_timeout: float,
    ) -> None:
        """Use one database.

        Args:
            dialect: PostgreSQL's.
            run: runs one statement as its own transaction, within a number of seconds.
            transact: runs a script as one transaction, and rolls it back at the end if `undo` is true.
            query_timeout: the seconds after which an uncommitted unit raises `Unavailable`.
        """
        self._dialect = dialect
        self._run = run
        self._transact = transact
        self._query_timeout = query_timeout
        self._coalescers: dict[Forms, Coalescer[Part, Outcome]] = {}
        self._joined: Callable[[Forms], JoinedStatement] = lru_cache(maxsize=MAX_SHAPES)(self._make_joined)
        self._lock: Callable[[Table], Statement] = lru_cache(maxsize=MAX_SHAPES)(self._make_lock)

    async def commit(self, unit: Unit, *, dry_run: bool) -> Sequence[Row | None]:
        """Commit a unit, as `Database.commit` promises."""
        division = divide(unit)
        try:
            if division.may_share and not dry_run:
                layout = division.layouts[0]
                outcome = await self._coalescer(layout.forms).call(Part(layout, unit.rows))
            else:
                parts = [Part(layout, unit.rows) for layout in division.layouts]
                outcome = await self._run_unshared(division, parts, undo=dry_run)
        except (UniqueViolation, ForeignKeyViolation):
            # Run the writes one by one to find out which it was. The violation may have gone meanwhile.
            return await self._transact(unit.play, undo=dry_run)
        if isinstance(outcome, Exception):
            raise outcome
        return [*map(outcome.get, range(unit.plan.writes))]

    def _run_unshared(self, division: Division, parts: Sequence[Part], *, undo: bool) -> Awaitable[Outcome]:
        if undo or division.leaves_traces:
            return self._transact(lambda: self._play(parts), undo=undo)
        return self._run_alone(parts[0], self._query_timeout)

    async def drain(self) -> None:
        """Return when no unit is waiting or running."""
        for coalescer in self._coalescers.values():
            await coalescer.drain()

    def _play(self, parts: Sequence[Part]) -> Script[Outcome]:
        """Run parts one after another in one transaction."""
        found: dict[int, Row] = {}
        # A script receives rows where it yields, which `yield from` a list cannot.
        for lock in self._locks(parts):  # noqa: UP028
            yield lock
        for part in parts:
            statement = self._joined(part.layout.forms)
            rows = yield statement.query([part])
            outcome = statement.outcomes([part], rows)[0]
            if isinstance(outcome, Exception):
                raise outcome
            found |= outcome
        return found

    def _locks(self, parts: Sequence[Part]) -> Sequence[Query]:
        """Return queries that lock the rows of each table that several statements change, in the order of their ids.

        A single statement locks its rows by itself.
        """
        times: dict[Table, int] = {}
        ids: dict[Table, set[str]] = {}
        for part in parts:
            for form, positions in part.layout.locking:
                times[form.table] = times.get(form.table, 0) + 1
                found = [form.key_of(part.rows[position])[1] for position in positions]
                ids.setdefault(form.table, set()).update(found)
        return [self._lock(table)(ids=list(ids[table])) for table in ids if times[table] > 1]

    async def _run_many(self, parts: Sequence[Part]) -> Sequence[Outcome]:
        statement = self._joined(parts[0].layout.forms)
        return statement.outcomes(parts, await self._run(statement.query(parts), None))

    async def _run_alone(self, part: Part, time_limit: float | None = None) -> Outcome:
        (form, *others), ((position, *more), *_), _ = part.layout
        if others or more or form.then:
            statement = self._joined(part.layout.forms)
            return statement.outcomes([part], await self._run(statement.query([part]), time_limit))[0]
        rows = await self._run(form.query(part.rows[position]), time_limit)
        if not form.must_match:
            return {}
        return {position: rows[0]} if rows else form.refusal(position)

    def _coalescer(self, forms: Forms) -> Coalescer[Part, Outcome]:
        found = self._coalescers.get(forms)
        if found is None:
            if len(self._coalescers) >= MAX_SHAPES:
                self._coalescers = {forms: some for forms, some in self._coalescers.items() if some.is_busy}
            found = Coalescer(self._run_many, self._run_alone, time_limit=self._query_timeout, keys=Part.keys)
            self._coalescers[forms] = found
        return found

    def _make_joined(self, forms: Forms) -> JoinedStatement:
        return JoinedStatement(forms, self._dialect)

    def _make_lock(self, table: Table) -> Statement:
        (column,) = table.primary_key
        ids = bindparam("ids", type_=ARRAY(column.type))
        return Statement(select(column).where(column == any_(ids)).order_by(column).with_for_update(), self._dialect)
