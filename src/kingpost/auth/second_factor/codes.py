"""Verification of codes: of the authenticator app, and recovery codes."""

import logging
import time
from collections.abc import Callable

from kingpost import audit
from kingpost.auth.second_factor import totp
from kingpost.auth.second_factor.recovery_codes import RecoveryCodes
from kingpost.auth.second_factor.store import SecondFactor, SecondFactorStore
from kingpost.auth.second_factor.totp import TOTPSealer, UnreadableSecret
from kingpost.auth.throttling.service import Throttle
from kingpost.model import Context

logger = logging.getLogger("kingpost.second_factor")


class Codes:
    """Verifies codes of second factors. Each code works once."""

    def __init__(
        self,
        stored: SecondFactorStore,
        sealer: TOTPSealer,
        recovery_codes: RecoveryCodes,
        throttle: Throttle,
        *,
        seconds: Callable[[], float] = time.time,
    ) -> None:
        """`seconds` returns the seconds since 1970."""
        self._stored = stored
        self._sealer = sealer
        self._recovery_codes = recovery_codes
        self._throttle = throttle
        self._seconds = seconds

    async def find(self, user_id: str) -> SecondFactor | None:
        """Return the confirmed second factor of an account, which logins require, or None."""
        factor = await self._stored.find(user_id)
        return None if factor is None or factor.confirmed_at is None else factor

    async def passes(self, context: Context, user_id: str, sealed: bytes, otp: str) -> bool:
        """Use up a code of the app or a recovery code; return whether it was valid.

        `sealed` is the encrypted secret of the account's second factor.

        Raises:
            RateLimited: there were too many wrong codes.
        """
        async with self._throttle.code(user_id, context.origin.address) as attempt:
            is_valid = await self._use(context, user_id, sealed, otp)
            if is_valid:
                attempt.succeed()
            return is_valid

    def matching_step(self, user_id: str, sealed: bytes, otp: str) -> int | None:
        """Return the time step whose code of the app this is, or None. The code is not used up."""
        try:
            secret = self._sealer.open(user_id, sealed)
        except UnreadableSecret as error:
            # No code of the app can be verified then, but recovery codes still work.
            logger.error("%s", error)
            return None
        return totp.matching_step(secret, otp, self._seconds())

    async def _use(self, context: Context, user_id: str, sealed: bytes, otp: str) -> bool:
        step = self.matching_step(user_id, sealed, otp)
        if step is not None:
            return await self._stored.use_step(user_id, sealed, step)
        entry = audit.entry(context, "second_factor.recovery_code_used", "user", user_id)
        code_hash = self._recovery_codes.hash(user_id, otp)
        return await self._stored.use_recovery_code(user_id, code_hash, [entry]) is not None
