"""The port that stores signing keys."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.storage.effects import NO_EFFECTS, Effects


class SealedKey(msgspec.Struct, frozen=True):
    """A signing key at rest: the private part is encrypted, `sealed` means nothing without the master secret."""

    id: str
    algorithm: str
    sealed: bytes
    created_at: str


class SigningKeyStore(Protocol):
    """The keys that sign access tokens, the same for every node."""

    async def list(self) -> Sequence[SealedKey]:
        """All keys, oldest first."""
        ...

    async def add_first(self, key: SealedKey) -> None:
        """Store a key if there is none yet. Of N concurrent calls exactly one stores its key."""
        ...

    async def add_after(self, newest_id: str, key: SealedKey, effects: Effects = NO_EFFECTS) -> bool:
        """Store a key if the newest is still the one with this id; tell whether it was.

        Of N concurrent calls with one id exactly one stores its key.
        """
        ...

    async def remove(self, key_id: str, effects: Effects = NO_EFFECTS, *, superseded_by: str | None = None) -> bool:
        """Remove a key, unless it is the only one; tell whether this call did.

        Where `superseded_by` is given, that key must (still) be there. Of N concurrent calls with one id
        exactly one removes the key, and however many ids are removed at the same moment, one key stays.
        """
        ...
