"""The port that reads recent changes of sessions and roles, and effects that depend on sessions."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost import audit
from kingpost.model import Context
from kingpost.storage.effects import Effects


class RequireSession(msgspec.Struct, frozen=True):
    """The effect of a write that outlives the session which asks for it, such as a new API key.

    If the session has ended, also a moment ago on another node, the whole write is undone with `Unauthenticated`.
    """

    session_id: str


class EndAPIKeys(msgspec.Struct, frozen=True):
    """The effect of a write that ends all API keys of an account, such as a logout everywhere.

    The write must end the account's sessions before its effects. Then no key escapes: one that is created at the same
    time is either deleted, or refused because its session has ended (`RequireSession`).
    """

    user_id: str


def end_of_api_keys(context: Context, user_id: str) -> Effects:
    """Return the effects that end all API keys of an account, and record this in the audit log."""
    return [audit.entry(context, "api_key.revoked", "user", user_id, api_keys="all"), EndAPIKeys(user_id)]


class RevocationStore(Protocol):
    """Ended sessions and changed roles, from all nodes."""

    async def ended_within(self, seconds: int) -> Sequence[str]:
        """Return the ids of the sessions that ended in the last `seconds`, by the database's clock."""
        ...

    async def roles_changed_within(self, seconds: int) -> Sequence[tuple[str, tuple[str, ...]]]:
        """Return id and roles of the accounts whose roles were set in the last `seconds`, by the database's clock."""
        ...

    async def find_roles(self, session_id: str, at: str) -> Sequence[str] | None:
        """Return the roles of a session's account, or None if the session has ended or expired at a time."""
        ...
