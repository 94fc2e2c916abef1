"""The limits port: counts failed guesses and says how long the next one has to wait.

Each method is atomic: of any number of callers at the same moment, also on several nodes that share the
counters, exactly as many are let through as the policy says. No method ever raises, refuses everybody or
lets everybody through because a server is down; an implementation that shares counters then counts for
its own node alone. Keys are opaque: whoever makes them takes care that they tell nothing.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

LONGEST_DELAY = 15 * 60.0
"""Seconds that a guess has to wait at most: nobody is ever locked out."""
FORGOTTEN_AFTER = 60 * 60.0
"""Seconds without a counted guess after which a counter starts anew."""


class Policy(msgspec.Struct, frozen=True):
    """How many guesses are free, and how many seconds the next one waits; after that, each doubles the delay."""

    free: int
    delay: float

    def delay_after(self, count: int) -> float:
        """The seconds between the guess that brought a counter to `count` and the next."""
        if count < self.free:
            return 0.0
        # The exponent is bounded since the delay is: nobody needs to know 2 to the power of a million.
        return min(LONGEST_DELAY, self.delay * 2.0 ** min(count - self.free, 64))

    def leaked(self, count: int, elapsed: float) -> int:
        """What is left of a count that leaks, so many seconds after the last guess.

        Below the free number it loses one for each `delay`, from there on one for each `delay * free`.
        """
        slow = self.delay * self.free
        lost = min(max(0, count - self.free + 1), int(elapsed / slow))
        count, elapsed = count - lost, elapsed - lost * slow
        return max(0, count - int(elapsed / self.delay)) if count < self.free else count


class Limits(Protocol):
    """Counters of guesses, each under a key, and keys that are remembered for a while."""

    async def begin(self, keys: Sequence[str], policy: Policy, leaking: Sequence[str] = ()) -> float:
        """Count a guess under every key, unless one of them has to wait.

        The counters of the keys in `leaking`, which come beside the others, lose guesses with time (`Policy.leaked`):
        behind a client address there may be many people, and what one of them did must not add up for the rest.

        Returns 0 if the guess has been counted, under all of the keys, and else the seconds until none of
        them has to wait; then nothing has been counted. Of N callers at once on a new counter exactly
        `policy.free` are let through.
        """
        ...

    async def undo(self, keys: Sequence[str]) -> None:
        """Take back one guess under each key, as if it had not been made: what it delayed may go on at once.

        A counter never falls below zero, and one that was forgotten or reset meanwhile stays so.
        """
        ...

    async def reset(self, keys: Sequence[str]) -> None:
        """Forget all guesses under each key."""
        ...

    async def remember(self, key: str, seconds: int) -> None:
        """Remember a key from now on for so long. It has nothing to do with a counter of the same name."""
        ...

    async def is_remembered(self, key: str) -> bool:
        """Whether a key is remembered."""
        ...
