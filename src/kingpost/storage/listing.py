"""The part of a list that a caller asks for."""

import msgspec

from kingpost.model import Position, SortKey


class Listing(msgspec.Struct, frozen=True):
    """The part of a list that a caller asks for.

    Attributes:
        sort: the sort order; never empty.
        limit: the maximum number of items.
        after: the position to continue after. A list with the same `sort` returned it.
        offset: the number of rows to skip instead.
        count: whether to also return the exact total.
    """

    sort: tuple[SortKey, ...]
    limit: int
    after: Position | None = None
    offset: int = 0
    count: bool = False
