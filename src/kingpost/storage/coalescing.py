"""Coalesces concurrent calls into batches."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from msgspec import Struct

from kingpost.problems import Unavailable

MAX_WAITING = 4096


class _Call[K, R](Struct, frozen=True):
    key: K
    conflicts: Sequence[object]
    future: asyncio.Future[R]
    deadline: float


class Coalescer[K, R]:
    """Runs calls in batches. Calls that arrive while two batches are running form the next one.

    Each call has its own result or error. The calls of a failed batch run again one by one, so that only the faulty one
    fails. If the database is `Unavailable`, all calls of the batch fail.
    """

    def __init__(
        self,
        many: Callable[[Sequence[K]], Awaitable[Sequence[R]]],
        one: Callable[[K], Awaitable[R]],
        *,
        time_limit: float,
        batches: int = 2,
        size: int = 100,
        keys: Callable[[K], Sequence[object]] = lambda call: (),
    ) -> None:
        """Use these functions.

        Args:
            many: returns the results of several calls, in the same order.
            one: returns the result of one call.
            time_limit: the seconds after which a call raises `Unavailable`.
            batches: the maximum number of concurrent batches.
            size: the maximum number of calls in a batch.
            keys: returns the keys of a call. A call waits while another one with the same key is running.
        """
        self._many = many
        self._one = one
        self._patience = time_limit
        self._free = batches
        self._size = size
        self._keys = keys
        self._busy: set[object] = set()  # the keys of running calls
        self._calls: deque[_Call[K, R]] = deque()
        self._scheduled = False
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, key: K) -> asyncio.Future[R]:
        """Start a call. Cancelling it does not affect other calls; it may or may not have run."""
        if len(self._calls) >= MAX_WAITING:
            raise Unavailable("Too many calls are waiting")
        loop = self._loop
        future: asyncio.Future[R] = loop.create_future()
        self._calls.append(_Call(key, self._keys(key), future, loop.time() + self._patience))
        if self._free and not self._scheduled:
            # Wait for the next turn of the loop, so that other tasks that are ready now join the batch.
            self._scheduled = True
            loop.call_soon(self._start)
        return future

    @property
    def is_busy(self) -> bool:
        """Whether calls are waiting or running."""
        return bool(self._calls or self._tasks)

    async def drain(self) -> None:
        """Return when no call is waiting or running."""
        while self.is_busy:
            await asyncio.gather(*self._tasks, asyncio.sleep(0))

    def _start(self) -> None:
        self._scheduled = False
        while self._calls and self._free:
            batch = self._take()
            if not batch:
                return
            self._free -= 1
            task = self._loop.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, batch))

    def _take(self) -> Sequence[_Call[K, R]]:
        """Take the next batch from the waiting calls, except those with the key of a running call."""
        batch: list[_Call[K, R]] = []
        left: list[_Call[K, R]] = []
        while self._calls and len(batch) < self._size:
            call = self._calls.popleft()
            if call.future.done():
                continue
            if call.conflicts:
                if not self._busy.isdisjoint(call.conflicts):
                    left.append(call)
                    continue
                self._busy.update(call.conflicts)
            batch.append(call)
        self._calls.extendleft(reversed(left))
        return batch

    def _ended(self, batch: Sequence[_Call[K, R]], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free += 1
        for call in batch:
            if call.conflicts:
                self._busy.difference_update(call.conflicts)
        self._start()

    async def _run(self, batch: Sequence[_Call[K, R]]) -> None:
        try:
            # The first has waited longest. The others time out with it.
            async with asyncio.timeout_at(batch[0].deadline):
                await self._answer(batch)
        except (TimeoutError, Unavailable):
            for call in batch:
                _fail(call, Unavailable("The database is not available right now"))

    async def _answer(self, batch: Sequence[_Call[K, R]]) -> None:
        try:
            answers = await self._many([call.key for call in batch]) if len(batch) > 1 else ()
        except Unavailable:
            raise
        except Exception:  # Run alone, the calls show which of them is at fault.
            answers = ()
        if answers:
            for call, answer in zip(batch, answers, strict=True):
                if not call.future.done():
                    call.future.set_result(answer)
            return
        for call in batch:
            await self._answer_alone(call)

    async def _answer_alone(self, call: _Call[K, R]) -> None:
        if call.future.done():
            return
        try:
            answer = await self._one(call.key)
        except Unavailable:
            raise
        except Exception as error:
            _fail(call, error)
        else:
            if not call.future.done():
                call.future.set_result(answer)


def _fail[K, R](call: _Call[K, R], error: Exception) -> None:
    if not call.future.done():
        call.future.set_exception(error)
