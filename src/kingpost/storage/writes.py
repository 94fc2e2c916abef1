"""Writes as values: planned outside of the transaction, decided in the statement.

A write is a plain value, such as "replace version 3 of this resource". What happens if it is written is described once
for each type of write, by a `Kind`. From that come a statement for one write, which SQLite and scripts use, and a
statement for many writes at once, which PostgreSQL uses (`joined_writes.py`).

The steps of a unit are ordered so that most refusals come before the first change:

1. the effects that must hit a row, such as "this session is alive";
2. the writes that must hit a row, as far as no other write stands before them;
3. the effects that come `early`, such as the receipt of an idempotent request, of which a second one fails;
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

SHAPES = 256
"""How many shapes of statements are kept compiled."""

type Description = Insert | Update | Delete | Select[Any]
type Builder = Callable[["Parameters"], Description]
type Shape = type | tuple[type, Hashable]
"""The type of a write, and what its kind calls its shape, if anything."""
type Follower = Callable[["Parameters", "Parameters"], Insert]
type UpsertableInsert = postgresql.Insert | sqlite.Insert


class Kind[W](NamedTuple):
    """How the writes of one type are done.

    Attributes:
        row: returns the parameters of a write, in the order of `parameters`.
        parameters: returns the names and types of the parameters of a shape.
        build: describes the statement for one row of parameters. An insert comes from `Parameters.insert`; an update
            or delete has a condition on `key`; a guard is a `select … with_for_update(read=True, of=table)`.
        shape: returns what two writes must have in common to share a statement, such as how many versions they name;
            None: they need nothing in common.
        key: the columns by which the table's row is found, or is unique, and the parameters of the same names. Writes
            with one key are never in one statement, and rows are locked in the order of their keys.
        returning: the columns of the row that the write must hit; the outcome of the write. Where empty, the write
            need not hit a row, and has no outcome. An insert always hits.
        refusal: returns the exception to raise if no row is hit; None: `Refused`.
        early: whether, as an effect, it comes before the writes that need not hit a row.
        then: describe inserts that follow the write, from its parameters and the columns of `returning` (from its
            parameters again if `returning` is empty).
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
    """Return the kind of a plain insert: `row` has the values of `columns`; `values` are the same for all rows."""
    types = {column.name: column.type for column in columns}
    return Kind(row, lambda shape: types, lambda given: given.insert(table, **{n: given[n] for n in types}, **values))


class Refused(Exception):
    """A unit was not written, and nothing has happened.

    Attributes:
        index: the position of the write at fault; effects are counted behind the writes.
        reason: the rule that it would have broken; None if it did not hit the row that it must hit.
    """

    def __init__(self, index: int, reason: UniqueViolation | ForeignKeyViolation | None = None) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason


class Parameters:
    """One row of parameters as SQL expressions, by name: `row.id`, or `row["id"]`.

    In a statement for one write they are bound parameters. In a statement for many writes they are columns of `source`,
    and a row counts only under the conditions `given`.
    """

    def __init__(
        self,
        expressions: Mapping[str, ColumnElement[Any]],
        shape: Hashable = None,
        insert_into: Callable[[Table], UpsertableInsert] = sqlite.insert,
        narrow: Callable[[Select[Any]], Select[Any]] | None = None,
    ) -> None:
        """Make it. `narrow` takes a select of expressions and adds where the rows come from."""
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
        """Describe the insert of a row with these values."""
        statement = self._insert_into(table)
        if self._narrow is None:
            return statement.values(values)
        return statement.from_select(list(values), self._narrow(select(*values.values())))


class Form:
    """A kind at one shape, with the statements that do one write."""

    def __init__(self, kind: Kind[Any], shape: Hashable, dialect: Dialect) -> None:
        self.kind = kind
        self.shape = shape
        self.types = kind.parameters(shape)
        expressions = {name: bindparam(name, type_=type_) for name, type_ in self.types.items()}
        insert_into = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        row = Parameters(expressions, shape, insert_into)
        statement = kind.build(row)
        self.must_hit = bool(kind.returning)
        self.is_guard = isinstance(statement, Select)
        table = statement.get_final_froms()[0] if isinstance(statement, Select) else statement.table
        assert isinstance(table, Table)
        self.table = table
        self.locks = bool(kind.key) and isinstance(statement, Update | Delete)
        """Whether many writes must lock their rows in the order of their keys before they change them."""
        assert not (self.must_hit and isinstance(statement, Insert)), "An insert hits always"
        if self.must_hit and not isinstance(statement, Select):
            statement = statement.returning(*kind.returning)
        self.query = Statement(statement, dialect).for_rows(tuple(self.types))
        """Returns the statement that does one write."""
        written = {column.name: bindparam(f"written_{column.name}", type_=column.type) for column in kind.returning}
        origin = Parameters(written, shape) if self.must_hit else row
        names = (*self.types, *[parameter.key for parameter in written.values()])
        self.then = [Statement(follow(row, origin), dialect).for_rows(names) for follow in kind.then]
        """Return the inserts that follow a write: the row of parameters goes in, and the row that was hit."""
        self._key = itemgetter(*[list(self.types).index(name) for name in kind.key] or [0])

    def key_of(self, row: tuple[Any, ...]) -> tuple[Table, Any]:
        """Return what no two writes of one statement may have in common. The kind must have a key."""
        return self.table, self._key(row)

    def refusal(self, position: int) -> Exception:
        """Return the exception that says that no row was hit."""
        return Refused(position) if self.kind.refusal is None else self.kind.refusal()


class Plan:
    """What all units of one shape have in common.

    Attributes:
        forms: the forms of the writes, then those of the effects.
        writes: how many of them are writes.
        order: their positions, in the order in which they are done one after another.
        is_single: whether one statement for one write is all of it.
    """

    def __init__(self, forms: Sequence[Form], writes: int) -> None:
        self.forms = forms
        self.writes = writes
        self.order = _ordered(forms, writes)
        self.is_single = len(forms) == 1 and not forms[0].then


def _ordered(forms: Sequence[Form], writes: int) -> Sequence[int]:
    planned, caused = range(writes), range(writes, len(forms))
    conditions = next((position for position in planned if not forms[position].must_hit), writes)
    guards = [position for position in caused if forms[position].must_hit]
    guards.sort(key=lambda position: not forms[position].is_guard)
    early = [position for position in caused if forms[position].kind.early]
    late = [position for position in caused if not (forms[position].must_hit or forms[position].kind.early)]
    return [*guards, *planned[:conditions], *early, *planned[conditions:], *late]


class Unit(Struct, frozen=True, gc=False):
    """Writes that are done together or not at all: a plan, and a row of parameters for each of its forms."""

    plan: Plan
    rows: Sequence[tuple[Any, ...]]

    @property
    def query(self) -> Query:
        """The statement of a plan that `is_single`."""
        return self.plan.forms[0].query(self.rows[0])

    def outcome(self, rows: Sequence[Row]) -> Sequence[Row | None]:
        """Return the outcomes of the writes of a plan that `is_single`, whose statement returned rows.

        Raises:
            Exception: as `play`.
        """
        form = self.plan.forms[0]
        if form.must_hit and not rows:
            raise form.refusal(0)
        return [rows[0] if form.must_hit else None] if self.plan.writes else []

    def play(self) -> Script[Sequence[Row | None]]:
        """Do one step after another, and return the outcomes of the writes.

        Raises:
            Refused: a step did not hit the row that it must hit, or would have broken a rule.
            Exception: the refusal of a kind that has one.
        """
        outcomes: list[Row | None] = [None] * len(self.rows)
        for position in self.plan.order:
            form, row = self.plan.forms[position], self.rows[position]
            try:
                rows = yield form.query(row)
                if form.must_hit:
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
    """Commits writes of all known kinds to one database."""

    def __init__(self, database: Database, kinds: Mapping[type, Kind[Any]]) -> None:
        self._database = database
        self._kinds = kinds
        self._callbacks: dict[type, Callable[[], None]] = {}
        self._form: Callable[[Shape], Form] = lru_cache(maxsize=SHAPES)(self._make_form)
        self._plan: Callable[[tuple[Shape, ...], int], Plan] = lru_cache(maxsize=SHAPES)(self._make_plan)

    def commit(
        self, writes: Sequence[Any], effects: Sequence[Any] = (), *, dry_run: bool = False
    ) -> Awaitable[Sequence[Row | None]]:
        """Do all of it or nothing, and return the outcome of each write: the row it hit, or None if it need not.

        Args:
            writes: values of the registered types.
            effects: more of them, stored only if all writes are.
            dry_run: undo everything at its end, and return what would have been.

        Raises:
            Refused: a write or effect did not hit the row that it must hit, or would have broken a rule.
            Exception: the refusal of a kind that has one.
        """
        if not writes and not effects:
            return _nothing()
        committing = self._database.commit(self._unit(writes, effects), dry_run=dry_run)
        return self._then_call_back(committing, effects) if effects and not dry_run else committing

    async def transact[T](self, script: Callable[[], Script[T]], effects: Sequence[Any]) -> T:
        """Run a script that stores these effects with `steps`, as one transaction. Fails as `Database.transact`."""
        return await self._then_call_back(self._database.transact(script), effects)

    def steps(self, effects: Sequence[Any]) -> Script[None]:
        """Store effects inside of a script.

        Raises:
            UniqueViolation, ForeignKeyViolation: an effect would have broken this rule.
            Refused: an effect did not hit the row that it must hit.
            Exception: the refusal of a kind that has one.
        """
        try:
            yield from self._unit((), effects).play()
        except Refused as refused:
            if refused.reason is None:
                raise
            raise refused.reason from refused

    def after_commit(self, effect_type: type, callback: Callable[[], None]) -> None:
        """Call back after each commit of this process that may have stored an effect of a type."""
        self._callbacks[effect_type] = callback

    async def _then_call_back[T](self, committing: Awaitable[T], effects: Sequence[Any]) -> T:
        outcome = await committing
        for effect_type in {type(effect) for effect in effects} & self._callbacks.keys():
            self._callbacks[effect_type]()
        return outcome

    def _unit(self, writes: Sequence[Any], effects: Sequence[Any]) -> Unit:
        if len(writes) == 1 and not effects:  # The most frequent unit, for which lists would be the greater part.
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
