"""What requests and responses about the audit log hold."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kingpost.audit.entries import Action
from kingpost.http.app.fields import END, Cursor, Id, Time
from kingpost.http.app.lists import ListQuery, sorting
from kingpost.model import ActorType, TargetType

AUDIT_SORT_FIELDS = frozenset({"id", "created_at"})

_ID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}" + END
_MOMENT = Meta(max_length=64, examples=["2026-11-22T10:15:30.123Z"], extra_json_schema={"format": "date-time"})

OfActor = Annotated[str, Meta(pattern=_ID, description="Only what this account did.")]
OfTarget = Annotated[str, Meta(pattern=_ID, description="Only what was done to this account or key.")]
OfAction = Annotated[Action, Meta(description="Only this kind of action.")]
Since = Annotated[str, _MOMENT, Meta(description="Only from this time on: RFC 3339, with any offset.")]
Until = Annotated[str, _MOMENT, Meta(description="Only before this time: RFC 3339, with any offset.")]


class AuditQuery(ListQuery, frozen=True, forbid_unknown_fields=True):
    """Which entries, and which part of their list."""

    sort: Annotated[str, sorting(AUDIT_SORT_FIELDS)] = "-created_at"
    actor: OfActor | None = None
    target: OfTarget | None = None
    action: OfAction | None = None
    since: Since | None = None
    until: Until | None = None


class AuditExportQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries."""

    actor: OfActor | None = None
    target: OfTarget | None = None
    action: OfAction | None = None
    since: Since | None = None
    until: Until | None = None


# Handlers answer with `model.AuditEntry` itself, which encodes as the same, its `details` handed through.
class AuditEntryBody(msgspec.Struct, frozen=True):
    """Who did what to what, when and from where. Never a secret, a name or an e-mail address."""

    id: Id
    created_at: Time
    actor_type: Annotated[
        ActorType,
        Meta(description="`operator` is the command line, `system` the server by itself, `anonymous` a stranger."),
    ]
    actor_id: Annotated[Id, Meta(description="The account that acted; of an API key its owner.")] | None
    action: Action
    target_type: TargetType
    target_id: Id | None
    address: (
        Annotated[
            str,
            Meta(
                description="Where the request came from; null once an account that it was by or about is deleted.",
                examples=["192.0.2.7"],
            ),
        ]
        | None
    )
    request_id: Annotated[str, Meta(examples=["019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"])] | None
    details: Annotated[dict[str, Any], Meta(description="More about it.", examples=[{"fields": ["name"]}])]


class AuditList(msgspec.Struct, frozen=True):
    """One page of the audit log."""

    items: list[AuditEntryBody]
    next_cursor: Cursor | None
    total: Annotated[int, Meta(ge=0, description="Only with `count=exact`.")] | UnsetType = UNSET
