"""Limits of one process, kept in its memory."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from kingpost.limits import FORGOTTEN_AFTER, Policy

CAPACITY = 100_000
"""How many counters, and how many remembered keys, are kept: 60 MB in all at the worst. The oldest make room."""


class Counter:
    """The guesses under one key, when the last was counted, and until when the next waits and the counter is kept."""

    __slots__ = ("count", "counted_at", "forgotten_at", "waits_until")

    def __init__(self) -> None:
        self.count = 0
        self.counted_at = 0.0
        self.waits_until = 0.0
        self.forgotten_at = 0.0


class MemoryLimits:
    """Limits in a dictionary. Nothing here awaits anything, which is what makes each method atomic."""

    def __init__(self, capacity: int = CAPACITY, now: Callable[[], float] = time.monotonic) -> None:
        """`now` tells the time in seconds and never goes back."""
        self._capacity = capacity
        self._now = now
        # In the order of their last guess, which is also the order in which they are forgotten.
        self._counters: OrderedDict[str, Counter] = OrderedDict()
        self._remembered: OrderedDict[str, float] = OrderedDict()

    async def begin(self, keys: Sequence[str], policy: Policy, leaking: Sequence[str] = ()) -> float:
        now = self._now()
        self._forget(now)
        everything = [*keys, *leaking]
        present = [counter for counter in map(self._counters.get, everything) if counter is not None]
        wait = max((counter.waits_until - now for counter in present), default=0.0)
        if wait > 0:
            return wait
        for key in everything:
            counter = self._counters.setdefault(key, Counter())
            if key in leaking:
                counter.count = policy.leaked(counter.count, now - counter.counted_at)
            counter.count += 1
            counter.counted_at = now
            counter.waits_until = now + policy.delay_after(counter.count)
            counter.forgotten_at = now + FORGOTTEN_AFTER
            self._counters.move_to_end(key)
        while len(self._counters) > self._capacity:
            self._counters.popitem(last=False)
        return 0.0

    async def undo(self, keys: Sequence[str]) -> None:
        self._forget(self._now())
        for key in keys:
            counter = self._counters.get(key)
            if counter is None:
                continue
            counter.count -= 1
            counter.waits_until = 0.0
            if counter.count <= 0:
                del self._counters[key]

    async def reset(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._counters.pop(key, None)

    async def remember(self, key: str, seconds: int) -> None:
        self._remembered[key] = self._now() + seconds
        self._remembered.move_to_end(key)
        while len(self._remembered) > self._capacity:
            self._remembered.popitem(last=False)

    async def is_remembered(self, key: str) -> bool:
        return self._remembered.get(key, 0.0) > self._now()

    def _forget(self, now: float) -> None:
        """Drop the counters whose time has come."""
        while self._counters and next(iter(self._counters.values())).forgotten_at <= now:
            self._counters.popitem(last=False)
