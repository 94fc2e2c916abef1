"""An in-memory cache of recent revocations: ended sessions, changed roles, removed signing keys.

An access token is valid for minutes after its session has ended or the account's roles have changed, so each request
is checked against this cache. A process adds its own writes at once. It learns of writes of other nodes by polling
the database several times a second for the changes of the last half minute. Consecutive polls overlap, so that a
transaction that becomes visible late is not missed. When no poll has succeeded for a second, the process no longer
relies on the cache and looks up each token in the database. The same polls reload the signing keys.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable

from msgspec import structs

from kingpost import clock
from kingpost.auth.revocations.store import RevocationStore
from kingpost.auth.signing_keys.ring import KeyRing
from kingpost.model import Principal
from kingpost.problems import Unauthenticated, Unavailable

POLL_EVERY = 0.3
"""Seconds between two polls. With `TRUSTED_FOR`, a revocation takes effect on all nodes within one second."""
TRUSTED_FOR = 1.0
"""Seconds after the start of a successful poll for which the cache is trusted."""
OVERLAP = 30
"""Seconds that each poll looks back: longer than a transaction may take."""

logger = logging.getLogger("kingpost.revocations")


class Revocations:
    """The recently ended sessions and the recently changed roles that this process knows."""

    def __init__(self, stored: RevocationStore, keys: KeyRing, remember_for: int) -> None:
        """`remember_for` is the lifetime of access tokens, in seconds. Older revocations have no effect."""
        self._stored = stored
        self._keys = keys
        self._remember_for = remember_for
        self._ended: dict[str, float] = {}
        self._roles: dict[str, tuple[frozenset[str], float]] = {}
        self._trusted_until = 0.0
        self._polling: asyncio.Task[None] | None = None
        self._callbacks: list[Callable[[str], None]] = []

    async def start(self) -> None:
        """Load the revocations that still matter, then poll for new ones in the background.

        Raises:
            Unavailable: the database does not answer.
        """
        await self._poll(self._remember_for + OVERLAP)
        self._polling = asyncio.create_task(self._keep_up())

    async def stop(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling

    def add(self, session_ids: Iterable[str]) -> None:
        """Add sessions that have ended."""
        forget_at = time.monotonic() + self._remember_for
        self._ended.update(dict.fromkeys(session_ids, forget_at))

    def set_roles(self, user_id: str, roles: Iterable[str]) -> None:
        """Add the new roles of an account."""
        self._roles[user_id] = frozenset(roles), time.monotonic() + self._remember_for

    def account_changed(self, user_id: str) -> None:
        """Report that this process has changed or deleted an account, so that caches can drop it."""
        for callback in self._callbacks:
            callback(user_id)

    def when_account_changes(self, callback: Callable[[str], None]) -> None:
        """Register a callback that gets the id of each account that this process changes or deletes."""
        self._callbacks.append(callback)

    def present(self, principal: Principal) -> Principal | None:
        """Return the caller with its present roles, from the cache alone.

        Return None if its session has ended, or if the cache is not trusted: call `look_up` then.
        """
        if principal.session_id in self._ended or time.monotonic() >= self._trusted_until:
            return None
        changed = self._roles.get(principal.user_id)
        return principal if changed is None else structs.replace(principal, roles=changed[0])

    async def look_up(self, principal: Principal, key_id: str | None = None) -> Principal:
        """Return the caller with its present roles, from the database.

        Args:
            principal: the caller from the token.
            key_id: the key that signed the token, or None to skip its check.

        Raises:
            Unauthenticated: the session has ended, or the key was removed.
            Unavailable: the database does not answer.
        """
        if key_id is not None and principal.session_id not in self._ended:
            await self._keys.keep_up()
            if not self._keys.holds(key_id):
                raise Unauthenticated("The key that signed the access token has been retired")
        if principal.session_id not in self._ended:
            roles = await self._stored.find_roles(principal.own_session, clock.now())
            if roles is not None:
                return structs.replace(principal, roles=frozenset(roles))
        raise Unauthenticated("The session has ended")

    async def _poll(self, seconds: int) -> None:
        started = time.monotonic()
        self.add(await self._stored.ended_within(seconds))
        for user_id, roles in await self._stored.roles_changed_within(seconds):
            self.set_roles(user_id, roles)
        await self._keys.keep_up()
        self._trusted_until = started + TRUSTED_FOR

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(POLL_EVERY)
            # After failed polls, look back to the last successful one.
            since_success = time.monotonic() - self._trusted_until + TRUSTED_FOR
            try:
                await self._poll(OVERLAP + int(since_success))
            except Unavailable:
                logger.warning("cannot poll for revocations: looking up each token in the database")
            except Exception:
                logger.exception("cannot poll for revocations")
            self._evict_expired()

    def _evict_expired(self) -> None:
        now = time.monotonic()
        # Evicted entries are older than any valid token, so eviction may be late.
        if self._ended and min(self._ended.values()) < now:
            self._ended = {session: until for session, until in self._ended.items() if until > now}
        self._roles = {user: known for user, known in self._roles.items() if known[1] > now}
