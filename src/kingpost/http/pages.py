"""Paging on the wire: from query parameters to a listing, and from a page to `next_cursor` and `Link`."""

from urllib.parse import urlencode

import msgspec

from kingpost.http.bodies import ListQuery
from kingpost.http.call import Call, Header
from kingpost.model import Position, SortKey
from kingpost.problems import Fault, InvalidRequest
from kingpost.storage import Listing

DEEPEST_ROW = 10_000
"""How far page numbers reach: skipping rows costs time for each of them, a cursor costs nothing."""


def listing(call: Call, sort_fields: frozenset[str]) -> tuple[Listing, str]:
    """What is asked for, and the binding that this list's cursors have.

    A cursor is good for the same query by the same caller only; how many items a page has and whether they
    are counted may change on the way.

    Raises:
        InvalidRequest: `sort`, `cursor` or `page` break a rule.
    """
    query: ListQuery = call.query
    sort = _sort(query.sort, sort_fields)
    binding = repr((call.raw_path.rsplit("/", 1)[-1], call.caller.user_id, _what(query)))
    if query.page is None:
        after = None if query.cursor is None else call.features.cursors.decode(query.cursor, binding)
        return Listing(sort, query.limit, after, 0, query.count is not None), binding
    if query.cursor is not None:
        raise InvalidRequest.of(Fault("Use either page or cursor", "exclusive", parameter="page"))
    if query.page * query.limit > DEEPEST_ROW:
        detail = f"Pages reach {DEEPEST_ROW} rows deep: use the cursor beyond that"
        raise InvalidRequest.of(Fault(detail, "too_deep", parameter="page"))
    return Listing(sort, query.limit, None, (query.page - 1) * query.limit, query.count is not None), binding


def next_page(call: Call, position: Position | None, binding: str) -> tuple[str | None, list[Header]]:
    """`next_cursor` and the `Link` header (RFC 8288) of a page that ends at a position."""
    if position is None:
        return None, []
    query: ListQuery = call.query
    cursor = call.features.cursors.encode(position, binding)
    told = _what(query) | {"limit": query.limit, "cursor": cursor}
    if query.count is not None:
        told["count"] = query.count
    return cursor, [(b"link", f'<{call.raw_path}?{urlencode(told)}>; rel="next"'.encode())]


def _what(query: ListQuery) -> dict[str, str | int]:
    """The parameters that decide which items are listed, and in which order."""
    members = msgspec.structs.asdict(query)
    return {n: v for n, v in members.items() if v is not None and n not in ("limit", "cursor", "page", "count")}


def _sort(text: str, known: frozenset[str]) -> tuple[SortKey, ...]:
    keys = [SortKey(term.removeprefix("-"), term.startswith("-")) for term in text.split(",")]
    names = [key.field for key in keys]
    if not known.issuperset(names):
        detail = f"Only {', '.join(sorted(known))} can be sorted by"
        raise InvalidRequest.of(Fault(detail, "unknown_field", parameter="sort"))
    if len(set(names)) < len(names):
        raise InvalidRequest.of(Fault("A field stands here twice", "repeated", parameter="sort"))
    return tuple(keys)
