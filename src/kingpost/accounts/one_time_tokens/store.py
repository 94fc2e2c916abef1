"""The port that stores one-time tokens."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from kingpost.accounts.one_time_tokens.schemas import ExportedToken
from kingpost.model import User
from kingpost.storage.effects import NO_EFFECTS, Effects

type Purpose = Literal["verify-email", "change-email", "stop-email-change", "reset-password"]


class OneTimeToken(msgspec.Struct, frozen=True):
    """A token that a link in a mail carries, as it is stored. An account has one of each purpose at most.

    As an effect of a write, it replaces the account's older one of the same purpose. `email` is the address that the
    mail goes to. Presenting the token proves that one reads it. `address` and `device` are those of the client that
    asked for it.
    """

    user_id: str
    purpose: Purpose
    token_hash: bytes
    email: str
    email_key: str
    created_at: str
    expires_at: str
    address: str | None = None
    device: str | None = None


class Allowance(msgspec.Struct, frozen=True):
    """A limit per account: a token may be issued while the audit log has fewer than `most` entries about the account
    with these actions since the time `since`."""

    actions: tuple[str, ...]
    most: int
    since: str


class OneTimeTokenStore(Protocol):
    """Tokens that prove access to a mailbox. Only their hashes are stored.

    A token is valid until it expires, is used, or is replaced by a newer one of its account and purpose. When the
    account's address changes, the tokens that were sent to the old address are revoked, except those with the
    purpose `change-email`. `stop-email-change` is sent to the old address when a new one is asked for.
    """

    async def issue(
        self,
        token: OneTimeToken,
        effects: Effects = NO_EFFECTS,
        *,
        kills: Sequence[Purpose] = (),
        allowance: Allowance | None = None,
    ) -> None:
        """Store a token, replacing the account's older one of the same purpose.

        If the allowance is used up, only `kills` and a `FinishJob` among the effects happen. Concurrent calls do not
        exceed the allowance, provided that their effects contain an entry that it counts.

        Args:
            token: the token to store.
            effects: stored in the same transaction.
            kills: revoke the account's tokens with these purposes, too.
            allowance: the limit, or None for no limit.

        Raises:
            NotFound: the account does not exist.
        """
        ...

    async def renew(
        self, token: OneTimeToken, effects: Effects = NO_EFFECTS, *, allowance: Allowance | None = None
    ) -> bool:
        """Issue a token if the account has one of this purpose and address that is valid at `token.created_at`.

        Return False, without any effect, if it has none. The allowance works as for `issue`.

        Raises:
            NotFound: the account does not exist.
        """
        ...

    async def find(self, token_hash: bytes, at: str) -> tuple[OneTimeToken, User] | None:
        """Return the token with this hash and its account, or None if no such token is valid at a time."""
        ...

    async def confirm_email(
        self,
        token_hash: bytes,
        at: str,
        effects: Effects = NO_EFFECTS,
        *,
        spared_by: str | None = None,
        if_removed: Effects = NO_EFFECTS,
    ) -> tuple[User, Sequence[str]] | None:
        """Consume a token that verifies or changes an address; return the account, and the ids of ended sessions.

        The account gets the token's address, as a verified one. A change of address revokes all other tokens of the
        account. Return None if no such token is valid at `at`. Of N concurrent calls with one token exactly one
        consumes it.

        If the address of the account was not verified before, another person may have signed up with it. What was set
        up before is removed in the same transaction: the second factor and its recovery codes, API keys, all sessions,
        and a pending change of address.

        Args:
            token_hash: the hash of the token.
            at: the time of the confirmation.
            effects: stored in the same transaction.
            spared_by: a session. If it is an active one of this account, nothing is removed.
            if_removed: stored only if there was anything to remove.

        Raises:
            Conflict: another account has the address. The token remains valid.
        """
        ...

    async def stop_change(self, token_hash: bytes, at: str, effects: Effects = NO_EFFECTS) -> User | None:
        """Consume a token that stops a pending change of address, and end the change; return the account.

        Return None as for `confirm_email`.
        """
        ...

    async def reset_password(
        self,
        token_hash: bytes,
        password_hash: str,
        at: str,
        effects: Effects = NO_EFFECTS,
        *,
        if_removed: Effects = NO_EFFECTS,
    ) -> tuple[User, Sequence[str]] | None:
        """Consume a token and set the password hash; return the account and the ids of the sessions that this ended.

        All sessions of the account end, its other tokens are revoked, and a pending change of address ends. Its
        address becomes verified, because the token was sent there. If it was not verified before, what was set up
        before is removed as by `confirm_email`. Return None as for `confirm_email`.
        """
        ...

    async def forget_expired(self, before: str) -> None:
        """Delete the tokens that expired before a time."""
        ...

    async def export(self, user_id: str) -> Sequence[ExportedToken]:
        """Return the tokens of an account that were not used yet, oldest first, for its export."""
        ...
