"""One PostgreSQL statement for the writes of many units: `WITH w0 AS (UPDATE … FROM unnest(…)), w1 AS …`.

The statement is atomic, and all of it sees the database as it was before. So if the condition of a write is false, the
other writes of its unit can depend on that and do nothing, without rolling back a transaction.
"""

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    column,
    false,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import String, TypeEngine

from kingpost.storage.database import Query, Row, Statement
from kingpost.storage.writes import MAX_SHAPES, Form, Parameters, Plan, Unit

UNIT, PLACE = "unit", "place"
"""More columns of a row of parameters: the number of its unit, and its position in the arrays (from 1)."""

type Outcome = dict[int, Row] | Exception
"""The outcome of a part: the rows that it matched, by position in the unit, or the reason why it did nothing."""


class Layout(NamedTuple):
    """The contents of one statement.

    Attributes:
        forms: the forms of its rows, in the order of the statement.
        positions: for each form, the positions of its rows in the unit.
        locking: the forms that lock rows by their keys, with the same positions.
    """

    forms: tuple[Form, ...]
    positions: tuple[Sequence[int], ...]
    locking: Sequence[tuple[Form, Sequence[int]]]


class Part(Struct, frozen=True, gc=False):
    """The rows of a unit that belong to one statement."""

    layout: Layout
    rows: Sequence[tuple[Any, ...]]

    def keys(self) -> Sequence[tuple[Table, Any]]:
        """Return the keys of the rows that it locks, which must be unique in a statement."""
        rows = self.rows
        return [form.key_of(rows[position]) for form, positions in self.layout.locking for position in positions]


class Division(NamedTuple):
    """How a unit is divided into statements, which run one after another.

    Attributes:
        layouts: the statements, as few as possible.
        leaves_traces: whether a refused unit may have changed rows already, and needs a transaction to roll back.
        may_share: whether it is one statement that it may share with other units.
    """

    layouts: Sequence[Layout]
    leaves_traces: bool
    may_share: bool


def divide(unit: Unit) -> Division:
    """Divide a unit.

    No two rows of a statement have the same key, because PostgreSQL would write only one of them. A statement has at
    most one form that changes rows on a condition. Rows with the same key keep their order, and no effect runs before
    a write.
    """
    keys_matter, division = _divide_plan(unit.plan)
    if not keys_matter:
        return division
    forms = zip(unit.plan.forms, unit.rows, strict=True)
    return _divide(unit.plan, [form.key_of(row) if form.kind.key else None for form, row in forms])


@lru_cache(maxsize=MAX_SHAPES)
def _divide_plan(plan: Plan) -> tuple[bool, Division]:
    """Divide a unit as if all keys were different, and return whether some might be equal."""
    tables = [form.table for form in plan.forms if form.kind.key]
    return len(tables) > len(set(tables)), _divide(plan, [None] * len(plan.forms))


def _divide(plan: Plan, keys: Sequence[Hashable]) -> Division:
    parts: list[dict[Form, list[int]]] = [{}]
    free_from: dict[Hashable, int] = {}
    for position in plan.order:
        form, key = plan.forms[position], keys[position]
        number = max(len(parts) - 1 if position >= plan.writes else 0, free_from.get(key, 0))
        while number < len(parts) and not _takes(parts[number], form):
            number += 1
        if number == len(parts):
            parts.append({})
        parts[number].setdefault(form, []).append(position)
        if key is not None:
            free_from[key] = number + 1
    conditions = sum(len(positions) for part in parts for form, positions in part.items() if _rank(form) == 1)
    leaves_traces = len(parts) > 1 or conditions > 1
    is_guarded = any(form.is_guard for form in plan.forms)
    may_share = plan.writes <= 1 and not (leaves_traces or is_guarded)
    return Division([_layout(part) for part in parts], leaves_traces, may_share)


def _layout(part: Mapping[Form, Sequence[int]]) -> Layout:
    forms = tuple(sorted(part, key=_rank))
    return Layout(forms, tuple(part[form] for form in forms), [(form, part[form]) for form in forms if form.locks])


def _takes(part: Mapping[Form, Sequence[int]], form: Form) -> bool:
    return form in part or _rank(form) != 1 or all(_rank(other) != 1 for other in part)


def _rank(form: Form) -> int:
    """Return the order in a statement: guards, then changes on a condition, then what depends on both."""
    return 0 if form.is_guard else 1 if form.must_match else 2


class JoinedStatement:
    """The statement for all parts with the same forms."""

    def __init__(self, forms: Sequence[Form], dialect: Dialect) -> None:
        self._forms = forms
        self._is_numbered = any(form.must_match for form in forms)
        self._guards = [form for form in forms if form.is_guard]
        self._names = [[f"r{number}_{name}" for name in [*form.types, UNIT]] for number, form in enumerate(forms)]
        self._statement = Statement(self._describe(), dialect)

    def query(self, parts: Sequence[Part]) -> Query:
        """Return the statement for parts of different units. All keys must be different."""
        parameters: dict[str, Any] = {}
        for number, names in enumerate(self._names):
            rows = [part.rows[position] for part in parts for position in part.layout.positions[number]]
            parameters.update(zip(names, zip(*rows, strict=True), strict=False))
            if self._is_numbered:
                parameters[names[-1]] = [unit for unit, part in enumerate(parts) for _ in part.layout.positions[number]]
        return self._statement(**parameters)

    def outcomes(self, parts: Sequence[Part], rows: Sequence[Row]) -> Sequence[Outcome]:
        """Return the outcome of each part from the rows that the statement returned."""
        outcomes: list[Outcome] = [{} for _ in parts]
        for number, form in enumerate(self._forms):
            if form.must_match:
                hits = self._hits(number, rows)
                places = [(unit, p) for unit, part in enumerate(parts) for p in part.layout.positions[number]]
                for place, (unit, position) in enumerate(places, 1):
                    outcome = outcomes[unit]
                    if isinstance(outcome, Exception):
                        continue
                    if place in hits:
                        outcome[position] = hits[place]
                    else:
                        outcomes[unit] = form.refusal(position)
        return outcomes

    def _hits(self, number: int, rows: Sequence[Row]) -> Mapping[int, Row]:
        """Return the rows that a form matched, by their position in its arrays. Those of a guard are empty."""
        guards = len(self._guards)
        if number < guards:
            return dict.fromkeys(rows[0][number] or (), ())
        return {row[guards]: row[guards + 1 :] for row in rows if row[guards] is not None}

    def _describe(self) -> Any:
        hits: list[CTE] = []
        ctes: list[CTE] = []
        for number, form in enumerate(self._forms):
            source = self._source(number, form)
            given: list[ColumnElement[bool]] = [source.c[UNIT].in_(select(hit.c[UNIT])) for hit in hits]
            row = _parameters(form, source, given)
            statement = form.kind.build(row)
            if form.must_match:
                place = source.c[UNIT], source.c[PLACE]
                if isinstance(statement, Select):
                    statement = statement.with_only_columns(*place)
                else:
                    statement = statement.returning(*place, *form.kind.returning)
            if not isinstance(statement, postgresql.Insert):
                statement = statement.where(*given)  # type: ignore[union-attr]
            if len(self._forms) == 1 and not form.must_match and not form.kind.then:
                return statement
            cte = statement.cte(f"w{number}")
            ctes.append(cte)
            if form.must_match:
                hits.append(cte)
                given = [cte.c[PLACE] == source.c[PLACE]]
            for place_of, follow in enumerate(form.kind.then):
                following = _parameters(form, source, given)
                written = Parameters({c.name: cte.c[c.name] for c in form.kind.returning}) if form.must_match else row
                ctes.append(follow(following, written).cte(f"w{number}_{place_of}"))
        return self._result(hits).add_cte(*ctes)

    def _source(self, number: int, form: Form) -> CTE:
        """Describe the rows of a form: the elements of its arrays, and the locks on the rows that they change."""
        names = self._names[number]
        columns = [column(name, type_) for name, type_ in form.types.items()]
        types: list[TypeEngine[Any]] = [*form.types.values()]
        if self._is_numbered:
            columns.append(column(UNIT, Integer()))
            types.append(Integer())
        arrays = [bindparam(name, type_=_array_of(type_)) for name, type_ in zip(names, types, strict=False)]
        ordinality = {"with_ordinality": PLACE} if self._is_numbered else {}
        rows = func.unnest(*arrays).table_valued(*columns, **ordinality).render_derived(name=f"a{number}")
        source = select(*rows.c)
        if form.locks:
            keys = [form.table.c[name] for name in form.kind.key]
            is_row = [key == rows.c[key.name] for key in keys]
            source = source.where(*is_row).order_by(*keys).with_for_update(of=form.table)
        return source.cte(f"r{number}")

    def _result(self, hits: Sequence[CTE]) -> Select[Any]:
        """Describe the result: the positions that each guard matched, then the rows that the changes matched."""
        if not hits:
            return select(literal_column("1")).where(false())
        count = len(self._guards)
        passed = [select(func.array_agg(hit.c[PLACE])).scalar_subquery() for hit in hits[:count]]
        one = select(literal_column("1")).subquery("one")
        if count == len(hits):
            return select(*passed).select_from(one)
        rows = hits[count]
        found = [hit for hit in rows.c if hit.name != UNIT]
        return select(*passed, *found).select_from(one.outerjoin(rows, true()))


def _parameters(form: Form, source: CTE, given: Sequence[ColumnElement[bool]]) -> Parameters:
    keys = [source.c[name] for name in form.kind.key]

    def narrow(selected: Select[Any]) -> Select[Any]:
        # Statements that insert the same unique values in different orders could deadlock.
        return selected.select_from(source).where(*given).order_by(*keys)

    return Parameters({name: source.c[name] for name in form.types}, form.shape, postgresql.insert, narrow)


def _array_of(type_: TypeEngine[Any]) -> postgresql.ARRAY[Any]:
    impl = type_.dialect_impl(postgresql.dialect())  # type: ignore[no-untyped-call]
    # A collation belongs to a column, not to the type of an array.
    return postgresql.ARRAY(Text() if isinstance(impl, String) else type_)
