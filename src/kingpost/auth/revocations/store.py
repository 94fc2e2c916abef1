"""The port that reads recent changes of sessions and roles."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class RequireSession(msgspec.Struct, frozen=True):
    """The effect of a write that outlives the session which asks for it, such as a new API key.

    If the session has ended, also a moment ago on another node, the whole write is undone with `Unauthenticated`.
    """

    session_id: str


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
