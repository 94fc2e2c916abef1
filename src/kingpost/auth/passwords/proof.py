"""Proof of ownership: a signed-in caller repeats the password, so that a stolen access token is not enough."""

from typing import Protocol

import msgspec

from kingpost import audit
from kingpost.audit.store import AuditStore
from kingpost.auth.passwords.hashing import PasswordHasher
from kingpost.auth.passwords.store import CredentialStore, RequireProof
from kingpost.auth.revocations.store import RequireSession
from kingpost.auth.throttling.service import Throttle
from kingpost.model import Context
from kingpost.problems import Fault, Forbidden, InvalidRequest, Unauthenticated
from kingpost.storage.effects import Effects


class Factor(Protocol):
    """A second factor, identified by its encrypted secret."""

    @property
    def sealed(self) -> bytes: ...


class FactorCodes(Protocol):
    """The part of `second_factor.codes.Codes` that this module needs. An import of that room would be circular."""

    async def find(self, user_id: str) -> Factor | None:
        """Return the second factor that logins require, or None."""
        ...

    async def passes(self, context: Context, user_id: str, sealed: bytes, otp: str) -> bool:
        """Use up a code; return whether it was valid."""
        ...


class Reauthentication:
    """Checks the password and the code of a signed-in caller."""

    def __init__(
        self,
        credentials: CredentialStore,
        codes: FactorCodes,
        audit_log: AuditStore,
        hasher: PasswordHasher,
        throttle: Throttle,
    ) -> None:
        self._credentials = credentials
        self._codes = codes
        self._audit_log = audit_log
        self._hasher = hasher
        self._throttle = throttle

    async def faults(self, context: Context, otp: str | None) -> list[Fault]:
        """Return the fault of a missing code, so that it can be reported together with others."""
        if otp or await self._codes.find(context.caller.user_id) is None:
            return []
        return [Fault("The account has a second factor: send a code, too", "required", pointer="/otp")]

    async def prove(self, context: Context, password: str, otp: str | None) -> Effects:
        """Check the password of the caller's account, and a code if it has a second factor.

        Return the effects that the write must carry. They demand that the account still has what was checked here,
        and that the caller's session is still active: a reset that came between makes the write fail. A wrong
        password or code is recorded in the audit log; a wrong password uses up no code.

        Raises:
            InvalidRequest: the code is missing.
            Forbidden: the password or the code is wrong.
            Unauthenticated: the account is gone.
            RateLimited: there were too many wrong passwords or codes.
            Unavailable: too many passwords are being checked.
        """
        if missing := await self.faults(context, otp):
            raise InvalidRequest.of(*missing)
        caller = context.caller
        factor = await self._codes.find(caller.user_id)
        credential_id = caller.session_id or caller.api_key_id or caller.user_id
        async with self._throttle.proof(credential_id, context.origin.address) as attempt:
            password_hash = await self._credentials.find_password_hash(caller.user_id)
            if password_hash is None:
                raise Unauthenticated("The account is gone")
            if not await self._hasher.verify(password_hash, password):
                raise await self._refused(context, "password", "The current password is wrong")
            attempt.succeed()
        if factor is not None and not await self._codes.passes(context, caller.user_id, factor.sealed, otp or ""):
            raise await self._refused(context, "second_factor", "The code is wrong or has been used")
        proof = RequireProof(caller.user_id, password_hash, None if factor is None else factor.sealed)
        effects: list[msgspec.Struct] = [proof]
        if caller.session_id is not None:
            effects.append(RequireSession(caller.session_id))
        return effects

    async def _refused(self, context: Context, reason: str, detail: str) -> Forbidden:
        """Record in the audit log that a signed-in caller, perhaps an intruder, failed to prove ownership."""
        entry = audit.entry(context, "user.proof_refused", "user", context.caller.user_id, reason=reason)
        await self._audit_log.add(entry)
        return Forbidden(detail)
