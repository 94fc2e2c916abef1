"""Which part of a list is wanted."""

import msgspec

from kingpost.model import Position, SortKey


class Listing(msgspec.Struct, frozen=True):
    """Which part of a list is wanted.

    `sort` is never empty. `after` continues behind a position (it was made by the same `sort`);
    `offset` skips rows instead. `count` asks for the exact total as well.
    """

    sort: tuple[SortKey, ...]
    limit: int
    after: Position | None = None
    offset: int = 0
    count: bool = False
