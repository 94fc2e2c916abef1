"""Keyset pagination: a page starts behind the last row seen, found through an index.

`created_at` is sorted by `id`, which carries that time and is unique, so the default order needs no
column but the primary key.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, bindparam, or_, tuple_

from kingpost.model import Position, SortKey


class Order:
    """A total order over a table's rows: sort fields, made unique by the id."""

    def __init__(self, table: FromClause, sort: Sequence[SortKey], aliases: dict[str, str]) -> None:
        """Make the order.

        Args:
            table: the table; it has a unique column `id`.
            sort: fields and directions; never empty.
            aliases: fields that are sorted by another column.
        """
        self._terms: list[tuple[ColumnElement[Any], bool]] = []
        keys = (*sort, SortKey("id", sort[-1].descending))
        for key, following in zip_longest(keys, keys[1:]):
            alias = aliases.get(key.field, key.field)
            # The id stands for a time only where it decides between equal times as well.
            stands_in = alias != "id" or following == SortKey("id", key.descending)
            column = table.c[alias if stands_in else key.field]
            self._terms.append((column, key.descending))
            if column.name == "id":
                break
        self.columns = [column.name for column, _ in self._terms]

    def apply(self, statement: Select[Any], behind: bool) -> Select[Any]:
        """Sort a statement; if `behind`, keep only the rows behind the position in the parameters `p0`, `p1` …"""
        if behind:
            statement = statement.where(self._behind())
        return statement.order_by(*[column.desc() if down else column.asc() for column, down in self._terms])

    def parameters(self, position: Position | None) -> dict[str, str | int]:
        """The parameters that `apply(behind=True)` asks for."""
        return {f"p{index}": value for index, value in enumerate(position or ())}

    def _behind(self) -> ColumnElement[bool]:
        bounds = [bindparam(f"p{index}", type_=column.type) for index, (column, _) in enumerate(self._terms)]
        directions = {down for _, down in self._terms}
        if len(directions) == 1:
            # A row comparison is what both databases turn into one index seek.
            ours, theirs = tuple_(*[column for column, _ in self._terms]), tuple_(*bounds)
            return ours < theirs if directions.pop() else ours > theirs
        return or_(
            *[
                and_(
                    *[self._terms[before][0] == bounds[before] for before in range(index)],
                    column < bounds[index] if down else column > bounds[index],
                )
                for index, (column, down) in enumerate(self._terms)
            ]
        )
