"""Proof, from somebody who is signed in, to be the account's owner: a stolen access token is not enough."""

from kingpost import audit, clock
from kingpost.auth.passwords.hashing import PasswordHasher
from kingpost.guessing import Guessing
from kingpost.model import Origin, Principal
from kingpost.problems import Forbidden
from kingpost.storage import Sessions, Users
from kingpost.storage.audit import AuditLog

LATELY = 15 * 60
"""Seconds after a login for which it is proof enough of what needs no more than that."""


class Reauthentication:
    """Asks for the password again, before what a thief must not do."""

    def __init__(
        self, users: Users, sessions: Sessions, audit_log: AuditLog, hasher: PasswordHasher, guessing: Guessing
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._audit_log = audit_log
        self._hasher = hasher
        self._guessing = guessing

    async def prove(self, principal: Principal, password: str, origin: Origin) -> None:
        """Return if this is the password of the caller's account. One that is not is noted in the audit log.

        Raises:
            Forbidden: it is not.
            RateLimited: there were too many wrong ones.
            Unavailable: too many passwords are being checked.
        """
        user_id = principal.user_id
        async with await self._guessing.proof(user_id) as guess:
            if not await self._hasher.verify(await self._users.find_password_hash(user_id), password):
                await self.refuse(principal, "password", origin)
                raise Forbidden("The current password is wrong")
            await guess.succeeded()

    async def refuse(self, principal: Principal, reason: str, origin: Origin) -> None:
        """Note that somebody who is signed in failed to prove to be the owner: an intruder, perhaps."""
        entry = audit.entry("user.proof_refused", "user", principal.user_id, principal, origin, reason=reason)
        await self._audit_log.add(entry)

    async def prove_lately(self, principal: Principal, password: str | None, origin: Origin) -> None:
        """Return if this is the caller's password; without one, if its session was started a short while ago.

        Raises:
            Forbidden, RateLimited, Unavailable: as for `prove`.
        """
        if password is not None:
            await self.prove(principal, password, origin)
            return
        session = await self._sessions.find(principal.own_session)
        if session is None or session.created_at < clock.after(-LATELY):
            raise Forbidden("The login was too long ago: send your password too, or log in again")
