"""Paging: convert query parameters to a listing, and the end of a page to `next_cursor` and `Link`."""

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from kingpost.http.app.answers import Header
from kingpost.http.app.call import Call
from kingpost.http.app.lists import ListQuery
from kingpost.model import Position, SortKey
from kingpost.problems import Fault, InvalidRequest
from kingpost.storage.listing import Listing

MAX_PAGED_ROWS = 10_000
"""Rows that page numbers can reach. Skipping rows takes time for each of them, unlike a cursor."""


class _Plan(NamedTuple):
    """The parts of a listing that depend on the query only. `binding` lacks the caller, `link` lacks the cursor."""

    sort: tuple[SortKey, ...]
    offset: int
    binding: str
    link: str


def listing(call: Call) -> tuple[Listing, str]:
    """Return the listing that the query parameters ask for, and the binding of its cursors.

    A cursor is valid only for the same query and the same caller. `limit` and `count` may change between pages.

    Raises:
        InvalidRequest: `sort`, `cursor` or `page` is invalid.
    """
    query: ListQuery = call.query
    plan = _plan(call.raw_path, query)
    binding = f"{plan.binding} for {call.caller.user_id}"
    after = None if query.cursor is None else call.machine.cursors.decode(query.cursor, binding)
    return Listing(plan.sort, query.limit, after, plan.offset, query.count is not None), binding


def next_page(call: Call, position: Position | None, binding: str) -> tuple[str | None, list[Header]]:
    """Return `next_cursor` and the `Link` header (RFC 8288) of a page that ends at a position."""
    if position is None:
        return None, []
    cursor = call.machine.cursors.encode(position, binding)
    return cursor, [(b"link", f'<{_plan(call.raw_path, call.query).link}{cursor}>; rel="next"'.encode())]


# Clients repeat the same queries.
@lru_cache(maxsize=1024)
def _plan(path: str, query: ListQuery) -> _Plan:
    fields = msgspec.structs.asdict(query)
    linked = {name: value for name, value in fields.items() if value is not None and name not in ("cursor", "page")}
    bound = {name: value for name, value in linked.items() if name not in ("limit", "count")}
    # The path with a version and the path without one are the same endpoint and share cursors.
    binding = repr((path.rsplit("/", 1)[-1], bound))
    return _Plan(sort_keys(query.sort), _offset(query), binding, f"{path}?{urlencode(linked)}&cursor=")


def _offset(query: ListQuery) -> int:
    if query.page is None:
        return 0
    if query.cursor is not None:
        raise InvalidRequest.of(Fault("Use either `page` or `cursor`, not both", "exclusive", parameter="page"))
    if query.page * query.limit > MAX_PAGED_ROWS:
        detail = f"`page` reaches the first {MAX_PAGED_ROWS} rows only. Use `cursor` for the rows after them"
        raise InvalidRequest.of(Fault(detail, "too_deep", parameter="page"))
    return (query.page - 1) * query.limit


def sort_keys(text: str) -> tuple[SortKey, ...]:
    """Parse a sort order: fields separated by commas, with `-` before each descending one.

    Raises:
        InvalidRequest: a field is repeated.
    """
    keys = [SortKey(term.removeprefix("-"), term.startswith("-")) for term in text.split(",")]
    names = [key.field for key in keys]
    if len(set(names)) < len(names):
        raise InvalidRequest.of(Fault("`sort` must not repeat a field", "repeated", parameter="sort"))
    return tuple(keys)
