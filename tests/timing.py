"""Checks of duration that are reliable on a busy machine too."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

GROWTH = 8
"""The ratio of the larger size to the smaller. Linear work takes about 8 times as long, quadratic work 64 times."""
TRIES = 5
RESOLUTION = 50e-6
"""Times below this number of seconds are not meaningful."""


def assert_linear(work: Callable[[int], object], size: int) -> None:
    """Check that the processor time of `work(size)` grows no faster than the size."""
    small, large = _cost(work, size), _cost(work, GROWTH * size)
    assert large < 3 * GROWTH * max(small, RESOLUTION), f"{small:.6f} s for {size}, {large:.6f} s for {GROWTH} times it"


def _cost(work: Callable[[int], object], size: int) -> float:
    """Return the processor time of this thread, in seconds: the minimum of several tries.

    Without garbage collection, which would visit the many objects of the test process.
    """
    times = []
    gc.disable()
    try:
        for _ in range(TRIES):
            started = time.thread_time()
            work(size)
            times.append(time.thread_time() - started)
    finally:
        gc.enable()
    return min(times)


async def assert_within(seconds: float, what: Callable[[], Awaitable[bool]]) -> None:
    """Repeat a check until it is true. The last check, after the given seconds, must be true."""
    deadline = time.monotonic() + seconds
    while True:
        asked_at = time.monotonic()
        if await what():
            return
        assert asked_at < deadline, f"not within {seconds} seconds"
        await asyncio.sleep(0.02)


def at_once[T](work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that must not wait for anything, or raise what it raises."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise AssertionError("it waits for something")
