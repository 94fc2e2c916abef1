"""The port that stores second factors and their recovery codes."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.auth.second_factor.schemas import ExportedSecondFactor
from kingpost.storage.effects import NO_EFFECTS, Effects


class SecondFactor(msgspec.Struct, frozen=True):
    """What an account has beside its password, or is about to have: `confirmed_at` is None until it is in force.

    `sealed` is the encrypted secret. No two enrolments share one, so it also tells which enrolment this is.
    """

    user_id: str
    sealed: bytes
    created_at: str
    confirmed_at: str | None
    last_step: int | None
    recovery_codes_left: int


class SecondFactorStore(Protocol):
    """At most one second factor an account. Codes are known here by their hash only."""

    async def begin(self, user_id: str, sealed: bytes, at: str) -> None:
        """Store an enrolment in the place of one that was begun before, if any.

        Raises:
            Conflict: the account has a confirmed one.
            Unauthenticated: the account is gone.
        """
        ...

    async def find(self, user_id: str) -> SecondFactor | None:
        """The account's second factor, confirmed or not, or None."""
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
        """Put an enrolment into force, with its recovery codes. `step` is that of the code that proved it.

        A login that runs at the same moment is either done before, or cannot start its session any more.

        Raises:
            Conflict: this is not (any more) the account's enrolment, or it has been confirmed. Of N concurrent
                calls exactly one succeeds.
        """
        ...

    async def use_step(self, user_id: str, sealed: bytes, step: int) -> bool:
        """Use up a time step, and with it the one code of it and all before; tell whether it was there to be used.

        It is not if the account has no such confirmed second factor, or this step or a later one was used. Of
        N concurrent calls with one step exactly one gets True.
        """
        ...

    async def use_recovery_code(self, user_id: str, code_hash: bytes, effects: Effects = NO_EFFECTS) -> int | None:
        """Use up a recovery code and return how many are left; None, and nothing else, if there is no such code.

        Of N concurrent calls with one code exactly one uses it.
        """
        ...

    async def remove(self, user_id: str, effects: Effects = NO_EFFECTS) -> bool:
        """Remove a confirmed second factor with its recovery codes; False, and nothing else, if there is none.

        Of N concurrent calls exactly one removes it.
        """
        ...

    async def export(self, user_id: str) -> ExportedSecondFactor | None:
        """Return the second factor of an account, confirmed or not, for its export."""
        ...
