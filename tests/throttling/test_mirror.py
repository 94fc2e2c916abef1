"""The mirror: the state it takes from the server, and the changes it keeps to share."""

import pytest

from kingpost.auth.throttling.counters import FORGOTTEN_AFTER, Backoff
from kingpost.auth.throttling.mirror import Change, Mirror
from tests.throttling.attempts import attempt, client
from tests.throttling.clock import Clock

FIVE = Backoff(free=5, delay=60)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mirror(clock: Clock) -> Mirror:
    return Mirror(capacity=10, now=clock)


async def passing(mirror: Mirror, key: str) -> int:
    """Return how many of ten attempts are allowed."""
    return [await attempt(mirror, key, FIVE) for _ in range(10)].count(0)


def taken(mirror: Mirror, *keys: str) -> dict[str, tuple[bool, int]]:
    """Take the changes of the keys: whether each counter was reset, and how many attempts were added."""
    return {key: (change.is_reset, change.count) for key, change in mirror.take(keys).items()}


async def test_attempts_continue_from_the_state_of_the_server(mirror: Mirror, clock: Clock) -> None:
    mirror.learn("a", as_of=1, count=3, age=10, wait=-10)
    mirror.learn("b", as_of=1, count=6, age=10, wait=20)
    assert await passing(mirror, "a") == 2
    assert await attempt(mirror, "b", FIVE) == 20
    clock.now += 20
    assert await attempt(mirror, "b", FIVE) == 0
    assert await attempt(mirror, "b", FIVE) == 240
    mirror.learn("b", as_of=2, count=0, age=0, wait=0)
    assert taken(mirror, "a", "b") == {"a": (False, 2), "b": (False, 1)}


async def test_the_counter_of_an_address_keeps_losing_attempts(mirror: Mirror, clock: Clock) -> None:
    mirror.learn("home", as_of=1, count=4, age=100, wait=-100)
    clock.now += 20
    # Two were lost in two minutes.
    assert [await attempt(mirror, f"{n}", FIVE, "home") for n in range(4)] == [0, 0, 0, 60]


async def test_unshared_attempts_are_added_to_the_state_of_the_server(mirror: Mirror) -> None:
    assert await passing(mirror, "a") == 5
    mirror.learn("a", as_of=1, count=2, age=0, wait=0)
    assert await attempt(mirror, "a", FIVE) == 60
    await mirror.undo(["a"])
    assert await passing(mirror, "a") == 1
    assert taken(mirror, "a") == {"a": (False, 5)}
    mirror.learn("a", as_of=2, count=2, age=0, wait=0)
    assert await passing(mirror, "a") == 3


async def test_an_older_state_is_ignored(mirror: Mirror) -> None:
    mirror.learn("a", as_of=2, count=4, age=0, wait=0)
    mirror.learn("a", as_of=1, count=1, age=0, wait=0)
    assert await passing(mirror, "a") == 1


async def test_a_state_from_before_the_clock_of_the_server_was_set_back_is_replaced(mirror: Mirror) -> None:
    mirror.learn("a", as_of=1e9, count=5, age=0, wait=60)
    mirror.learn("a", as_of=1e9 - 3600, count=1, age=0, wait=0)
    assert await passing(mirror, "a") == 4


async def test_an_unshared_reset_overrides_the_state_of_the_server(mirror: Mirror) -> None:
    mirror.learn("a", as_of=1, count=5, age=0, wait=60)
    await mirror.succeed("a", client("a", "home"), 60)
    mirror.learn("a", as_of=2, count=5, age=0, wait=60)
    assert await passing(mirror, "a") == 5
    assert taken(mirror, "a", "home", "unknown") == {"a": (True, 5), "home": (False, -1)}
    assert taken(mirror, "a", "home") == {}
    assert mirror.wait("a") == 60
    assert mirror.wait("unknown") == 0


async def test_an_attempt_and_its_undo_cancel_out(mirror: Mirror) -> None:
    assert await attempt(mirror, "a", FIVE, "home") == 0
    await mirror.undo(["a", "home"])
    assert taken(mirror, "a", "home") == {}


async def test_restored_changes_come_before_later_ones(mirror: Mirror) -> None:
    assert await attempt(mirror, "a", FIVE, "home") == 0
    await mirror.reset(["b", "c"])
    changes = mirror.take(["a", "b", "c"])
    await mirror.reset(["a"])
    assert await attempt(mirror, "b", FIVE) == 0
    mirror.restore(changes)
    assert taken(mirror, "a", "b", "c") == {"a": (True, 0), "b": (True, 1), "c": (True, 0)}
    assert await attempt(mirror, "d", FIVE) == 0
    changes = mirror.take(["d"])
    assert await attempt(mirror, "d", FIVE) == 0
    mirror.restore(changes)
    assert taken(mirror, "d") == {"d": (False, 2)}


async def test_changes_expire_with_their_counters(mirror: Mirror, clock: Clock) -> None:
    assert await attempt(mirror, "a", FIVE) == 0
    assert await attempt(mirror, "b", FIVE) == 0
    clock.now += FORGOTTEN_AFTER - 1
    changes = mirror.take(["a"])
    mirror.restore(changes)
    clock.now += 1
    assert mirror.take(["a", "b"]) == {}


async def test_the_oldest_changes_and_counters_are_evicted(mirror: Mirror) -> None:
    for n in range(11):
        await mirror.reset([f"{n}"])
    assert mirror.take(["0"]) == {}
    assert mirror.take(["1"]) == {"1": Change(is_reset=True, count=0, expires_at=1000 + FORGOTTEN_AFTER)}
    for n in range(11):
        mirror.learn(f"learned {n}", as_of=1, count=5, age=0, wait=60)
    assert await attempt(mirror, "learned 1", FIVE) == 60
    assert await attempt(mirror, "learned 0", FIVE) == 0
