"""The port that stores API keys."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.model import User
from kingpost.storage.effects import NO_EFFECTS, Effects

USE_IS_NOTED_EVERY = 60
"""Minimum seconds between two updates of the last use of a key."""


class APIKey(msgspec.Struct, frozen=True):
    """The record of a key. `hint` is the first characters of the key; the key itself is never stored.

    `expires_at` is at most a year after `created_at`.
    """

    id: str
    user_id: str
    name: str
    scopes: tuple[str, ...]
    hint: str
    created_at: str
    expires_at: str
    last_used_at: str | None


class APIKeyStore(Protocol):
    """API keys. Only their hashes are stored, and each hash is unique."""

    async def create(self, key: APIKey, key_hash: bytes, most: int, effects: Effects = NO_EFFECTS) -> None:
        """Store a new key.

        Raises:
            Conflict: the account has `most` keys or more, including expired ones. Concurrent calls do not exceed
                this limit.
            Unauthenticated: the account is gone or suspended.
        """
        ...

    async def find(self, key_hash: bytes, at: str) -> tuple[APIKey, User] | None:
        """Return the key with this hash and its account, read in one statement.

        Return None if no key has this hash, if it has expired at `at`, or if the account is suspended.
        """
        ...

    async def find_owner(self, key_id: str) -> str | None:
        """Return the id of the account that owns a key, or None if no key has this id. The owner never changes."""
        ...

    async def list(self, user_id: str) -> Sequence[APIKey]:
        """Return all keys of an account, newest first, including expired ones."""
        ...

    async def note_use(self, key_id: str, at: str) -> None:
        """Store the last use of a key, unless a use was stored within `USE_IS_NOTED_EVERY` seconds before `at`.

        Of N concurrent calls exactly one writes.
        """
        ...

    async def delete(self, key_id: str, effects: Effects = NO_EFFECTS) -> bool:
        """Delete a key; return whether this call deleted it. Of N concurrent calls exactly one does."""
        ...
