"""Run long JSON work beside the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

SMALL = 16 * 1024
"""Bytes of JSON that any function of this package handles within a few milliseconds, for every shape."""


class Worker:
    """Runs work on large JSON texts in one thread, first come, first served.

    It is one thread, because the event loop waits for each thread that computes, up to 5 ms at a time. The work must
    consist of short calls: Python switches threads between calls, but not during one that is implemented in C.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kingpost-json")

    async def run[**P, T](self, size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` with the arguments, which have `size` bytes as JSON, and return its result.

        The call is in the thread if the size exceeds `SMALL`.
        """
        if size <= SMALL:
            return work(*args, **kwargs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """End the thread after the work that it has begun."""
        self._thread.shutdown(wait=False, cancel_futures=True)
