"""What every implementation of the counters port promises."""

import asyncio

import pytest

from kingpost.auth.throttling.counters import LONGEST_DELAY, AttemptCounters, Backoff

THREE = Backoff(free=3, delay=60)
QUICK = Backoff(free=3, delay=0.2)


async def use_up(counters: AttemptCounters, *keys: str, backoff: Backoff = THREE) -> None:
    for _ in range(backoff.free):
        assert await counters.begin(keys, backoff) == 0


async def test_so_many_attempts_are_free_and_the_next_one_waits(counters: AttemptCounters) -> None:
    await use_up(counters, "a")
    for _ in range(3):
        assert 59 < await counters.begin(["a"], THREE) <= 60


async def test_each_further_attempt_doubles_the_wait(counters: AttemptCounters) -> None:
    await use_up(counters, "a", backoff=QUICK)
    for expected in (0.2, 0.4, 0.8):
        wait = await counters.begin(["a"], QUICK)
        assert expected / 2 < wait <= expected
        await asyncio.sleep(wait + 0.01)
        assert await counters.begin(["a"], QUICK) == 0


async def test_a_counter_that_leaks_loses_attempts_with_time(counters: AttemptCounters) -> None:
    backoff = Backoff(free=3, delay=0.3)
    for key in ("a", "b"):
        for _ in range(2):
            assert await counters.begin([f"{key} stays"], backoff, [key]) == 0
    await asyncio.sleep(0.65)
    for _ in range(2):
        assert await counters.begin([], backoff, ["a"]) == 0
    # Beside it the counter that does not leak is used up with the third attempt.
    assert await counters.begin(["b stays"], backoff, ["b"]) == 0
    assert await counters.begin(["b stays"], backoff) > 0
    assert await counters.begin([], backoff, ["b"]) == 0


async def test_a_counter_that_leaks_grows_all_the_same_for_who_does_not_stop(counters: AttemptCounters) -> None:
    await use_up(counters, "a", backoff=QUICK)
    waits = []
    for _ in range(3):
        wait = await counters.begin([], QUICK, ["a"])
        waits.append(wait)
        await asyncio.sleep(wait + 0.01)
        assert await counters.begin([], QUICK, ["a"]) == 0
    assert waits[0] < waits[1] < waits[2]


async def test_a_refused_attempt_counts_for_nothing(counters: AttemptCounters) -> None:
    await use_up(counters, "a", backoff=QUICK)
    for _ in range(20):
        assert await counters.begin(["a"], QUICK) > 0
    await asyncio.sleep(0.21)
    assert await counters.begin(["a"], QUICK) == 0
    assert 0.3 < await counters.begin(["a"], QUICK) <= 0.4


async def test_keys_have_nothing_to_do_with_each_other(counters: AttemptCounters) -> None:
    await use_up(counters, "a")
    await use_up(counters, "b")
    assert await counters.begin(["a"], THREE) > 0


async def test_an_attempt_is_counted_under_all_its_keys_or_none(counters: AttemptCounters) -> None:
    await use_up(counters, "a")
    for _ in range(5):
        assert await counters.begin(["b", "a"], THREE) > 0
    await use_up(counters, "b")
    await use_up(counters, "c", "d")
    assert await counters.begin(["c"], THREE) > 0
    assert await counters.begin(["d"], THREE) > 0


async def test_of_several_keys_the_one_that_waits_longest_decides(counters: AttemptCounters) -> None:
    await use_up(counters, "a", backoff=Backoff(1, 100))
    await use_up(counters, "b", backoff=Backoff(1, 300))
    for keys in (["a", "b"], ["b", "a"], ["new", "b", "a"]):
        assert 290 < await counters.begin(keys, THREE) <= 300


@pytest.mark.parametrize("callers", [20, 200])
async def test_of_any_number_of_callers_at_once_on_two_nodes_only_the_free_ones_pass(
    nodes: list[AttemptCounters], callers: int
) -> None:
    backoff = Backoff(free=10, delay=60)
    waits = await asyncio.gather(*[nodes[n % 2].begin(["a", f"b{n % 3}"], backoff) for n in range(callers)])
    assert sum(wait == 0 for wait in waits) == 10


async def test_nobody_ever_waits_longer_than_a_quarter_of_an_hour(counters: AttemptCounters) -> None:
    assert await counters.begin(["a"], Backoff(free=1, delay=1e9)) == 0
    assert LONGEST_DELAY - 1 < await counters.begin(["a"], THREE) <= LONGEST_DELAY


async def test_an_attempt_that_is_undone_was_never_made(nodes: list[AttemptCounters]) -> None:
    for _ in range(10):
        assert await nodes[0].begin(["a", "b"], THREE) == 0
        await nodes[1].undo(["a", "b"])
    await use_up(nodes[0], "a")
    await use_up(nodes[1], "b")


async def test_an_undone_attempt_takes_its_delay_with_it_but_no_other_attempt(counters: AttemptCounters) -> None:
    await use_up(counters, "a")
    await counters.undo(["a"])
    assert await counters.begin(["a"], THREE) == 0
    assert 59 < await counters.begin(["a"], THREE) <= 60


async def test_undoing_more_attempts_than_were_made_gives_nothing_away(counters: AttemptCounters) -> None:
    await counters.undo(["a"])
    assert await counters.begin(["a"], THREE) == 0
    for _ in range(5):
        await counters.undo(["a", "unknown"])
    await use_up(counters, "a")
    assert await counters.begin(["a"], THREE) > 0


async def test_of_attempts_undone_at_the_same_time_each_one_counts(nodes: list[AttemptCounters]) -> None:
    backoff = Backoff(free=50, delay=60)
    await use_up(nodes[0], "a", backoff=backoff)
    await asyncio.gather(*[nodes[n % 2].undo(["a"]) for n in range(20)])
    waits = await asyncio.gather(*[nodes[n % 2].begin(["a"], backoff) for n in range(60)])
    assert sum(wait == 0 for wait in waits) == 20


async def test_a_reset_forgets_all_attempts_under_these_keys(nodes: list[AttemptCounters]) -> None:
    for key in ("a", "b", "c"):
        await use_up(nodes[0], key)
    await nodes[1].reset(["a", "b", "unknown"])
    await use_up(nodes[0], "a")
    await use_up(nodes[1], "b")
    assert await nodes[0].begin(["c"], THREE) > 0


async def test_what_is_remembered_is_so_for_its_time_and_on_all_nodes(nodes: list[AttemptCounters]) -> None:
    assert not await nodes[0].is_remembered("a")
    await nodes[0].remember("a", 1)
    await nodes[0].remember("b", 1)
    await nodes[1].remember("b", 60)
    assert await nodes[1].is_remembered("a")
    await asyncio.sleep(1.05)
    assert [await node.is_remembered("a") for node in nodes] == [False, False]
    assert await nodes[1].is_remembered("b")


async def test_counters_and_remembered_keys_of_one_name_are_apart(counters: AttemptCounters) -> None:
    await counters.remember("a", 60)
    await use_up(counters, "a")
    await counters.reset(["a"])
    assert await counters.is_remembered("a")
    await use_up(counters, "b")
    assert not await counters.is_remembered("b")


def test_the_delay_of_an_endless_attack_is_a_number() -> None:
    assert THREE.delay_after(2) == 0
    assert [THREE.delay_after(count) for count in range(3, 8)] == [60, 120, 240, 480, 900]
    assert THREE.delay_after(10**9) == LONGEST_DELAY
