"""Counters of one process, in its memory."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from kingpost.auth.throttling.counters import FORGOTTEN_AFTER, AttemptKeys, Backoff, Begun, ClientKeys

CAPACITY = 100_000
"""Maximum number of counters, and of remembered pairs: 60 MB together. Beyond that the oldest are evicted."""


class Counter(msgspec.Struct):
    """The attempts under one key. Times are those of the counters' clock, in seconds."""

    count: int = 0
    counted_at: float = 0.0
    """When the last attempt was counted."""
    waits_until: float = 0.0
    """When the next attempt may be made."""
    expires_at: float = 0.0
    as_of: float = 0.0
    """In a mirror: when the server said so, by the server's clock."""


class MemoryCounters:
    """Counters in a dictionary. No method ever suspends, which makes each one atomic."""

    def __init__(self, capacity: int = CAPACITY, now: Callable[[], float] = time.monotonic) -> None:
        """Create empty counters. `now` is a monotonic clock, in seconds."""
        self._capacity = capacity
        self._now = now
        # In the order of their last attempt, which is also the order in which they expire.
        self._counters: OrderedDict[str, Counter] = OrderedDict()
        self._remembered: OrderedDict[str, float] = OrderedDict()

    async def begin(self, keys: AttemptKeys, backoff: Backoff) -> Begun:
        now = self._now()
        self._expire(now)
        own = keys.account
        if keys.client is not None and self._remembered.get(keys.client.pair, 0.0) > now:
            own = keys.client.pair
        counted = keys.counted(own)
        present = [counter for counter in map(self._counters.get, counted) if counter is not None]
        wait = max((counter.waits_until - now for counter in present), default=0.0)
        if wait > 0:
            return Begun(wait, own)
        for key, its in zip(counted, keys.backoffs(backoff), strict=True):
            counter = self._counters.setdefault(key, Counter())
            if key != own:
                counter.count = its.leaked(counter.count, now - counter.counted_at)
            counter.count += 1
            counter.counted_at = now
            counter.waits_until = now + its.delay_after(counter.count)
            counter.expires_at = now + FORGOTTEN_AFTER
            self._counters.move_to_end(key)
        self._evict()
        return Begun(0.0, own)

    async def undo(self, keys: Sequence[str]) -> None:
        self._expire(self._now())
        for key in keys:
            counter = self._counters.get(key)
            if counter is None:
                continue
            counter.count -= 1
            counter.waits_until = 0.0
            if counter.count <= 0:
                del self._counters[key]

    async def succeed(self, own: str, client: ClientKeys | None, usual_for: int) -> None:
        await self.reset([own])
        if client is None:
            return
        await self.undo([network.key for network in client.networks])
        self.remember(client.pair, usual_for)

    async def reset(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._counters.pop(key, None)

    def remember(self, pair: str, seconds: float) -> None:
        """Remember a pair for a number of seconds."""
        self._remembered[pair] = self._now() + seconds
        self._remembered.move_to_end(pair)
        self._evict()

    def _expire(self, now: float) -> None:
        """Remove expired counters."""
        while self._counters and next(iter(self._counters.values())).expires_at <= now:
            self._counters.popitem(last=False)

    def _evict(self) -> None:
        """Remove the oldest counters and pairs beyond the capacity."""
        for kept in (self._counters, self._remembered):
            while len(kept) > self._capacity:
                kept.popitem(last=False)
