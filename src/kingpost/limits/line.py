"""The line in which guesses stand while the outcome of those before them is not known yet."""

import asyncio
from collections import Counter
from collections.abc import Sequence

LONGEST = 64
"""How many stand in line in a process; those beyond are told to come again."""


class Line:
    """The guesses under way in this process, by the keys under which they are counted."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._standing = 0
        self._moved = asyncio.Event()

    def enter(self, keys: Sequence[str]) -> None:
        """A guess is under way."""
        self._under_way.update(keys)

    def leave(self, keys: Sequence[str]) -> None:
        """A guess is over."""
        for key in keys:
            self._under_way[key] -= 1
            if self._under_way[key] <= 0:
                del self._under_way[key]
        self._moved.set()
        self._moved = asyncio.Event()

    async def moves(self, keys: Sequence[str], until: float) -> bool:
        """Wait until a guess is over, whichever it is.

        False, at once, if none is under way under any of the keys or the line is full; and at the time
        `until` of the event loop's clock.
        """
        if self._standing >= LONGEST or not any(key in self._under_way for key in keys):
            return False
        self._standing += 1
        try:
            async with asyncio.timeout_at(until):
                await self._moved.wait()
        except TimeoutError:
            return False
        finally:
            self._standing -= 1
        return True
