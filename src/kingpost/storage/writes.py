"""Writes as values: planned before the transaction, decided in the statement.

A write is a plain value, such as "replace version 3 of this resource". A `Kind` describes once for each type of write
how it is stored. It yields a statement for one write, which SQLite and scripts use, and a statement for many writes at
once, which PostgreSQL uses (`joined_writes.py`).

The steps of a unit are ordered so that most refusals come before the first change:

1. the effects that must match a row, such as "this session is active";
2. the writes that must match a row, up to the first write that need not;
3. the `early` effects, such as the receipt of an idempotent request, which fails if there is one already;
4. the other writes, in their order;
5. the other effects, in their order.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import Column, ColumnElement, Delete, Insert, Select, Table, Update, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from kingpost.storage.database import Database, ForeignKeyViolation, Query, Row, Script, Statement, UniqueViolation

MAX_SHAPES = 256
"""Maximum number of compiled statements that are kept."""

type Description = Insert | Update | Delete | Select[Any]
type Builder = Callable[["Parameters"], Description]
type Shape = type | tuple[type, Hashable]
"""The type of a write, and its shape if its kind has shapes."""
type Follower = Callable[["Parameters", "Parameters"], Insert]
type UpsertableInsert = postgresql.Insert | sqlite.Insert


class Kind[W](NamedTuple):
    """How writes of one type are stored.

    Attributes:
        row: returns the parameters of a write, in the order of `parameters`.
        parameters: returns the names and types of the parameters of a shape.
        build: describes the statement for one row of parameters. An insert comes from `Parameters.insert`; an update
            or delete has a condition on `key`; a guard is a `select … with_for_update(read=True, of=table)`.
        shape: returns what two writes must have in common to share a statement, such as whether they name one version
            or several; None if all writes of the type can share one.
        key: the columns that identify the row, and the parameters of the same names. Two writes with the same key never
            share a statement, and rows are locked in the order of their keys.
        returning: the columns of the row that the write must match, which are its outcome. If empty, the write need not
            match a row and has no outcome. An insert always matches.
        refusal: returns the exception to raise if no row matches; None stands for `Refused`.
        early: whether, as an effect, it comes before the writes that need not match a row.
        then: describe inserts that follow the write, from its parameters and the columns of `returning` (from its
            parameters twice if `returning` is empty).
    """

    row: Callable[[W], tuple[Any, ...]]
    parameters: Callable[[Hashable], Mapping[str, TypeEngine[Any]]]
    build: Builder
    shape: Callable[[W], Hashable] | None = None
    key: tuple[str, ...] = ()
    returning: Sequence[Column[Any]] = ()
    refusal: Callable[[], Exception] | None = None
    early: bool = False
    then: tuple[Follower, ...] = ()


def insertion[W](
    table: Table, row: Callable[[W], tuple[Any, ...]], columns: Sequence[Column[Any]], **values: ColumnElement[Any]
) -> Kind[W]:
    """Return the kind of a plain insert. `row` returns the values of `columns`; `values` are the same for all rows."""
    types = {column.name: column.type for column in columns}
    return Kind(row, lambda shape: types, lambda given: given.insert(table, **{n: given[n] for n in types}, **values))


class Refused(Exception):
    """A unit was rolled back because of one of its writes.

    Attributes:
        index: the position of that write. Effects come after the writes.
        reason: the constraint that it would have violated; None if it did not match the row that it needs.
    """

    def __init__(self, index: int, reason: UniqueViolation | ForeignKeyViolation | None = None) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason


class Parameters:
    """One row of parameters as SQL expressions, by name: `row.id`, or `row["id"]`.

    In a statement for one write they are bound parameters. In a statement for many writes they are columns of the rows
    to write.
    """

    def __init__(
        self,
        expressions: Mapping[str, ColumnElement[Any]],
        shape: Hashable = None,
        insert_into: Callable[[Table], UpsertableInsert] = sqlite.insert,
        narrow: Callable[[Select[Any]], Select[Any]] | None = None,
    ) -> None:
        """Use these expressions. `narrow` adds the source of the rows to a select of expressions."""
        self._expressions = expressions
        self.shape = shape
        self._insert_into = insert_into
        self._narrow = narrow

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        return self._expressions[name]

    def __getattr__(self, name: str) -> ColumnElement[Any]:
        try:
            return self._expressions[name]
        except KeyError:
            raise AttributeError(name) from None

    def insert(self, table: Table, **values: ColumnElement[Any]) -> UpsertableInsert:
        """Return the insert of a row with these values."""
        statement = self._insert_into(table)
        if self._narrow is None:
            return statement.values(values)
        return statement.from_select(list(values), self._narrow(select(*values.values())))


class Form:
    """A kind in one shape, with the statements for a single write."""

    def __init__(self, kind: Kind[Any], shape: Hashable, dialect: Dialect) -> None:
        self.kind = kind
        self.shape = shape
        self.types = kind.parameters(shape)
        expressions = {name: bindparam(name, type_=type_) for name, type_ in self.types.items()}
        insert_into = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        row = Parameters(expressions, shape, insert_into)
        statement = kind.build(row)
        self.must_match = bool(kind.returning)
        self.is_guard = isinstance(statement, Select)
        table = statement.get_final_froms()[0] if isinstance(statement, Select) else statement.table
        assert isinstance(table, Table)
        self.table = table
        self.locks = bool(kind.key) and isinstance(statement, Update | Delete)
        """Whether several writes must lock their rows, in the order of their keys, before they change them."""
        assert not (self.must_match and isinstance(statement, Insert)), "An insert always matches"
        if self.must_match and not isinstance(statement, Select):
            statement = statement.returning(*kind.returning)
        self.query = Statement(statement, dialect).for_rows(tuple(self.types))
        """Returns the statement for one row of parameters."""
        written = {column.name: bindparam(f"written_{column.name}", type_=column.type) for column in kind.returning}
        origin = Parameters(written, shape) if self.must_match else row
        names = (*self.types, *[parameter.key for parameter in written.values()])
        self.then = [Statement(follow(row, origin), dialect).for_rows(names) for follow in kind.then]
        """Return the inserts that follow a write, from its row of parameters and the row that it matched."""
        self._key = itemgetter(*[list(self.types).index(name) for name in kind.key] or [0])

    def key_of(self, row: tuple[Any, ...]) -> tuple[Table, Any]:
        """Return the key, which must be unique among the writes of a statement. The kind must have one."""
        return self.table, self._key(row)

    def refusal(self, position: int) -> Exception:
        """Return the exception to raise if no row matches."""
        return Refused(position) if self.kind.refusal is None else self.kind.refusal()


class Plan:
    """The common part of all units of one shape.

    Attributes:
        forms: the forms of the writes, then those of the effects.
        writes: the number of writes.
        order: the positions of all forms, in the order in which they run.
        is_single: whether it is one statement for one write.
    """

    def __init__(self, forms: Sequence[Form], writes: int) -> None:
        self.forms = forms
        self.writes = writes
        self.order = _ordered(forms, writes)
        self.is_single = len(forms) == 1 and not forms[0].then


def _ordered(forms: Sequence[Form], writes: int) -> Sequence[int]:
    planned, caused = range(writes), range(writes, len(forms))
    conditions = next((position for position in planned if not forms[position].must_match), writes)
    guards = [position for position in caused if forms[position].must_match]
    guards.sort(key=lambda position: not forms[position].is_guard)
    early = [position for position in caused if forms[position].kind.early]
    late = [position for position in caused if not (forms[position].must_match or forms[position].kind.early)]
    return [*guards, *planned[:conditions], *early, *planned[conditions:], *late]


class Unit(Struct, frozen=True, gc=False):
    """Writes and effects that commit together or not at all: a plan, and a row of parameters for each form."""

    plan: Plan
    rows: Sequence[tuple[Any, ...]]

    @property
    def query(self) -> Query:
        """The statement of a plan that `is_single`."""
        return self.plan.forms[0].query(self.rows[0])

    def outcome(self, rows: Sequence[Row]) -> Sequence[Row | None]:
        """Return the outcomes of a plan that `is_single`, from the rows that its statement returned.

        Raises:
            Exception: as for `play`.
        """
        form = self.plan.forms[0]
        if form.must_match and not rows:
            raise form.refusal(0)
        return [rows[0] if form.must_match else None] if self.plan.writes else []

    def play(self) -> Script[Sequence[Row | None]]:
        """Run one step after another, and return the outcomes of the writes.

        Raises:
            Refused: a step did not match the row that it needs, or would have violated a constraint.
            Exception: the refusal of a kind that has one.
        """
        outcomes: list[Row | None] = [None] * len(self.rows)
        for position in self.plan.order:
            form, row = self.plan.forms[position], self.rows[position]
            try:
                rows = yield form.query(row)
                if form.must_match:
                    if not rows:
                        raise form.refusal(position)
                    outcomes[position] = rows[0]
                for following in form.then:
                    yield following((*row, *(outcomes[position] or ())))
            except (UniqueViolation, ForeignKeyViolation) as violation:
                raise Refused(position, violation) from violation
        return outcomes[: self.plan.writes]


async def _nothing() -> Sequence[Row | None]:
    return []


class Writes:
    """Commits writes to one database, which knows their kinds."""

    def __init__(self, database: Database, kinds: Mapping[type, Kind[Any]]) -> None:
        self._database = database
        self._kinds = kinds
        self._callbacks: dict[type, Callable[[], None]] = {}
        self._form: Callable[[Shape], Form] = lru_cache(maxsize=MAX_SHAPES)(self._make_form)
        self._plan: Callable[[tuple[Shape, ...], int], Plan] = lru_cache(maxsize=MAX_SHAPES)(self._make_plan)

    def commit(
        self, writes: Sequence[Any], effects: Sequence[Any] = (), *, dry_run: bool = False
    ) -> Awaitable[Sequence[Row | None]]:
        """Commit writes and their effects, or nothing.

        Return the outcome of each write: the row that it matched, or None if it need not match a row.

        Args:
            writes: values of the types in `kinds`.
            effects: more values of these types, which have no outcome.
            dry_run: roll everything back at the end, and return the outcomes all the same.

        Raises:
            Refused: a write or effect did not match the row that it needs, or would have violated a constraint.
            Exception: the refusal of a kind that has one.
        """
        if not writes and not effects:
            return _nothing()
        committing = self._database.commit(self._unit(writes, effects), dry_run=dry_run)
        return self._then_call_back(committing, effects) if effects and not dry_run else committing

    async def transact[T](self, script: Callable[[], Script[T]], effects: Sequence[Any]) -> T:
        """Run a script, which stores these effects with `steps`, as `Database.transact` does."""
        return await self._then_call_back(self._database.transact(script), effects)

    def steps(self, effects: Sequence[Any]) -> Script[None]:
        """Store effects as a part of a script.

        Raises:
            UniqueViolation, ForeignKeyViolation: an effect would have violated this constraint.
            Refused: an effect did not match the row that it needs.
            Exception: the refusal of a kind that has one.
        """
        try:
            yield from self._unit((), effects).play()
        except Refused as refused:
            if refused.reason is None:
                raise
            raise refused.reason from refused

    def after_commit(self, effect_type: type, callback: Callable[[], None]) -> None:
        """Call `callback` after each commit of this process that may have stored an effect of this type."""
        self._callbacks[effect_type] = callback

    async def _then_call_back[T](self, committing: Awaitable[T], effects: Sequence[Any]) -> T:
        outcome = await committing
        for effect_type in {type(effect) for effect in effects} & self._callbacks.keys():
            self._callbacks[effect_type]()
        return outcome

    def _unit(self, writes: Sequence[Any], effects: Sequence[Any]) -> Unit:
        if len(writes) == 1 and not effects:  # The most frequent unit: building lists would take most of the time.
            kind = self._kinds[type(writes[0])]
            return Unit(self._plan((_shape(kind, writes[0]),), 1), (kind.row(writes[0]),))
        values = [*writes, *effects]
        kinds = [self._kinds[type(value)] for value in values]
        shapes = tuple(map(_shape, kinds, values))
        return Unit(
            self._plan(shapes, len(writes)), [kind.row(value) for kind, value in zip(kinds, values, strict=True)]
        )

    def _make_plan(self, shapes: tuple[Shape, ...], writes: int) -> Plan:
        return Plan([self._form(shape) for shape in shapes], writes)

    def _make_form(self, shape: Shape) -> Form:
        write_type, common = shape if isinstance(shape, tuple) else (shape, None)
        return Form(self._kinds[write_type], common, self._database.dialect)


def _shape(kind: Kind[Any], write: Any) -> Shape:
    return type(write) if kind.shape is None else (type(write), kind.shape(write))
