"""What every implementation of the limits port promises."""

import asyncio

import pytest

from kingpost.limits import LONGEST_DELAY, Limits, Policy

THREE = Policy(free=3, delay=60)
QUICK = Policy(free=3, delay=0.2)


async def use_up(limits: Limits, *keys: str, policy: Policy = THREE) -> None:
    for _ in range(policy.free):
        assert await limits.begin(keys, policy) == 0


async def test_so_many_guesses_are_free_and_the_next_one_waits(limits: Limits) -> None:
    await use_up(limits, "a")
    for _ in range(3):
        assert 59 < await limits.begin(["a"], THREE) <= 60


async def test_each_further_guess_doubles_the_wait(limits: Limits) -> None:
    await use_up(limits, "a", policy=QUICK)
    for expected in (0.2, 0.4, 0.8):
        wait = await limits.begin(["a"], QUICK)
        assert expected / 2 < wait <= expected
        await asyncio.sleep(wait + 0.01)
        assert await limits.begin(["a"], QUICK) == 0


async def test_a_counter_that_leaks_loses_guesses_with_time(limits: Limits) -> None:
    policy = Policy(free=3, delay=0.3)
    for key in ("a", "b"):
        for _ in range(2):
            assert await limits.begin([f"{key} stays"], policy, [key]) == 0
    await asyncio.sleep(0.65)
    for _ in range(2):
        assert await limits.begin([], policy, ["a"]) == 0
    # Beside it the counter that does not leak is used up with the third guess.
    assert await limits.begin(["b stays"], policy, ["b"]) == 0
    assert await limits.begin(["b stays"], policy) > 0
    assert await limits.begin([], policy, ["b"]) == 0


async def test_a_counter_that_leaks_grows_all_the_same_for_who_does_not_stop(limits: Limits) -> None:
    await use_up(limits, "a", policy=QUICK)
    waits = []
    for _ in range(3):
        wait = await limits.begin([], QUICK, ["a"])
        waits.append(wait)
        await asyncio.sleep(wait + 0.01)
        assert await limits.begin([], QUICK, ["a"]) == 0
    assert waits[0] < waits[1] < waits[2]


async def test_a_refused_guess_counts_for_nothing(limits: Limits) -> None:
    await use_up(limits, "a", policy=QUICK)
    for _ in range(20):
        assert await limits.begin(["a"], QUICK) > 0
    await asyncio.sleep(0.21)
    assert await limits.begin(["a"], QUICK) == 0
    assert 0.3 < await limits.begin(["a"], QUICK) <= 0.4


async def test_keys_have_nothing_to_do_with_each_other(limits: Limits) -> None:
    await use_up(limits, "a")
    await use_up(limits, "b")
    assert await limits.begin(["a"], THREE) > 0


async def test_a_guess_is_counted_under_all_its_keys_or_none(limits: Limits) -> None:
    await use_up(limits, "a")
    for _ in range(5):
        assert await limits.begin(["b", "a"], THREE) > 0
    await use_up(limits, "b")
    await use_up(limits, "c", "d")
    assert await limits.begin(["c"], THREE) > 0
    assert await limits.begin(["d"], THREE) > 0


async def test_of_several_keys_the_one_that_waits_longest_decides(limits: Limits) -> None:
    await use_up(limits, "a", policy=Policy(1, 100))
    await use_up(limits, "b", policy=Policy(1, 300))
    for keys in (["a", "b"], ["b", "a"], ["new", "b", "a"]):
        assert 290 < await limits.begin(keys, THREE) <= 300


@pytest.mark.parametrize("guessers", [20, 200])
async def test_of_any_number_of_guessers_at_once_on_two_nodes_only_the_free_ones_pass(
    nodes: list[Limits], guessers: int
) -> None:
    policy = Policy(free=10, delay=60)
    waits = await asyncio.gather(*[nodes[n % 2].begin(["a", f"b{n % 3}"], policy) for n in range(guessers)])
    assert sum(wait == 0 for wait in waits) == 10


async def test_nobody_ever_waits_longer_than_a_quarter_of_an_hour(limits: Limits) -> None:
    assert await limits.begin(["a"], Policy(free=1, delay=1e9)) == 0
    assert LONGEST_DELAY - 1 < await limits.begin(["a"], THREE) <= LONGEST_DELAY


async def test_a_guess_that_is_undone_was_never_made(nodes: list[Limits]) -> None:
    for _ in range(10):
        assert await nodes[0].begin(["a", "b"], THREE) == 0
        await nodes[1].undo(["a", "b"])
    await use_up(nodes[0], "a")
    await use_up(nodes[1], "b")


async def test_an_undone_guess_takes_its_delay_with_it_but_no_other_guess(limits: Limits) -> None:
    await use_up(limits, "a")
    await limits.undo(["a"])
    assert await limits.begin(["a"], THREE) == 0
    assert 59 < await limits.begin(["a"], THREE) <= 60


async def test_undoing_more_than_was_guessed_gives_nothing_away(limits: Limits) -> None:
    await limits.undo(["a"])
    assert await limits.begin(["a"], THREE) == 0
    for _ in range(5):
        await limits.undo(["a", "unknown"])
    await use_up(limits, "a")
    assert await limits.begin(["a"], THREE) > 0


async def test_of_guesses_undone_at_the_same_time_each_one_counts(nodes: list[Limits]) -> None:
    policy = Policy(free=50, delay=60)
    await use_up(nodes[0], "a", policy=policy)
    await asyncio.gather(*[nodes[n % 2].undo(["a"]) for n in range(20)])
    waits = await asyncio.gather(*[nodes[n % 2].begin(["a"], policy) for n in range(60)])
    assert sum(wait == 0 for wait in waits) == 20


async def test_a_reset_forgets_all_guesses_under_these_keys(nodes: list[Limits]) -> None:
    for key in ("a", "b", "c"):
        await use_up(nodes[0], key)
    await nodes[1].reset(["a", "b", "unknown"])
    await use_up(nodes[0], "a")
    await use_up(nodes[1], "b")
    assert await nodes[0].begin(["c"], THREE) > 0


async def test_what_is_remembered_is_so_for_its_time_and_on_all_nodes(nodes: list[Limits]) -> None:
    assert not await nodes[0].is_remembered("a")
    await nodes[0].remember("a", 1)
    await nodes[0].remember("b", 1)
    await nodes[1].remember("b", 60)
    assert await nodes[1].is_remembered("a")
    await asyncio.sleep(1.05)
    assert [await node.is_remembered("a") for node in nodes] == [False, False]
    assert await nodes[1].is_remembered("b")


async def test_counters_and_remembered_keys_of_one_name_are_apart(limits: Limits) -> None:
    await limits.remember("a", 60)
    await use_up(limits, "a")
    await limits.reset(["a"])
    assert await limits.is_remembered("a")
    await use_up(limits, "b")
    assert not await limits.is_remembered("b")


def test_the_delay_of_an_endless_attack_is_a_number() -> None:
    assert THREE.delay_after(2) == 0
    assert [THREE.delay_after(count) for count in range(3, 8)] == [60, 120, 240, 480, 900]
    assert THREE.delay_after(10**9) == LONGEST_DELAY
