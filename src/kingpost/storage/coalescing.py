"""Joining calls that wait at the same moment into one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from msgspec import Struct

from kingpost.problems import Unavailable

WAITING = 4096


class _Call[K, R](Struct, frozen=True):
    key: K
    conflicts: Sequence[object]
    future: asyncio.Future[R]
    deadline: float


class Coalescer[K, R]:
    """Runs calls in batches: what arrives while two batches are under way becomes the next one.

    Each call gets its own answer or its own error. A batch that fails is run again call by call, so that
    only the guilty one fails; when the database is `Unavailable`, it is so for the whole batch.
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
        """Make it.

        Args:
            many: answers calls, in their order.
            one: answers one call.
            time_limit: after so many seconds a call is `Unavailable`.
            batches: how many batches may be under way at the same moment.
            size: how many calls a batch has at most.
            keys: returns what no two calls that are under way may have in common; the later one waits.
        """
        self._many = many
        self._one = one
        self._patience = time_limit
        self._free = batches
        self._size = size
        self._keys = keys
        self._busy: set[object] = set()  # the keys of the calls that are under way
        self._calls: deque[_Call[K, R]] = deque()
        self._scheduled = False
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, key: K) -> asyncio.Future[R]:
        """Start a call. A cancelled one harms no other, and may or may not have run."""
        if len(self._calls) >= WAITING:
            raise Unavailable("Too many calls are waiting")
        loop = self._loop
        future: asyncio.Future[R] = loop.create_future()
        self._calls.append(_Call(key, self._keys(key), future, loop.time() + self._patience))
        if self._free and not self._scheduled:
            # Not at once: others that are ready to run in this turn of the loop shall be in the batch.
            self._scheduled = True
            loop.call_soon(self._start)
        return future

    @property
    def is_busy(self) -> bool:
        """Whether calls wait or are under way."""
        return bool(self._calls or self._tasks)

    async def drain(self) -> None:
        """Return when nothing is waiting or under way."""
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
        """Take the next batch from the calls that wait, and leave those that have a key in common with a call of it."""
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
            # The first has waited longest; the others give up with it.
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
        except Exception:  # Whose fault it was shows when they run alone.
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
