"""The port that stores second factors and their recovery codes."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.auth.second_factor.schemas import ExportedSecondFactor
from kingpost.storage.effects import NO_EFFECTS, Effects


class SecondFactor(msgspec.Struct, frozen=True):
    """The second factor of an account. `confirmed_at` is None until it is enabled.

    `sealed` is the encrypted secret. It is unique, so it also identifies the enrolment.
    """

    user_id: str
    sealed: bytes
    created_at: str
    confirmed_at: str | None
    last_step: int | None
    recovery_codes_left: int


class SecondFactorStore(Protocol):
    """Second factors, at most one per account. Only the hashes of recovery codes are stored."""

    async def begin(self, user_id: str, sealed: bytes, at: str, effects: Effects = NO_EFFECTS) -> None:
        """Store an enrolment, replacing an unconfirmed one.

        Raises:
            Conflict: the account has a confirmed second factor.
            Unauthenticated: the account is gone.
        """
        ...

    async def find(self, user_id: str) -> SecondFactor | None:
        """Return the second factor of an account, confirmed or not, or None."""
        ...

    async def confirm(
        self,
        user_id: str,
        sealed: bytes,
        step: int,
        code_hashes: Sequence[bytes],
        at: str,
        effects: Effects = NO_EFFECTS,
    ) -> None:
        """Confirm an enrolment, and store its recovery codes.

        A concurrent login either starts its session before this, or fails.

        Args:
            user_id: the account.
            sealed: the encrypted secret, which identifies the enrolment.
            step: the time step of the first code, which is used up by this.
            code_hashes: the hashes of the recovery codes.
            at: the time of the confirmation.
            effects: stored in the same transaction.

        Raises:
            Conflict: the account has another enrolment or none, or it is confirmed already. Of N concurrent calls
                exactly one succeeds.
        """
        ...

    async def use_step(self, user_id: str, sealed: bytes, step: int) -> bool:
        """Use up the code of a time step and those of all steps before it; return whether it was unused.

        Return False if the account does not have this confirmed second factor, or if this step or a later one was
        used. A step that was used far in the future does not count: it comes from a clock that has been set back, and
        no code could be used until then. Of N concurrent calls with one step exactly one returns True.
        """
        ...

    async def use_recovery_code(self, user_id: str, code_hash: bytes, effects: Effects = NO_EFFECTS) -> int | None:
        """Use up a recovery code and return how many are left. Return None, without any effect, if it is not valid.

        Of N concurrent calls with one code exactly one uses it.
        """
        ...

    async def remove(self, user_id: str, effects: Effects = NO_EFFECTS) -> bool:
        """Remove a confirmed second factor and its recovery codes. Return False, without any effect, if there is none.

        Of N concurrent calls exactly one removes it.
        """
        ...

    async def export(self, user_id: str) -> ExportedSecondFactor | None:
        """Return the second factor of an account, confirmed or not, for its export."""
        ...
