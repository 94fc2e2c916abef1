"""Which sessions ended recently, kept in memory, so that checking a token asks nobody.

An access token outlives its session by minutes; this is what stops it. A process learns of its own
writes at once, and of other nodes' by asking the database several times a second for all that ended in
the last half minute: an overlap wide enough for transactions that become visible late. A process that
has not heard from the database for a second no longer trusts its memory and asks for each token.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable

from kingpost import clock
from kingpost.problems import Unavailable
from kingpost.storage import Sessions

POLL_EVERY = 0.3
"""Seconds between two polls; with `TRUSTED_FOR` it keeps the promise of one second on all nodes."""
TRUSTED_FOR = 1.0
"""Seconds after the start of a good poll for which memory is complete enough to decide alone."""
OVERLAP = 30
"""Seconds that each poll looks back: longer than any transaction may take."""

logger = logging.getLogger("kingpost.revocations")


class Revocations:
    """The recently ended sessions, as this process knows them."""

    def __init__(self, sessions: Sessions, remember_for: int) -> None:
        """`remember_for` is how long an access token may outlive its session, in seconds."""
        self._sessions = sessions
        self._remember_for = remember_for
        self._ended: dict[str, float] = {}
        self._trusted_until = 0.0
        self._polling: asyncio.Task[None] | None = None

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

    async def has_ended(self, session_id: str) -> bool:
        """Whether a session has ended.

        Raises:
            Unavailable: neither memory nor the database can tell.
        """
        if session_id in self._ended:
            return True
        if time.monotonic() < self._trusted_until:
            return False
        return not await self._sessions.is_alive(session_id, clock.now())

    def surely_alive(self, session_id: str) -> bool:
        """Whether memory alone knows that a session has not ended: the question of every request."""
        return session_id not in self._ended and time.monotonic() < self._trusted_until

    async def _poll(self, seconds: int) -> None:
        started = time.monotonic()
        self.add(await self._sessions.ended_within(seconds))
        self._trusted_until = started + TRUSTED_FOR

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(POLL_EVERY)
            # After a silence the look back must reach to the last good poll.
            silence = time.monotonic() - self._trusted_until + TRUSTED_FOR
            try:
                await self._poll(OVERLAP + int(silence))
            except Unavailable:
                logger.warning("cannot learn which sessions ended: asking the database for each token")
            except Exception:
                logger.exception("cannot learn which sessions ended")
            self._forget_old()

    def _forget_old(self) -> None:
        now = time.monotonic()
        # Entries stand in the order in which they were last learned only roughly, so look at all of them.
        if self._ended and min(self._ended.values()) < now:
            self._ended = {session: until for session, until in self._ended.items() if until > now}
