"""Entries of the audit log, and the actions that they record."""

from typing import Any, Literal

import msgspec

from kingpost import clock
from kingpost.model import ActorType, AuditEntry, Context, Principal, TargetType

type Action = Literal[
    "user.created",
    "user.changed",
    "user.deleted",
    "user.exported",
    "user.email_verified",
    "user.email_change_requested",
    "user.email_change_withdrawn",
    "user.email_change_stopped",
    "user.setup_removed",
    "user.verification_requested",
    "user.reset_requested",
    "user.password_changed",
    "user.password_reset",
    "user.proof_refused",
    "session.started",
    "session.refused",
    "session.ended",
    "session.refresh_token_reused",
    "second_factor.enabled",
    "second_factor.disabled",
    "second_factor.recovery_code_used",
    "api_key.created",
    "api_key.revoked",
    "signing_key.created",
    "signing_key.retired",
    "audit.exported",
]


def entry(
    context: Context, action: Action, target_type: TargetType, target_id: str | None, **details: Any
) -> AuditEntry:
    """Return an entry for an action that happens now.

    Args:
        context: the actor, and where the request comes from.
        action: the kind of action.
        target_type, target_id: the object of the action; the id is None if there is no such object (yet).
        details: fields that help an investigation. Never a secret, a name, or an address of any kind.
    """
    entry_id, now = clock.new_id()
    actor, origin = context.actor, context.origin
    actor_type: ActorType
    if isinstance(actor, Principal):
        actor_type, actor_id = "user", actor.user_id
        if actor.api_key_id is not None:
            actor_type = "api_key"
            details["api_key_id"] = actor.api_key_id
    else:
        actor_type, actor_id = actor or "anonymous", None
    return AuditEntry(
        entry_id,
        now,
        actor_type,
        actor_id,
        action,
        target_type,
        target_id,
        origin.address,
        origin.request_id,
        msgspec.Raw(msgspec.json.encode(details)),
    )
