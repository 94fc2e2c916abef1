"""The port that stores sessions."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from kingpost.auth.sessions.schemas import ExportedSession
from kingpost.model import Session, User
from kingpost.storage.effects import NO_EFFECTS, Effects


class Rotation(msgspec.Struct, frozen=True):
    """A refresh that succeeded. `session` is as after it."""

    user: User
    session: Session


class SessionStore(Protocol):
    """Sign-ins, each a family of refresh tokens of which only hashes are known here."""

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

        Where `password_hash` is given, it must still be the account's, and `second_factor` what is sealed of its
        confirmed second factor (None: it has none). So a login starts nothing that was checked against a
        password which has been changed meanwhile, or before a second factor came into force.

        Raises:
            Unauthenticated: the account is gone or suspended, or has got another password or second factor.
        """
        ...

    async def rotate(
        self,
        session_id: str,
        token_hash: bytes,
        successor_hash: bytes,
        at: str,
        not_before: str,
        idle_since: str,
        if_reused: Callable[[str], Effects] = lambda user_id: NO_EFFECTS,
    ) -> Rotation | None:
        """Consume a refresh token and put its successor in its place.

        The token with `token_hash` is consumed if it is the session's present one. If it is the parent of
        the present one and was consumed at `not_before` or later, the same rotation is returned again and
        nothing changes (the successor is derived from the parent, so it is the same one). Of N concurrent
        calls with one token exactly one consumes it, the others get the same rotation.

        Any other token of the session is stolen or long used: the session ends, and None is returned. If that
        ended a session which was in use, what `if_reused` makes of its account's id is stored with it.
        None also if the session has ended, has expired, was last used before `idle_since`, or its account
        is gone or suspended.
        """
        ...

    async def find(self, session_id: str) -> Session | None:
        """The session, unless it has ended; it may have expired."""
        ...

    async def list(self, user_id: str, at: str, idle_since: str) -> Sequence[Session]:
        """The account's sessions that are alive at `at`, latest use first."""
        ...

    async def end(self, session_id: str, user_id: str | None, effects: Effects = NO_EFFECTS) -> str | None:
        """End one living session and return its account's id; None if there is no such living session.

        Where `user_id` is given, the session must be that account's.
        """
        ...

    async def end_all(
        self, user_id: str, *, keep_session: str | None = None, effects: Effects = NO_EFFECTS
    ) -> Sequence[str]:
        """End all sessions of an account, but one if so wished, and return their ids."""
        ...

    async def forget_expired(self, before: str) -> None:
        """Drop all sessions whose absolute end lies before a time."""
        ...

    async def export(self, user_id: str) -> Sequence[ExportedSession]:
        """Return all sessions of an account, ended ones included, oldest first, for its export."""
        ...
