"""Reauthentication: proof that a signed-in caller owns the account, so that a stolen access token is not enough."""

from typing import Protocol

from kingpost import audit, clock
from kingpost.audit.store import AuditStore
from kingpost.auth.passwords.hashing import PasswordHasher
from kingpost.auth.passwords.store import CredentialStore
from kingpost.auth.throttling.service import Throttle
from kingpost.model import Context, Session
from kingpost.problems import Forbidden

FRESH_LOGIN = 15 * 60
"""Seconds after a login for which no password is required to enrol a second factor."""


class SessionFinder(Protocol):
    """The part of `SessionStore` that this module needs. A dependency on the whole store would be circular."""

    async def find(self, session_id: str) -> Session | None:
        """Return the session, or None if it has ended."""
        ...


class Reauthentication:
    """Checks the password of a signed-in caller."""

    def __init__(
        self,
        credentials: CredentialStore,
        sessions: SessionFinder,
        audit_log: AuditStore,
        hasher: PasswordHasher,
        throttle: Throttle,
    ) -> None:
        self._credentials = credentials
        self._sessions = sessions
        self._audit_log = audit_log
        self._hasher = hasher
        self._throttle = throttle

    async def prove(self, context: Context, password: str) -> None:
        """Check the password of the caller's account. A wrong one is recorded in the audit log.

        Raises:
            Forbidden: the password is wrong.
            RateLimited: there were too many wrong passwords.
            Unavailable: too many passwords are being checked.
        """
        user_id = context.caller.user_id
        async with self._throttle.proof(user_id) as attempt:
            if not await self._hasher.verify(await self._credentials.find_password_hash(user_id), password):
                await self.refuse(context, "password")
                raise Forbidden("The current password is wrong")
            attempt.succeed()

    async def refuse(self, context: Context, reason: str) -> None:
        """Record in the audit log that a signed-in caller, perhaps an intruder, failed to prove ownership."""
        entry = audit.entry(context, "user.proof_refused", "user", context.caller.user_id, reason=reason)
        await self._audit_log.add(entry)

    async def prove_lately(self, context: Context, password: str | None) -> None:
        """Check the caller's password. None is accepted if the session started less than `FRESH_LOGIN` seconds ago.

        Raises:
            Forbidden: the password is wrong, or missing in an older session.
            RateLimited, Unavailable: as for `prove`.
        """
        if password is not None:
            await self.prove(context, password)
            return
        session = await self._sessions.find(context.caller.own_session)
        if session is None or session.created_at < clock.after(-FRESH_LOGIN):
            raise Forbidden("The login was too long ago: send your password, too, or log in again")
