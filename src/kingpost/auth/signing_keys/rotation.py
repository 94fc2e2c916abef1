"""The life of the keys that sign access tokens: published, then signing, then kept for what they signed, then gone."""

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
"""Days. Whoever asks for more means never, and gets dates that can be written."""
SLACK = 5 * 60
"""Seconds for which a key is kept beyond its last token: more than the clocks of nodes may differ by."""

type State = Literal["next", "signing", "verifying"]

logger = logging.getLogger("kingpost.key_rotation")


class KeyLife(msgspec.Struct, frozen=True):
    """Where a key stands. `verifies_until` is None for the newest: nothing will take its place yet."""

    id: str
    created_at: str
    state: State
    signs_from: str
    verifies_until: str | None


class KeyRotation:
    """Makes keys and takes them away, on behalf of the operator or by itself. Every node does; one of them wins.

    A key that is new or gone is known to this process with the next poll (`Revocations`), as it is to all others.
    """

    def __init__(
        self, stored: SigningKeyStore, ring: KeyRing, secret: MasterSecret, *, token_lifetime: int, rotation_days: int
    ) -> None:
        """Rotate the keys of a ring.

        Args:
            stored: where the keys are.
            ring: the keys as this process knows them.
            secret: what seals them.
            token_lifetime: seconds for which a token may be good after a key has signed it.
            rotation_days: how old the newest key may get; 0 never makes one without being asked.
        """
        self._stored = stored
        self._ring = ring
        self._secret = secret
        self._kept = token_lifetime + SLACK
        self._rotation_days = min(rotation_days, CENTURY)

    async def list(self) -> Sequence[KeyLife]:
        """All keys, oldest first."""
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
        """Make the next key. It signs once every cached JWKS holds it.

        Raises:
            Conflict: another node made one at the same moment, or one that is dated in the future.
        """
        await self._ring.load()
        newest = self._ring.keys[-1]
        if newest.created_at > clock.now():
            raise Conflict(
                f"The newest key was made at {newest.created_at}, in the future: check your machines' clocks"
            )
        made = await self._add_after(context, newest)
        if made is None:
            raise Conflict("Another key was made at the same moment")
        return next(life for life in await self.list() if life.id == made.id)

    async def retire(self, context: Context, key_id: str) -> KeyLife:
        """Remove a key at once: what it has signed is refused everywhere within a second. Return what signs now.

        Raises:
            NotFound: there is no such key.
            Conflict: it is the only one.
        """
        if not await self._remove(context, key_id):
            if not any(life.id == key_id for life in await self.list()):
                raise NotFound("There is no such signing key")
            raise Conflict("This is the only signing key: rotate first")
        return next(life for life in await self.list() if life.state == "signing")

    async def keep_up(self) -> None:
        """Make a key when the newest has grown old, and remove those that nothing good is signed with any more.

        Call it every few minutes on every node.

        Raises:
            Unavailable: the database does not answer.
        """
        await self._ring.keep_up()
        newest = self._ring.keys[-1]
        is_old = self._rotation_days > 0 and newest.created_at < clock.after(-self._rotation_days * DAY)
        if is_old and (made := await self._add_after(SYSTEM, newest)):
            logger.info("made signing key %s, the next to sign", made.id)
        long_ago = clock.after(-self._kept)
        for key, successor in pairwise(self._ring.keys):
            is_over = self._ring.signs_from(successor) < long_ago
            if is_over and await self._remove(SYSTEM, key.id, superseded_by=successor.id):
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
