"""Joining calls into batches."""

import asyncio
from collections.abc import Sequence

import pytest

from kingpost.problems import Unavailable
from kingpost.storage import coalescing
from kingpost.storage.coalescing import Coalescer


class Backend:
    """Doubles numbers, records its calls, and fails for odd numbers."""

    def __init__(self, error: type[Exception] = ValueError) -> None:
        self.batches: list[Sequence[int]] = []
        self.alone: list[int] = []
        self.running = 0
        self.most_running = 0
        self.hanging = asyncio.Event()
        self.hanging.set()
        self._error = error

    async def many(self, keys: Sequence[int]) -> Sequence[int]:
        self.batches.append(keys)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0.001)
            await self.hanging.wait()
        finally:
            self.running -= 1
        if any(key % 2 for key in keys):
            raise self._error
        return [2 * key for key in keys]

    async def one(self, key: int) -> int:
        self.alone.append(key)
        await asyncio.sleep(0)
        await self.hanging.wait()
        if key % 2:
            raise self._error
        return 2 * key


def coalescer(backend: Backend, time_limit: float = 10.0, size: int = 100) -> Coalescer[int, int]:
    return Coalescer(backend.many, backend.one, time_limit=time_limit, size=size)


async def test_concurrent_calls_share_a_batch_and_get_their_own_results() -> None:
    backend = Backend()
    calls = coalescer(backend)
    assert await asyncio.gather(*[calls.call(n) for n in range(0, 20, 2)]) == list(range(0, 40, 4))
    assert backend.batches == [list(range(0, 20, 2))]
    assert backend.alone == []


async def test_a_single_call_runs_without_a_batch() -> None:
    backend = Backend()
    assert await coalescer(backend).call(4) == 8
    assert backend.batches == []
    assert backend.alone == [4]


async def test_batches_are_bounded_in_size_and_number() -> None:
    backend = Backend()
    calls = coalescer(backend, size=10)
    await asyncio.gather(*[calls.call(n) for n in range(0, 200, 2)])
    assert [len(batch) for batch in backend.batches] == [10] * 10
    assert backend.most_running == 2


async def test_calls_during_a_batch_wait_for_the_next_batch() -> None:
    backend = Backend()
    backend.hanging.clear()
    calls = coalescer(backend)
    first = [calls.call(0), calls.call(2)]
    await asyncio.sleep(0)
    second = [calls.call(4), calls.call(6)]
    await asyncio.sleep(0)
    third = [calls.call(n) for n in range(8, 20, 2)]
    await asyncio.sleep(0.01)
    assert len(backend.batches) == 2
    backend.hanging.set()
    assert await asyncio.gather(*first, *second, *third) == list(range(0, 40, 4))
    assert backend.batches[2] == list(range(8, 20, 2))


async def test_a_failing_call_does_not_fail_the_other_calls() -> None:
    backend = Backend()
    calls = coalescer(backend)
    outcomes = await asyncio.gather(*[calls.call(n) for n in (0, 2, 3, 4)], return_exceptions=True)
    assert outcomes[:2] == [0, 4]
    assert isinstance(outcomes[2], ValueError)
    assert outcomes[3] == 8
    assert backend.alone == [0, 2, 3, 4]


async def test_calls_with_the_same_key_never_run_concurrently() -> None:
    backend = Backend()
    calls = Coalescer(backend.many, backend.one, time_limit=10.0, size=3, keys=lambda key: [key % 10])
    numbers = [0, 10, 20, 2, 12, 4, 14, 6]
    answers = await asyncio.gather(*[calls.call(number) for number in numbers])
    assert answers == [2 * number for number in numbers]
    assert backend.batches == [[0, 2, 4], [10, 12, 14]]
    assert backend.alone == [6, 20]


async def test_a_cancelled_call_releases_its_key() -> None:
    backend = Backend()
    calls = Coalescer(backend.many, backend.one, time_limit=10.0, keys=lambda key: ["the same"])
    waiting, cancelled = calls.call(0), calls.call(2)
    await asyncio.sleep(0)
    last = calls.call(4)
    cancelled.cancel()
    assert list(await asyncio.gather(waiting, last)) == [0, 8]
    assert backend.alone == [0, 4]
    await calls.drain()
    assert not calls.is_busy


async def test_an_outage_fails_all_calls_without_a_retry() -> None:
    backend = Backend(Unavailable)
    calls = coalescer(backend)
    outcomes = await asyncio.gather(*[calls.call(n) for n in (0, 1, 2)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    assert backend.alone == []
    assert len({id(outcome) for outcome in outcomes}) == 3


async def test_a_cancelled_call_does_not_affect_other_calls() -> None:
    backend = Backend()
    calls = coalescer(backend)
    early, late, kept = calls.call(0), calls.call(2), calls.call(4)
    early.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late.cancel()
    assert await kept == 8
    assert backend.batches == [[2, 4]]
    assert await calls.call(6) == 12


async def test_a_batch_of_cancelled_calls_is_not_run() -> None:
    backend = Backend()
    calls = coalescer(backend)
    for _ in range(3):
        calls.call(0).cancel()
    assert await calls.call(2) == 4
    assert backend.batches == []


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_a_call_times_out(size: int) -> None:
    backend = Backend()
    backend.hanging.clear()
    calls = coalescer(backend, time_limit=0.1, size=size)
    started = asyncio.get_running_loop().time()
    outcomes = await asyncio.gather(*[calls.call(n) for n in range(0, 20, 2)], return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert asyncio.get_running_loop().time() - started < 0.2
    backend.hanging.set()
    assert await calls.call(2) == 4


async def test_calls_over_the_queue_limit_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalescing, "MAX_WAITING", 3)
    calls = coalescer(Backend())
    waiting = [calls.call(n) for n in (0, 2, 4)]
    with pytest.raises(Unavailable):
        calls.call(6)
    assert await asyncio.gather(*waiting) == [0, 4, 8]


async def test_drain_waits_for_all_calls() -> None:
    backend = Backend()
    calls = coalescer(backend, size=2)
    waiting = [calls.call(n) for n in range(0, 20, 2)]
    await calls.drain()
    assert all(call.done() for call in waiting)
