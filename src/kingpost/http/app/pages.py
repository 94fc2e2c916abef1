"""Paging on the wire: from query parameters to a listing, and from a page to `next_cursor` and `Link`."""

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

DEEPEST_ROW = 10_000
"""How far page numbers reach: skipping rows costs time for each of them, a cursor costs nothing."""


class _Plan(NamedTuple):
    """What follows from a query alone, whoever sends it. `binding` and `link` still miss the caller and the cursor."""

    sort: tuple[SortKey, ...]
    offset: int
    binding: str
    link: str


def listing(call: Call) -> tuple[Listing, str]:
    """What is asked for, and the binding that this list's cursors have.

    A cursor is good for the same query by the same caller only; how many items a page has and whether they
    are counted may change on the way.

    Raises:
        InvalidRequest: `sort`, `cursor` or `page` break a rule.
    """
    query: ListQuery = call.query
    plan = _plan(call.raw_path, query)
    binding = f"{plan.binding} for {call.caller.user_id}"
    after = None if query.cursor is None else call.machine.cursors.decode(query.cursor, binding)
    return Listing(plan.sort, query.limit, after, plan.offset, query.count is not None), binding


def next_page(call: Call, position: Position | None, binding: str) -> tuple[str | None, list[Header]]:
    """`next_cursor` and the `Link` header (RFC 8288) of a page that ends at a position."""
    if position is None:
        return None, []
    cursor = call.machine.cursors.encode(position, binding)
    return cursor, [(b"link", f'<{_plan(call.raw_path, call.query).link}{cursor}>; rel="next"'.encode())]


# Clients ask the same questions again and again.
@lru_cache(maxsize=1024)
def _plan(path: str, query: ListQuery) -> _Plan:
    members = msgspec.structs.asdict(query)
    told = {name: value for name, value in members.items() if value is not None and name not in ("cursor", "page")}
    what = {name: value for name, value in told.items() if name not in ("limit", "count")}
    # Both spellings of a path are one endpoint, and have the same cursors.
    binding = repr((path.rsplit("/", 1)[-1], what))
    return _Plan(sort_keys(query.sort), _offset(query), binding, f"{path}?{urlencode(told)}&cursor=")


def _offset(query: ListQuery) -> int:
    if query.page is None:
        return 0
    if query.cursor is not None:
        raise InvalidRequest.of(Fault("Use either page or cursor", "exclusive", parameter="page"))
    if query.page * query.limit > DEEPEST_ROW:
        detail = f"Pages reach {DEEPEST_ROW} rows deep: use the cursor beyond that"
        raise InvalidRequest.of(Fault(detail, "too_deep", parameter="page"))
    return (query.page - 1) * query.limit


def sort_keys(text: str) -> tuple[SortKey, ...]:
    """A sort order as it is written: fields, separated by commas, `-` before one that descends.

    Raises:
        InvalidRequest: a field stands there twice.
    """
    keys = [SortKey(term.removeprefix("-"), term.startswith("-")) for term in text.split(",")]
    names = [key.field for key in keys]
    if len(set(names)) < len(names):
        raise InvalidRequest.of(Fault("A field stands here twice", "repeated", parameter="sort"))
    return tuple(keys)
