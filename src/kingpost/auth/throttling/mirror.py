"""What one process knows of shared counters, so that it can count alone while their server is away."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from kingpost.auth.throttling.counters import FORGOTTEN_AFTER, AttemptKeys, Backoff, Begun
from kingpost.auth.throttling.memory import CAPACITY, Counter, MemoryCounters

OUT_OF_ORDER = 10.0
"""Seconds within which answers of the server may be read in another order: far longer than any answer takes."""


class Change(msgspec.Struct):
    """What has happened to a counter in this process and is not known to have happened on the server."""

    is_reset: bool = False
    """Whether the counter was removed before the attempts in `count` were counted."""
    count: int = 0
    """Attempts that were counted, less those that were undone."""
    expires_at: float = 0.0


class Mirror(MemoryCounters):
    """Counters that go on from the last known state of the server, and record each change until it is shared.

    The methods of the port count in this process alone. `take` and `restore` move the recorded changes to the
    server, and `learn` takes over its state. No method ever suspends. There are at most as many changes as counters:
    30 MB more, in a long outage.
    """

    def __init__(self, capacity: int = CAPACITY, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(capacity, now)
        self._changes: OrderedDict[str, Change] = OrderedDict()

    async def begin(self, keys: AttemptKeys, backoff: Backoff) -> Begun:
        begun = await super().begin(keys, backoff)
        if begun.wait == 0:
            self._change(keys.counted(begun.own), 1)
        return begun

    async def undo(self, keys: Sequence[str]) -> None:
        await super().undo(keys)
        self._change(keys, -1)

    async def reset(self, keys: Sequence[str]) -> None:
        await super().reset(keys)
        self._change(keys, is_reset=True)

    def take(self, keys: Iterable[str]) -> dict[str, Change]:
        """Return and remove the changes of these keys. Changes of expired counters are dropped."""
        now = self._now()
        found = {key: self._changes.pop(key, None) for key in keys}
        return {key: change for key, change in found.items() if change is not None and change.expires_at > now}

    def restore(self, changes: dict[str, Change]) -> None:
        """Put back changes that could not be shared, in front of those that were recorded in the meantime."""
        for key, change in changes.items():
            later = self._changes.pop(key, None)
            self._record(key, change)
            if later is not None:
                self._record(key, later)

    def wait(self, key: str) -> float:
        """Return the seconds until the next attempt under a key may be made."""
        counter = self._counters.get(key)
        return 0.0 if counter is None else max(0.0, counter.waits_until - self._now())

    def learn(self, key: str, as_of: float, count: int, age: float, wait: float) -> None:
        """Take over the state of a counter from the server, with changes that are not yet shared on top.

        Args:
            key: the key of the counter.
            as_of: the time of this state by the server's clock. A state that is a little older than the last one is
                ignored. One that is much older is not: then the server's clock was set back.
            count: the number of attempts, 0 if there is no counter.
            age: seconds since the last attempt was counted.
            wait: seconds until the next attempt may be made. May be negative.
        """
        change = self._changes.get(key, Change())
        counter = self._counters.setdefault(key, Counter())
        if change.is_reset or 0 < counter.as_of - as_of < OUT_OF_ORDER:
            return
        now = self._now()
        waits_until = now + wait
        counter.waits_until = max(waits_until, counter.waits_until) if change.count > 0 else waits_until
        counter.count = count + change.count
        counter.counted_at = now - age
        # Later than on the server, by `age`, so that the counters stay in the order in which they expire.
        counter.expires_at = now + FORGOTTEN_AFTER
        counter.as_of = as_of
        self._counters.move_to_end(key)
        if counter.count <= 0:
            del self._counters[key]
        self._evict()

    def _change(self, keys: Sequence[str], count: int = 0, *, is_reset: bool = False) -> None:
        expires_at = self._now() + FORGOTTEN_AFTER
        for key in keys:
            self._record(key, Change(is_reset, count, expires_at))

    def _record(self, key: str, change: Change) -> None:
        """Add a change to what is recorded for its key."""
        earlier = self._changes.pop(key, Change())
        if not change.is_reset:
            change = Change(earlier.is_reset, earlier.count + change.count, change.expires_at)
        if change.is_reset or change.count:
            self._changes[key] = change
        while len(self._changes) > self._capacity:
            self._changes.popitem(last=False)
