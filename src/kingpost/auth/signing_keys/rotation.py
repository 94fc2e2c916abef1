"""Rotation of the keys that sign access tokens.

A key is first only published, then it signs, then it only verifies the tokens that it has signed. When the last of
these tokens has expired, the key is deleted.
"""

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import msgspec

from kingpost import audit, clock
from kingpost.auth.signing_keys.ring import KeyRing, SigningKey
from kingpost.auth.signing_keys.store import SigningKeyStore
from kingpost.model import SYSTEM, Context
from kingpost.problems import Conflict, NotFound
from kingpost.secret import MasterSecret

DAY = 24 * 60 * 60
CENTURY = 36_500
"""Days. Longer rotation periods are cut to this, so that date arithmetic does not overflow."""
SLACK = 5 * 60
"""Seconds for which a key is kept after its last token has expired: more than the clocks of nodes may differ."""

type State = Literal["next", "signing", "verifying"]

logger = logging.getLogger("kingpost.key_rotation")


class KeyLife(msgspec.Struct, frozen=True):
    """The state of a key. `verifies_until` is None for the newest key, which has no successor yet."""

    id: str
    created_at: str
    state: State
    signs_from: str
    verifies_until: str | None


class KeyRotation:
    """Creates and removes keys, for the operator or automatically. Every node does so; the database lets one win.

    All processes, including this one, learn of a new or removed key with their next poll (`Revocations`).
    """

    def __init__(
        self, stored: SigningKeyStore, ring: KeyRing, secret: MasterSecret, *, token_lifetime: int, rotation_days: int
    ) -> None:
        """Rotate the keys of a ring.

        Args:
            stored: the store of the keys.
            ring: the keys that this process has loaded.
            secret: encrypts the keys in the store.
            token_lifetime: seconds for which a token is valid after a key has signed it.
            rotation_days: the age in days at which the newest key gets a successor; 0 disables automatic rotation.
        """
        self._stored = stored
        self._ring = ring
        self._secret = secret
        self._kept = token_lifetime + SLACK
        self._rotation_days = min(rotation_days, CENTURY)

    async def list(self) -> Sequence[KeyLife]:
        """Return the states of all keys, oldest first."""
        await self._ring.load()
        keys, lives = self._ring.keys, []
        state: State = "verifying"
        for key, successor in zip(keys, [*keys[1:], None], strict=True):
            until = None if successor is None else clock.shifted(self._ring.signs_from(successor), self._kept)
            if state == "signing":
                state = "next"
            elif key is self._ring.signing_key():
                state = "signing"
            lives.append(KeyLife(key.id, key.created_at, state, self._ring.signs_from(key), until))
        return lives

    async def rotate(self, context: Context) -> KeyLife:
        """Create the next key. It starts to sign when every cached JWK set contains it.

        Raises:
            Conflict: another node has created a key concurrently, or the newest key has a creation time in the
                future.
        """
        await self._ring.load()
        newest = self._ring.keys[-1]
        if newest.created_at > clock.now():
            raise Conflict(
                f"The newest key was created at {newest.created_at}, in the future: check the clocks of your machines"
            )
        created = await self._add_after(context, newest)
        if created is None:
            raise Conflict("Another key was created at the same time")
        return next(life for life in await self.list() if life.id == created.id)

    async def retire(self, context: Context, key_id: str) -> KeyLife:
        """Remove a key immediately, and return the key that signs now.

        All nodes reject tokens of the removed key within a second.

        Raises:
            NotFound: no key has this id.
            Conflict: it is the only key.
        """
        if not await self._remove(context, key_id):
            if not any(life.id == key_id for life in await self.list()):
                raise NotFound("No signing key has this id")
            raise Conflict("This is the only signing key: rotate first")
        return next(life for life in await self.list() if life.state == "signing")

    async def keep_up(self) -> None:
        """Create a key if the newest one is due for rotation, and remove keys whose last token has expired.

        Call this every few minutes on every node.

        Raises:
            Unavailable: the database does not answer.
        """
        await self._ring.keep_up()
        newest = self._ring.keys[-1]
        is_old = self._rotation_days > 0 and newest.created_at < clock.after(-self._rotation_days * DAY)
        if is_old and (created := await self._add_after(SYSTEM, newest)):
            logger.info("created signing key %s, the next to sign", created.id)
        cutoff = clock.after(-self._kept)
        for key, successor in pairwise(self._ring.keys):
            has_expired = self._ring.signs_from(successor) < cutoff
            if has_expired and await self._remove(SYSTEM, key.id, superseded_by=successor.id):
                logger.info("removed signing key %s, whose last token has expired", key.id)
        await self._ring.keep_up()

    async def _add_after(self, context: Context, newest: SigningKey) -> SigningKey | None:
        key = SigningKey.generate()
        entry = audit.entry(context, "signing_key.created", "signing_key", key.id)
        added = await self._stored.add_after(newest.id, key.seal(self._secret), [entry])
        return key if added else None

    async def _remove(self, context: Context, key_id: str, *, superseded_by: str | None = None) -> bool:
        entry = audit.entry(context, "signing_key.retired", "signing_key", key_id)
        return await self._stored.remove(key_id, [entry], superseded_by=superseded_by)
