"""The port that stores password hashes."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.model import User
from kingpost.storage.effects import NO_EFFECTS, Effects


class Credentials(msgspec.Struct, frozen=True):
    """An account and its password hash."""

    user: User
    password_hash: str


class RequireProof(msgspec.Struct, frozen=True):
    """The effect of a write that rests on a proof of ownership, such as a new address.

    If the account no longer has the password hash and the second factor that were checked, the whole write is undone
    with `Forbidden`. The write must lock the account first. `second_factor` is the encrypted secret of the confirmed
    second factor, or None if there was none.
    """

    user_id: str
    password_hash: str
    second_factor: bytes | None


class CredentialStore(Protocol):
    """Password hashes of accounts. `email_key` is a normalised address."""

    async def find(self, user_id: str) -> User | None:
        """Return the account with this id, or None."""
        ...

    async def find_credentials(self, email_key: str) -> Credentials | None:
        """Return the account with this address and its password hash, or None."""
        ...

    async def find_password_hash(self, user_id: str) -> str | None:
        """Return the password hash of an account, or None if no account has this id."""
        ...

    async def change_password(
        self, user_id: str, password_hash: str, at: str, keep_session: str | None, effects: Effects = NO_EFFECTS
    ) -> Sequence[str]:
        """Set a password hash, and end all sessions of the account except `keep_session`; return their ids.

        This revokes the one-time token for a password reset, and ends a pending change of address. With a
        `RequireProof` among the effects, exactly one of N concurrent calls with one proof succeeds.

        Raises:
            NotFound: no account has this id.
        """
        ...

    async def upgrade_password_hash(self, user_id: str, old_hash: str, new_hash: str) -> None:
        """Replace a hash by another one of the same password, if the account still has the old hash.

        This does not change the account's version.
        """
        ...
