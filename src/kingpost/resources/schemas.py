"""Query parameters, and request and response bodies of resources."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kingpost.http.app.fields import END, ID_PATTERN, LOWERED, Cursor, Id, Time
from kingpost.http.app.lists import ListQuery, sorting

TypeName = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z][A-Za-z0-9_.-]{0,62}" + END,
        description="The type of the resource: a letter, then letters, digits, `_`, `.` and `-`.",
        examples=["movie"],
    ),
]

Data = Annotated[
    dict[str, Any],
    Meta(description="The document itself: any JSON object.", examples=[{"title": "Alien", "year": 1979}]),
]


class CreateResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new resource."""

    type: TypeName
    data: Data


class ReplaceResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """New data of a resource. `type` is optional and must be the type of the resource: it cannot be changed."""

    data: Data
    type: TypeName | None = None


class PatchResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A merge patch (RFC 7396): fields of `data` are set, objects are merged, `null` removes a field."""

    data: Annotated[Data, Meta(examples=[{"year": 1980, "draft": None}])] | UnsetType = UNSET


# Handlers answer with `model.Resource` itself: it encodes to the same JSON, and its `data` needs no decoding.
class ResourceBody(msgspec.Struct, frozen=True):
    """A document with an owner. `version` counts its changes and is its `ETag`."""

    id: Id
    type: TypeName
    owner_id: Id
    data: Data
    version: Annotated[int, Meta(ge=1, examples=[1])]
    created_at: Time
    updated_at: Time


class ResourceList(msgspec.Struct, frozen=True):
    """One page of resources."""

    items: list[ResourceBody]
    next_cursor: Cursor | None
    total: Annotated[int, Meta(ge=0, description="Only with `count=exact`.")] | UnsetType = UNSET


RESOURCE_SORT_FIELDS = frozenset({"id", "type", "owner_id", "version", "created_at", "updated_at"})


class ResourceQuery(ListQuery, frozen=True, forbid_unknown_fields=True):
    """Filters of resources, and the requested page."""

    sort: Annotated[str, sorting(RESOURCE_SORT_FIELDS)] = "-created_at"
    type: Annotated[TypeName, Meta(description="Only resources of this type.")] | None = None
    owner: (
        Annotated[
            str,
            Meta(
                pattern=f"^(me|{ID_PATTERN}){END}",
                extra={LOWERED: "be `me` or a UUID"},
                description="Only resources of this account; `me` means the caller's own.",
            ),
        ]
        | None
    ) = None
