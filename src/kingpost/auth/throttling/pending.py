"""Attempts in progress, and the queue of those that wait for their outcome."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

QUEUE_LENGTH = 64
"""How many attempts may wait in one process. Any more are refused immediately."""


class PendingAttempts:
    """The attempts in progress in this process, by the keys under which they are counted."""

    def __init__(self) -> None:
        self._in_progress: Counter[str] = Counter()
        self._waiting = 0
        self._finished = asyncio.Event()

    @contextlib.contextmanager
    def including(self, keys: Sequence[str]) -> Iterator[None]:
        """Have an attempt in progress under these keys during a `with` block, and wake all that wait at its end."""
        self._in_progress.update(keys)
        try:
            yield
        finally:
            for key in keys:
                self._in_progress[key] -= 1
                if self._in_progress[key] <= 0:
                    del self._in_progress[key]
            self._finished.set()
            self._finished = asyncio.Event()

    async def wait_for_one(self, keys: Sequence[str], until: float) -> bool:
        """Wait until any attempt finishes, and return whether one did.

        Args:
            keys: return False immediately if no attempt is in progress under any of them, or if the queue is full.
            until: the time of the event loop's clock, in seconds, at which to time out and return False.
        """
        if self._waiting >= QUEUE_LENGTH or not any(key in self._in_progress for key in keys):
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout_at(until):
                await self._finished.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True
