"""The port that stores password hashes."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.model import User
from kingpost.storage.effects import NO_EFFECTS, Effects


class Credentials(msgspec.Struct, frozen=True):
    """What a login is checked against."""

    user: User
    password_hash: str


class CredentialStore(Protocol):
    """Password hashes of accounts. `email_key` is an address as it is compared."""

    async def find(self, user_id: str) -> User | None:
        """Return the account, or None."""
        ...

    async def find_credentials(self, email_key: str) -> Credentials | None:
        """The account with this address and its password hash, or None."""
        ...

    async def find_password_hash(self, user_id: str) -> str | None:
        """The password hash of an account, or None where there is no such account."""
        ...

    async def change_password(
        self, user_id: str, password_hash: str, at: str, keep_session: str | None, effects: Effects = NO_EFFECTS
    ) -> Sequence[str]:
        """Set a new password hash and end every session of the account (but one, if so wished); return their ids.

        One-time tokens for a new password or another address are killed with it.

        Raises:
            NotFound: there is no such account.
        """
        ...

    async def upgrade_password_hash(self, user_id: str, old_hash: str, new_hash: str) -> None:
        """Put another hash of the same password in the place of one, if that is still the account's. No new version."""
        ...
