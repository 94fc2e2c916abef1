"""Query parameters and response bodies of the audit log."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kingpost.audit.entries import Action
from kingpost.http.app.fields import Cursor, Id, QueryId, Time
from kingpost.http.app.lists import ListQuery, sorting
from kingpost.model import ActorType, TargetType

AUDIT_SORT_FIELDS = frozenset({"id", "created_at"})

_MOMENT = Meta(max_length=64, examples=["2026-11-22T10:15:30.123Z"], extra_json_schema={"format": "date-time"})

OfActor = Annotated[QueryId, Meta(description="Only actions of this account.")]
OfTarget = Annotated[QueryId, Meta(description="Only actions on this account or key.")]
OfAction = Annotated[Action, Meta(description="Only actions of this kind.")]
Since = Annotated[str, _MOMENT, Meta(description="Only actions at or after this time: RFC 3339, with any offset.")]
Until = Annotated[str, _MOMENT, Meta(description="Only actions before this time: RFC 3339, with any offset.")]


class AuditQuery(ListQuery, frozen=True, forbid_unknown_fields=True):
    """Filters of the audit log, and the requested page."""

    sort: Annotated[str, sorting(AUDIT_SORT_FIELDS)] = "-created_at"
    actor: OfActor | None = None
    target: OfTarget | None = None
    action: OfAction | None = None
    since: Since | None = None
    until: Until | None = None


class AuditExportQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters of the audit log."""

    actor: OfActor | None = None
    target: OfTarget | None = None
    action: OfAction | None = None
    since: Since | None = None
    until: Until | None = None


# Handlers answer with `model.AuditEntry` itself: it encodes to the same JSON, and its `details` need no decoding.
class AuditEntryBody(msgspec.Struct, frozen=True):
    """An action: its actor, target, time and origin. It never contains a secret, a name or an e-mail address."""

    id: Id
    created_at: Time
    actor_type: Annotated[
        ActorType,
        Meta(
            description="`operator` is the command line, `system` is the server itself, "
            "`anonymous` is a client without credentials."
        ),
    ]
    actor_id: Annotated[Id, Meta(description="The account that acted; for an API key, its owner.")] | None
    action: Action
    target_type: TargetType
    target_id: Id | None
    address: (
        Annotated[
            str,
            Meta(
                description="The client's IP address. Becomes null when the acting or the affected account is deleted.",
                examples=["192.0.2.7"],
            ),
        ]
        | None
    )
    request_id: Annotated[str, Meta(examples=["019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"])] | None
    details: Annotated[
        dict[str, Any],
        Meta(description="Details of the action; the fields depend on `action`.", examples=[{"fields": ["name"]}]),
    ]


class AuditList(msgspec.Struct, frozen=True):
    """One page of the audit log."""

    items: list[AuditEntryBody]
    next_cursor: Cursor | None
    total: Annotated[int, Meta(ge=0, description="Only with `count=exact`.")] | UnsetType = UNSET
