"""What changed elsewhere about who may call: sessions that ended, roles that were set, signing keys. Kept in memory.

An access token outlives its session by minutes, and the roles it was issued with; this is what corrects it.
A process learns of its own writes at once, and of other nodes' by asking the database several times a second
for all that changed in the last half minute: an overlap wide enough for transactions that become visible
late. A process that has not heard from the database for a second no longer trusts its memory and asks for
each token. Of signing keys the key ring is told to keep up, by the same polls.
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
"""Seconds between two polls; with `TRUSTED_FOR` it keeps the promise of one second on all nodes."""
TRUSTED_FOR = 1.0
"""Seconds after the start of a good poll for which memory is complete enough to decide alone."""
OVERLAP = 30
"""Seconds that each poll looks back: longer than any transaction may take."""

logger = logging.getLogger("kingpost.revocations")


class Revocations:
    """The recently ended sessions and the recently set roles, as this process knows them."""

    def __init__(self, stored: RevocationStore, keys: KeyRing, remember_for: int) -> None:
        """`remember_for` is how long an access token may outlive what it says, in seconds."""
        self._stored = stored
        self._keys = keys
        self._remember_for = remember_for
        self._ended: dict[str, float] = {}
        self._roles: dict[str, tuple[frozenset[str], float]] = {}
        self._trusted_until = 0.0
        self._polling: asyncio.Task[None] | None = None
        self._callbacks: list[Callable[[str], None]] = []

    async def start(self) -> None:
        """Learn what ended while this process was not there, then keep up.

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
        """Take note of sessions that this process has ended (or has seen ended)."""
        forget_at = time.monotonic() + self._remember_for
        self._ended.update(dict.fromkeys(session_ids, forget_at))

    def set_roles(self, user_id: str, roles: Iterable[str]) -> None:
        """Take note of the roles that an account has got."""
        self._roles[user_id] = frozenset(roles), time.monotonic() + self._remember_for

    def account_changed(self, user_id: str) -> None:
        """Take note that this process has changed or deleted an account: whoever remembers more of it forgets that."""
        for callback in self._callbacks:
            callback(user_id)

    def when_account_changes(self, callback: Callable[[str], None]) -> None:
        """Have something called with the id of each account that this process changes or deletes."""
        self._callbacks.append(callback)

    def present(self, principal: Principal) -> Principal | None:
        """The caller as memory alone knows it to be now: the question of every request. None if memory cannot tell."""
        if principal.session_id in self._ended or time.monotonic() >= self._trusted_until:
            return None
        changed = self._roles.get(principal.user_id)
        return principal if changed is None else structs.replace(principal, roles=changed[0])

    async def look_up(self, principal: Principal, key_id: str | None = None) -> Principal:
        """The caller as it is now. `key_id` is the key that signed its token, if it has one.

        Raises:
            Unauthenticated: its session has ended, or the key is gone.
            Unavailable: neither memory nor the database can tell.
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
            # After a silence the look back must reach to the last good poll.
            silence = time.monotonic() - self._trusted_until + TRUSTED_FOR
            try:
                await self._poll(OVERLAP + int(silence))
            except Unavailable:
                logger.warning("cannot learn what changed: asking the database for each token")
            except Exception:
                logger.exception("cannot learn what changed")
            self._forget_old()

    def _forget_old(self) -> None:
        now = time.monotonic()
        # What is forgotten is older than any token, so this need not be exact, nor often.
        if self._ended and min(self._ended.values()) < now:
            self._ended = {session: until for session, until in self._ended.items() if until > now}
        self._roles = {user: known for user, known in self._roles.items() if known[1] > now}
