"""The port of the throttle: counts failed attempts and computes how long the next one has to wait.

Each method is atomic: of any number of concurrent callers, on one node or on several that share the counters,
exactly as many are let through as the back-off allows. No method raises because a server is down. An
implementation that shares counters then counts for its own process, so that an outage neither refuses every
attempt nor lets every attempt through. Keys are opaque: callers hash what they stand for.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

LONGEST_DELAY = 15 * 60.0
"""Longest delay, in seconds. It bounds the back-off, so that no account is ever locked out."""
FORGOTTEN_AFTER = 60 * 60.0
"""Seconds without a counted attempt after which a counter expires."""


class Backoff(msgspec.Struct, frozen=True):
    """An exponential back-off.

    `free` attempts have no delay between them. The next one has to wait for `delay` seconds, and each further
    attempt doubles the delay.
    """

    free: int
    delay: float

    def delay_after(self, count: int) -> float:
        """Return the seconds between the attempt that raised a counter to `count` and the next."""
        if count < self.free:
            return 0.0
        # Bound the exponent: a power beyond the range of floats would raise OverflowError.
        return min(LONGEST_DELAY, self.delay * 2.0 ** min(count - self.free, 64))

    def leaked(self, count: int, elapsed: float) -> int:
        """Return what is left of a leaking count, `elapsed` seconds after the last attempt.

        Below `free` it loses one attempt per `delay` seconds, and from there on one per `delay * free`.
        """
        slow = self.delay * self.free
        lost = min(max(0, count - self.free + 1), int(elapsed / slow))
        count, elapsed = count - lost, elapsed - lost * slow
        return max(0, count - int(elapsed / self.delay)) if count < self.free else count


class AttemptCounters(Protocol):
    """Counters of attempts, each under a key, and a set of keys that are remembered for a time."""

    async def begin(self, keys: Sequence[str], backoff: Backoff, leaking: Sequence[str] = ()) -> float:
        """Count an attempt under every key, unless one of them has to wait.

        The counters in `leaking` lose attempts with time (`Backoff.leaked`): many people may share a client
        address, and the mistakes of one must not add up for the others.

        Returns 0 if the attempt was counted, under all keys. Otherwise nothing was counted, and the result is
        the number of seconds until no key has to wait. Of N concurrent callers on a new counter exactly
        `backoff.free` are let through.
        """
        ...

    async def undo(self, keys: Sequence[str]) -> None:
        """Take back one attempt under each key, with the delay that it caused.

        A counter never falls below zero. One that has expired or was reset in the meantime is left alone.
        """
        ...

    async def reset(self, keys: Sequence[str]) -> None:
        """Remove the counter under each key."""
        ...

    async def remember(self, key: str, seconds: int) -> None:
        """Remember a key for a number of seconds. Counters are separate: one may have the same key."""
        ...

    async def is_remembered(self, key: str) -> bool:
        """Return whether a key is remembered."""
        ...
