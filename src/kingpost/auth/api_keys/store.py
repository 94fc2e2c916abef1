"""The port that stores API keys."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.model import User
from kingpost.storage.effects import NO_EFFECTS, Effects

USE_IS_NOTED_EVERY = 60
"""Seconds between two notes of when a key was last used."""


class APIKey(msgspec.Struct, frozen=True):
    """A machine's credentials. `hint` is the start of the key, to tell it by; the key itself is never stored."""

    id: str
    user_id: str
    name: str
    scopes: tuple[str, ...]
    hint: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class APIKeyStore(Protocol):
    """Credentials of machines. What they send is known here by its hash only, and no two share one."""

    async def create(self, key: APIKey, key_hash: bytes, most: int, effects: Effects = NO_EFFECTS) -> None:
        """Store a new key.

        Raises:
            Conflict: the account has `most` keys or more, expired ones included. However many are created at
                the same moment, it never gets more.
            Unauthenticated: the account is gone or suspended.
        """
        ...

    async def find(self, key_hash: bytes, at: str) -> tuple[APIKey, User] | None:
        """The key with this hash and its account, both of one moment.

        None if there is no such key, if it has expired at `at`, or if the account is suspended.
        """
        ...

    async def find_owner(self, key_id: str) -> str | None:
        """The id of the account that a key belongs to for good, expired or not; None if there is no such key."""
        ...

    async def list(self, user_id: str) -> Sequence[APIKey]:
        """All keys of an account, newest first, expired ones included."""
        ...

    async def note_use(self, key_id: str, at: str) -> None:
        """Note when a key was used, unless a use was noted in the minute before `at`.

        Of N concurrent calls one writes.
        """
        ...

    async def delete(self, key_id: str, effects: Effects = NO_EFFECTS) -> bool:
        """Delete a key; tell whether this call did. Of N concurrent calls exactly one does."""
        ...
