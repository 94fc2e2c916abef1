"""Which part of a list a caller wants."""

import msgspec

from kingpost.model import Position, SortKey


class Listing(msgspec.Struct, frozen=True):
    """Which part of a list a caller wants.

    Attributes:
        sort: the sort order; never empty.
        limit: how many items at most.
        after: the position after which to continue. It was returned by a list with the same `sort`.
        offset: how many rows to skip instead.
        count: whether to return the exact total as well.
    """

    sort: tuple[SortKey, ...]
    limit: int
    after: Position | None = None
    offset: int = 0
    count: bool = False
