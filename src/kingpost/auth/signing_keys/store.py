"""The port that stores signing keys."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.storage.effects import NO_EFFECTS, Effects


class SealedKey(msgspec.Struct, frozen=True):
    """A signing key at rest. `sealed` is the private key, encrypted with a key derived from the master secret."""

    id: str
    algorithm: str
    sealed: bytes
    created_at: str


class SigningKeyStore(Protocol):
    """The keys that sign access tokens, the same for every node."""

    async def list(self) -> Sequence[SealedKey]:
        """Return all keys, oldest first."""
        ...

    async def add_first(self, key: SealedKey) -> None:
        """Store a key if there is none. Of N concurrent calls exactly one stores its key."""
        ...

    async def add_after(self, newest_id: str, key: SealedKey, effects: Effects = NO_EFFECTS) -> bool:
        """Store a key if the newest one still has this id; return whether it was stored.

        Of N concurrent calls with one id exactly one stores its key.
        """
        ...

    async def remove(self, key_id: str, effects: Effects = NO_EFFECTS, *, superseded_by: str | None = None) -> bool:
        """Remove a key, unless it is the only one; return whether this call removed it.

        With `superseded_by`, the key is removed only if the key with that id exists. Of N concurrent calls with one
        id exactly one removes the key. Concurrent calls with different ids never remove the last key.
        """
        ...
