"""Keyset pagination: a page starts after the last row of the page before, which an index finds.

The id carries the time of creation and is unique, so the default order by `created_at` needs only the primary key.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    func,
    or_,
    select,
    tuple_,
)

from kingpost.model import Page, Position, SortKey
from kingpost.storage.database import Database, Row, Statement
from kingpost.storage.listing import Listing


class Filter(NamedTuple):
    """One condition that a list may have. Its parameter has the name of the filter.

    Attributes:
        clause: the condition.
        pins: the column that must equal one value, if any.
        ranges: the column that has a bound, if any.
    """

    clause: ColumnElement[bool]
    pins: str | None = None
    ranges: str | None = None


class _Plan(NamedTuple):
    """A compiled page: the positions of its sort columns in a row, and whether an index seek finds it."""

    order: "Order"
    statement: Statement
    key: Sequence[int]
    is_seek: bool


class Pages[T]:
    """Reads pages of one table. Statements are compiled once for each combination of filters and order."""

    def __init__(
        self,
        database: Database,
        columns: Sequence[Column[Any]],
        value_of: Callable[[Row], T],
        *,
        filters: Mapping[str, Filter],
        aliases: Mapping[str, str],
    ) -> None:
        """Prepare to read pages.

        Args:
            columns: the columns of a row, all of one table.
            value_of: makes an item of a row that starts with these columns.
            filters: the conditions that a list may have.
            aliases: fields that are sorted by a column of another name.
        """
        self._database = database
        self._columns = columns
        self._value_of = value_of
        self._filters = filters
        self._aliases = aliases
        self._table: Table = columns[0].table
        self._plan = lru_cache(maxsize=256)(self._make_plan)
        self._count = lru_cache(maxsize=64)(self._make_count)

    async def list(self, listing: Listing, **given: Any) -> Page[T]:
        """Return a page of the rows that satisfy the given filters, and the total if the listing asks for it."""
        names = tuple(given)
        plan = self._plan(names, listing.sort, listing.after is not None)
        parameters = {"limit": listing.limit + 1, "offset": listing.offset, **plan.order.parameters(listing.after)}
        # A page that may have to read or sort a whole table must not delay short reads.
        fetch = self._database.read if plan.is_seek and not listing.offset else self._database.scan
        rows = await fetch(plan.statement(**given, **parameters))
        total = (await self._database.scan(self._count(names)(**given)))[0][0] if listing.count else None
        items = [self._value_of(row) for row in rows[: listing.limit]]
        if len(rows) <= listing.limit:
            return Page(items, None, total)
        last = rows[listing.limit - 1]
        return Page(items, tuple([last[place] for place in plan.key]), total)

    def _make_plan(self, names: tuple[str, ...], sort: tuple[SortKey, ...], is_continued: bool) -> _Plan:
        order = Order(self._table, sort, self._aliases)
        stored = [column.name for column in self._columns]
        # An order may need columns that an item does not have. They are at the end of the row.
        more = [name for name in order.columns if name not in stored]
        columns = [*self._columns, *[self._table.c[name] for name in more]]
        wanted = select(*columns).where(*[self._filters[name].clause for name in names])
        statement: Select[Any] = order.apply(wanted, is_continued)
        paged = statement.limit(bindparam("limit")).offset(bindparam("offset"))
        key = [[*stored, *more].index(name) for name in order.columns]
        return _Plan(order, Statement(paged, self._database.dialect), key, self._is_seek(names, order))

    def _make_count(self, names: tuple[str, ...]) -> Statement:
        clauses = [self._filters[name].clause for name in names]
        return Statement(select(func.count()).select_from(self._table).where(*clauses), self._database.dialect)

    def _is_seek(self, names: Sequence[str], order: "Order") -> bool:
        """Return whether one index leads to the first row of a page, and then to the others in their order."""
        filters = [self._filters[name] for name in names]
        pinned = {each.pins for each in filters if each.pins is not None}
        ranged = {each.ranges for each in filters if each.ranges is not None}
        if len(pinned) + len([each for each in filters if each.ranges]) < len(filters) or not order.is_uniform:
            return False
        if not ranged <= {order.columns[0]}:
            return False
        return any(
            _leads(index, pinned, order.columns, is_unique=is_unique) for index, is_unique in _indexes(self._table)
        )


def _leads(index: Sequence[str], pinned: set[str], order: Sequence[str], *, is_unique: bool) -> bool:
    """Return whether an index starts with the pinned columns, in any order, and continues with the sort columns.

    A unique index need not have all sort columns, because no two rows are equal in it.
    """
    first, rest = index[: len(pinned)], index[len(pinned) :]
    if set(first) != pinned or list(rest) != list(order[: len(rest)]):
        return False
    return len(rest) == len(order) or (is_unique and not pinned)


def _indexes(table: Table) -> Sequence[tuple[tuple[str, ...], bool]]:
    """Return the columns of all indexes of a table, and whether each is unique."""
    constraints = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
    unique = [table.primary_key, *constraints]
    return [
        *[(tuple(column.name for column in index.columns), bool(index.unique)) for index in table.indexes],
        *[(tuple(column.name for column in key.columns), True) for key in unique],
    ]


class Order:
    """A total order over a table's rows: sort fields, made unique by the id."""

    def __init__(self, table: Table, sort: Sequence[SortKey], aliases: Mapping[str, str]) -> None:
        """Resolve the sort fields.

        Args:
            table: the table; it has a unique column `id`.
            sort: fields and directions; never empty.
            aliases: fields that are sorted by another column.
        """
        self._terms: list[tuple[ColumnElement[Any], bool]] = []
        keys = (*sort, SortKey("id", sort[-1].descending))
        for key, following in zip_longest(keys, keys[1:]):
            alias = aliases.get(key.field, key.field)
            # The id replaces a time only if it also decides between equal times.
            stands_in = alias != "id" or following == SortKey("id", key.descending)
            column = table.c[alias if stands_in else key.field]
            self._terms.append((column, key.descending))
            if column.name == "id":
                break
        self.columns = [column.name for column, _ in self._terms]
        self.is_uniform = len({down for _, down in self._terms}) == 1
        """Whether all columns are sorted in the same direction."""

    def apply(self, statement: Select[Any], behind: bool) -> Select[Any]:
        """Return the statement, sorted. If `behind`, it returns only rows after the position in `p0`, `p1` …"""
        if behind:
            statement = statement.where(self._behind())
        return statement.order_by(*[column.desc() if down else column.asc() for column, down in self._terms])

    def parameters(self, position: Position | None) -> dict[str, str | int]:
        """Return the parameters that a statement of `apply(behind=True)` needs."""
        return {f"p{index}": value for index, value in enumerate(position or ())}

    def _behind(self) -> ColumnElement[bool]:
        bounds = [bindparam(f"p{index}", type_=column.type) for index, (column, _) in enumerate(self._terms)]
        if self.is_uniform:
            # Both databases turn a row comparison into one index seek.
            ours, theirs = tuple_(*[column for column, _ in self._terms]), tuple_(*bounds)
            return ours < theirs if self._terms[0][1] else ours > theirs
        return or_(
            *[
                and_(
                    *[self._terms[before][0] == bounds[before] for before in range(index)],
                    column < bounds[index] if down else column > bounds[index],
                )
                for index, (column, down) in enumerate(self._terms)
            ]
        )
