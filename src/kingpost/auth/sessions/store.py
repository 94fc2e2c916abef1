"""The port that stores sessions."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from kingpost.auth.sessions.schemas import ExportedSession
from kingpost.model import Session, User
from kingpost.storage.effects import NO_EFFECTS, Effects

MAX_LISTED = 1_000
"""Sessions of an account that a list shows. An account can have any number, and a response is made in memory."""


class Rotation(msgspec.Struct, frozen=True):
    """The result of a successful refresh: the account, and the session after it."""

    user: User
    session: Session


class SessionStore(Protocol):
    """Sessions. Each is a family of refresh tokens, of which only the hashes are stored."""

    async def create(
        self,
        session: Session,
        token_hash: bytes,
        password_hash: str | None = None,
        effects: Effects = NO_EFFECTS,
        *,
        second_factor: bytes | None = None,
    ) -> None:
        """Store a new session whose first refresh token has this hash.

        With `password_hash`, the account must still have this password hash, and `second_factor` must be the
        encrypted secret of its confirmed second factor (None if it has none). So a login does not start a session if
        the password or the second factor has changed since the check.

        Raises:
            Unauthenticated: the account is gone or suspended, or its password or second factor has changed.
        """
        ...

    async def rotate(
        self,
        session_id: str,
        token_hash: bytes,
        successor_hash: bytes,
        at: str,
        repeatable_for: int,
        idle_since: str,
        if_reused: Callable[[str], Effects] = lambda user_id: NO_EFFECTS,
    ) -> Rotation | None:
        """Consume a refresh token and replace it by its successor.

        The token is consumed if it is the session's present one. If it is the predecessor of the present one and was
        consumed less than `repeatable_for` seconds ago, the same rotation is returned again and nothing changes. (The
        successor is derived from its predecessor, so it is the same one.) Of N concurrent calls with one token exactly
        one consumes it, and the others get the same rotation. These seconds are measured by the database's clock, so
        that nodes whose clocks differ agree about them.

        Any other token of the session has been stolen or was used long ago: the session ends, and the result is None.
        If the session was active, the effects that `if_reused` returns for the id of its account are stored, too.

        The result is also None if the session has ended, has expired or was last used before `idle_since`, or if its
        account is gone or suspended.

        Args:
            session_id: the session of the token.
            token_hash: the hash of the token.
            successor_hash: the hash of the token's successor.
            at: the time of the refresh.
            repeatable_for: the seconds for which a consumed token can be sent again.
            idle_since: the earliest last use of a session that has not expired.
            if_reused: returns the effects of a detected reuse.
        """
        ...

    async def find(self, session_id: str) -> Session | None:
        """Return a session that has not ended, or None. The session may have expired."""
        ...

    async def list(self, user_id: str, at: str, idle_since: str) -> Sequence[Session]:
        """Return the `MAX_LISTED` most recently used sessions of an account that are active at a time, newest first."""
        ...

    async def end(self, session_id: str, user_id: str | None, effects: Effects = NO_EFFECTS) -> str | None:
        """End one active session and return the id of its account, or None if there is no such session.

        With `user_id`, the session must belong to that account.
        """
        ...

    async def end_all(
        self,
        user_id: str,
        *,
        keep_session: str | None = None,
        only_with: str | None = None,
        effects: Effects = NO_EFFECTS,
    ) -> Sequence[str]:
        """End all sessions of an account, except `keep_session`, and return their ids.

        A pending change of address ends, too: a person in one of these sessions may have asked for it.

        With `only_with`, nothing happens unless this session of the account has not ended. Of N concurrent calls that
        name one session exactly one has an effect.
        """
        ...

    async def forget_expired(self, before: str) -> None:
        """Delete all sessions with an absolute expiry before a time."""
        ...

    async def export(self, user_id: str) -> Sequence[ExportedSession]:
        """Return all sessions of an account, including ended ones, oldest first, for its export."""
        ...
