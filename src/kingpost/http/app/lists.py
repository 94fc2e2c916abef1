"""Queries of lists."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import END


def sorting(fields: frozenset[str]) -> Meta:
    known = "|".join(sorted(fields))
    return Meta(
        max_length=200,
        description="Fields, separated by commas; `-` before a field turns its order round.",
        examples=["-created_at,id"],
        pattern=f"^-?({known})(,-?({known}))*{END}",
    )


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list."""

    limit: Annotated[int, Meta(ge=1, le=100, description="How many items a page holds at most.")] = 20
    cursor: Annotated[str, Meta(max_length=2048, description="`next_cursor` of the page before.")] | None = None
    page: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="The page's number instead of a cursor, for the first 10,000 rows.",
                extra_json_schema={"maximum": 10_000},
            ),
        ]
        | None
    ) = None
    count: Annotated[Literal["exact"], Meta(description="Ask for `total` as well.")] | None = None
    sort: str = "-created_at"


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No query parameters."""
