"""Keyset pagination: a page starts after the last row of the page before, which an index finds.

The id carries the time of creation and is unique, so the default order by `created_at` needs only the primary key.

A page is bounded in bytes, too, because it is put together in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    tuple_,
)

from kingpost.model import Page, Position, SortKey
from kingpost.storage.database import Database, Row, Statement
from kingpost.storage.listing import Listing

MAX_PAGE_BYTES = 8 * 1024 * 1024
"""Maximum size of the documents in a page, unless the first one alone is larger."""


SHORT = 20
"""Rows of a page that are read before they are measured: a few times `MAX_PAGE_BYTES` at most."""


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
    """A compiled page: the positions of its sort columns in a row, and whether an index seek finds it.

    `bounded` is the statement for pages with large documents, if the table has documents.
    """

    order: "Order"
    statement: Statement
    bounded: Statement | None
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
        document: Column[str] | None = None,
        max_bytes: int = MAX_PAGE_BYTES,
    ) -> None:
        """Prepare to read pages.

        Args:
            columns: the columns of a row, all of one table.
            value_of: makes an item of a row that starts with these columns.
            filters: the conditions that a list may have.
            aliases: fields that are sorted by a column of another name.
            document: the column that may be large. A page ends early before its documents exceed `max_bytes` in total.
            max_bytes: the maximum size of a page; a single document may be larger.
        """
        self._database = database
        self._document = document
        self._document_place = 0 if document is None else [*columns].index(document)
        self._max_bytes = max_bytes
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
        plan = self._plan(names, listing.sort, listing.after is not None, listing.limit <= SHORT)
        parameters = {"limit": listing.limit + 1, "offset": listing.offset, **plan.order.parameters(listing.after)}
        # A page that may have to read or sort a whole table must not delay short reads.
        fetch = self._database.read if plan.is_seek and not listing.offset else self._database.scan
        rows = await fetch(plan.statement(**given, **parameters, share=self._max_bytes // (listing.limit + 1)))
        whole = rows[: listing.limit]
        if plan.bounded is not None and self._may_be_too_large(rows):
            rows = await self._database.scan(plan.bounded(**given, **parameters))
            whole = self._whole(rows[: listing.limit])
        total = (await self._database.scan(self._count(names)(**given)))[0][0] if listing.count else None
        items = [self._value_of(row) for row in whole]
        if len(rows) == len(whole):
            return Page(items, None, total)
        last = whole[-1]
        return Page(items, tuple([last[place] for place in plan.key]), total, len(whole) < listing.limit)

    def _make_plan(
        self, names: tuple[str, ...], sort: tuple[SortKey, ...], is_continued: bool, is_short: bool
    ) -> _Plan:
        order = Order(self._table, sort, self._aliases)
        stored = [column.name for column in self._columns]
        # An order may need columns that an item does not have. They are at the end of the row.
        more = [name for name in order.columns if name not in stored]
        columns = [*self._columns, *[self._table.c[name] for name in more]]
        wanted = select(*columns).where(*[self._filters[name].clause for name in names])
        statement: Select[Any] = order.apply(wanted, is_continued)
        paged = statement.limit(bindparam("limit")).offset(bindparam("offset"))
        dialect = self._database.dialect
        bounded = None if self._document is None else Statement(self._bounded(paged, order, self._document), dialect)
        if self._document is not None and not is_short:
            paged = self._without_large(paged, columns, self._document)
        key = [[*stored, *more].index(name) for name in order.columns]
        return _Plan(order, Statement(paged, dialect), bounded, key, self._is_seek(names, order))

    def _without_large(self, page: Select[Any], columns: Sequence[Column[Any]], document: Column[str]) -> Select[Any]:
        """Return the statement with NULL instead of each document that is larger than its share of a page.

        Both databases know the length of a stored text without reading it. Nearly all pages have no such document, and
        adding up lengths in SQL would cost as much as the rest of the page. Short pages are measured when they are
        there, because even this comparison costs 5% of them.
        """
        is_small = func.octet_length(document) <= bindparam("share", type_=Integer)
        shown = case((is_small, document)).label(document.name)
        return page.with_only_columns(*[shown if column is document else column for column in columns])

    def _bounded(self, page: Select[Any], order: "Order", stored: Column[str]) -> Select[Any]:
        """Return the statement with NULL instead of the documents that would make the page too large."""
        rows = page.subquery("page")
        document = rows.c[stored.name]
        length = func.octet_length(document)
        up_to_here = func.sum(length).over(order_by=order.terms(rows), rows=(None, 0))
        fits = or_(up_to_here <= self._max_bytes, up_to_here == length)  # The first one always fits.
        columns = [case((fits, document)).label(c.name) if c is document else c for c in rows.c]
        return select(*columns).order_by(*order.terms(rows))

    def _may_be_too_large(self, rows: Sequence[Row]) -> bool:
        """Return whether a document was left out, or the documents may have too many bytes, at four a character."""
        documents = [row[self._document_place] for row in rows]
        return None in documents or 4 * sum(map(len, documents)) > self._max_bytes

    def _whole(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows before the first one whose document a statement has left out."""
        left_out = [index for index, row in enumerate(rows) if row[self._document_place] is None]
        return rows[: left_out[0]] if left_out else rows

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

    def terms(self, rows: FromClause) -> Sequence[ColumnElement[Any]]:
        """Return the same order over the result of a statement that has the sort columns."""
        columns = [(rows.c[column.name], down) for column, down in self._terms]
        return [column.desc() if down else column.asc() for column, down in columns]

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
