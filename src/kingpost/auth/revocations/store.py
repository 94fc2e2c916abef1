"""The port that finds out what ended or changed on any node."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class RequireSession(msgspec.Struct, frozen=True):
    """The effect of a write that outlives the session which asks for it, such as a new API key.

    If the session has ended, also a moment ago on another node, the whole write is undone with `Unauthenticated`.
    """

    session_id: str


class RevocationStore(Protocol):
    """Sessions that ended and roles that were set, as the database knows them."""

    async def ended_within(self, seconds: int) -> Sequence[str]:
        """The ids of the sessions that ended in the last so many seconds, by the database's own clock."""
        ...

    async def roles_changed_within(self, seconds: int) -> Sequence[tuple[str, tuple[str, ...]]]:
        """The accounts whose roles were set in the last so many seconds, by the database's own clock: ids and roles."""
        ...

    async def find_roles(self, session_id: str, at: str) -> Sequence[str] | None:
        """Return the roles of a session's account, or None if the session has ended or expired at a time."""
        ...
