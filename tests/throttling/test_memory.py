"""Tests for counters in memory only: a clock that can be moved, and a bounded size."""

import pytest

from kingpost.auth.throttling.counters import FORGOTTEN_AFTER, Backoff
from kingpost.auth.throttling.memory import MemoryCounters
from tests.throttling.attempts import attempt, client, is_usual
from tests.throttling.clock import Clock

ONE = Backoff(free=1, delay=60)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counters(clock: Clock) -> MemoryCounters:
    return MemoryCounters(capacity=100, now=clock)


async def test_counters_expire_an_hour_after_the_last_counted_attempt(counters: MemoryCounters, clock: Clock) -> None:
    assert await attempt(counters, "a", ONE) == 0
    clock.now += 60
    assert await attempt(counters, "a", ONE) == 0
    clock.now += FORGOTTEN_AFTER - 1
    assert await attempt(counters, "a", ONE) == 0
    assert await attempt(counters, "a", ONE) == 240
    clock.now += FORGOTTEN_AFTER
    assert await attempt(counters, "a", ONE) == 0
    assert await attempt(counters, "a", ONE) == 60


async def test_refused_attempts_do_not_delay_the_expiry(counters: MemoryCounters, clock: Clock) -> None:
    assert await attempt(counters, "a", Backoff(free=1, delay=900)) == 0
    for _ in range(89):
        clock.now += 10
        assert await attempt(counters, "a", ONE) > 0
    clock.now += FORGOTTEN_AFTER - 890
    assert await attempt(counters, "a", ONE) == 0
    assert await attempt(counters, "a", ONE) == 60


async def test_the_delay_grows_to_its_maximum_and_stays_there(counters: MemoryCounters, clock: Clock) -> None:
    waits = []
    for _ in range(100):
        assert await attempt(counters, "a", ONE) == 0
        waits.append(await attempt(counters, "a", ONE))
        clock.now += waits[-1]
    assert waits == [60, 120, 240, 480, *[900] * 96]


async def test_the_least_recently_used_counters_are_evicted(counters: MemoryCounters) -> None:
    keys = [f"key {n}" for n in range(100)]
    for key in keys:
        assert await attempt(counters, key, Backoff(free=2, delay=60)) == 0
    assert await attempt(counters, "key 0", Backoff(free=2, delay=60)) == 0
    for n in range(99):
        assert await attempt(counters, f"other {n}", ONE) == 0
    assert await attempt(counters, "key 0", ONE) == 60
    assert await attempt(counters, "key 1", ONE) == 0


async def test_the_oldest_remembered_pairs_are_evicted(counters: MemoryCounters) -> None:
    for n in range(101):
        await counters.succeed(f"key {n}", client(f"key {n}", "home"), 60)
    assert not await is_usual(counters, "key 0", "home")
    assert await is_usual(counters, "key 1", "home")
    await counters.succeed("key 1", client("key 1", "home"), 60)
    await counters.succeed("one more", client("one more", "home"), 60)
    assert await is_usual(counters, "key 1", "home")
    assert not await is_usual(counters, "key 2", "home")


async def test_a_remembered_pair_expires(counters: MemoryCounters, clock: Clock) -> None:
    await counters.succeed("a", client("a", "home"), 60)
    clock.now += 59
    assert await is_usual(counters, "a", "home")
    clock.now += 1
    assert not await is_usual(counters, "a", "home")


@pytest.mark.parametrize(
    ("count", "elapsed", "left"),
    [(0, 0, 0), (2, 59, 2), (2, 60, 1), (2, 1e6, 0), (3, 60, 3), (3, 180, 2), (3, 240, 1), (5, 360, 3), (5, 1e6, 0)],
)
def test_a_count_decreases_quickly_within_the_free_attempts_and_slowly_above(
    count: int, elapsed: float, left: int
) -> None:
    assert Backoff(free=3, delay=60).leaked(count, elapsed) == left
