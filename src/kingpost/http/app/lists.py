"""Query parameters of lists."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kingpost.http.app.fields import END


def sorting(fields: frozenset[str]) -> Meta:
    """Return the constraints of a `sort` parameter that accepts these fields."""
    known = "|".join(sorted(fields))
    return Meta(
        max_length=200,
        description="The fields to sort by, separated by commas. `-` before a field sorts it in descending order.",
        examples=["-created_at,id"],
        pattern=f"^-?({known})(,-?({known}))*{END}",
    )


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query parameters of paging and sorting."""

    limit: Annotated[int, Meta(ge=1, le=100, description="Maximum number of items in a page.")] = 20
    cursor: Annotated[str, Meta(max_length=2048, description="The `next_cursor` of the previous page.")] | None = None
    page: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="The number of the page, instead of `cursor`. It reaches the first 10,000 rows only.",
                extra_json_schema={"maximum": 10_000},
            ),
        ]
        | None
    ) = None
    count: (
        Annotated[Literal["exact"], Meta(description="`exact` adds `total`, the number of items in the whole list.")]
        | None
    ) = None
    sort: str = "-created_at"


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No query parameters."""
