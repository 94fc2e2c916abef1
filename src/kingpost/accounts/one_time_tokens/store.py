"""The port that stores the tokens that links in mail carry."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from kingpost.accounts.one_time_tokens.schemas import ExportedToken
from kingpost.model import User
from kingpost.storage.effects import NO_EFFECTS, Effects

type Purpose = Literal["verify-email", "change-email", "reset-password"]


class OneTimeToken(msgspec.Struct, frozen=True):
    """A token that a link in a mail carries, as it is stored. An account has one of each purpose at most.

    As an effect of a write, it replaces the account's older one of the same purpose. `email` is the address that the
    mail goes to. Presenting the token proves that one reads it.
    """

    user_id: str
    purpose: Purpose
    token_hash: bytes
    email: str
    email_key: str
    created_at: str
    expires_at: str


class Allowance(msgspec.Struct, frozen=True):
    """How often something may happen to an account: while the audit log has fewer than `most` entries about it
    with these actions since a time."""

    actions: tuple[str, ...]
    most: int
    since: str


class OneTimeTokenStore(Protocol):
    """Tokens that prove who reads a mailbox. Only hashes are known here.

    A token lives until it expires, is used, or is replaced by a newer one of its account and purpose. All but
    those for a change of address also die with the address that they were sent to.
    """

    async def issue(
        self,
        token: OneTimeToken,
        effects: Effects = NO_EFFECTS,
        *,
        kills: Sequence[Purpose] = (),
        allowance: Allowance | None = None,
    ) -> None:
        """Store a token in the place of the account's older one, and kill those of other purposes as well.

        If an allowance is given and used up, all that happens is the killing, and a `FinishJob` among the effects. Of N
        concurrent calls as many store their token as the allowance has left, if their effects count against it.

        Raises:
            NotFound: there is no such account.
        """
        ...

    async def renew(
        self, token: OneTimeToken, effects: Effects = NO_EFFECTS, *, allowance: Allowance | None = None
    ) -> bool:
        """As `issue`, if the account has a token of this purpose and address that lives at `token.created_at`.

        If it has none, nothing happens and the result is False.

        Raises:
            NotFound: there is no such account.
        """
        ...

    async def find(self, token_hash: bytes, at: str) -> tuple[OneTimeToken, User] | None:
        """The token with this hash and its account, if it lives at a time."""
        ...

    async def confirm_email(self, token_hash: bytes, at: str, effects: Effects = NO_EFFECTS) -> User | None:
        """Consume a token that verifies or changes an address; return the account as it is then.

        The account's address is the token's from now on, and verified. With a change of address all other
        tokens of the account die. None if there is no such token that lives at `at`: of N concurrent calls
        with one token exactly one consumes it.

        Raises:
            Conflict: another account has the address by now. The token lives on.
        """
        ...

    async def reset_password(
        self, token_hash: bytes, password_hash: str, at: str, effects: Effects = NO_EFFECTS
    ) -> tuple[User, Sequence[str]] | None:
        """Consume a token for a new password and set its hash; return the account and the ids of the ended sessions.

        All sessions end and all other tokens of the account die. The address counts as verified, since the
        token came by mail. The API keys go that were made before the address was proved for the first time: whoever
        signed up may have been another. None as for `confirm_email`.
        """
        ...

    async def forget_expired(self, before: str) -> None:
        """Drop the tokens that expired before a time."""
        ...

    async def export(self, user_id: str) -> Sequence[ExportedToken]:
        """Return the tokens of an account that were not used yet, oldest first, for its export."""
        ...
