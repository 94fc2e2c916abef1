"""The contract of every implementation of the attempt counters."""

import asyncio

import pytest

from kingpost.auth.throttling.counters import LONGEST_DELAY, AttemptCounters, AttemptKeys, Backoff, ClientKeys
from tests.throttling.attempts import attempt, attempt_from, client, is_usual, keys, site_client

THREE = Backoff(free=3, delay=60)
QUICK = Backoff(free=3, delay=0.2)


async def use_up(counters: AttemptCounters, account: str, address: str | None = None, backoff: Backoff = THREE) -> None:
    for _ in range(backoff.free):
        assert await attempt(counters, account, backoff, address) == 0


async def use_up_address(counters: AttemptCounters, address: str, backoff: Backoff = THREE) -> None:
    for _ in range(backoff.free):
        assert await attempt_from(counters, address, backoff) == 0


async def test_the_first_attempts_are_free_and_the_next_one_waits(counters: AttemptCounters) -> None:
    await use_up(counters, "a")
    for _ in range(3):
        assert 59 < await attempt(counters, "a", THREE) <= 60


async def test_each_further_attempt_doubles_the_wait(counters: AttemptCounters) -> None:
    await use_up(counters, "a", backoff=QUICK)
    for expected in (0.2, 0.4, 0.8):
        wait = await attempt(counters, "a", QUICK)
        assert expected / 2 < wait <= expected
        await asyncio.sleep(wait + 0.01)
        assert await attempt(counters, "a", QUICK) == 0


async def test_the_counter_of_an_address_loses_attempts_with_time(counters: AttemptCounters) -> None:
    backoff = Backoff(free=3, delay=0.3)
    for address in ("a", "b"):
        for _ in range(2):
            assert await attempt(counters, f"tried from {address}", backoff, address) == 0
    await asyncio.sleep(0.65)
    for _ in range(2):
        assert await attempt_from(counters, "a", backoff) == 0
    # The counter of the account loses none, and is used up with the third attempt.
    assert await attempt(counters, "tried from b", backoff, "b") == 0
    assert await attempt(counters, "tried from b", backoff) > 0
    assert await attempt_from(counters, "b", backoff) == 0


async def test_the_counter_of_an_address_still_grows_under_continuous_attempts(counters: AttemptCounters) -> None:
    await use_up_address(counters, "a", backoff=QUICK)
    waits = []
    for _ in range(3):
        wait = await attempt_from(counters, "a", QUICK)
        waits.append(wait)
        await asyncio.sleep(wait + 0.01)
        assert await attempt_from(counters, "a", QUICK) == 0
    assert waits[0] < waits[1] < waits[2]


async def test_a_refused_attempt_is_not_counted(counters: AttemptCounters) -> None:
    await use_up(counters, "a", backoff=QUICK)
    for _ in range(20):
        assert await attempt(counters, "a", QUICK) > 0
    await asyncio.sleep(0.21)
    assert await attempt(counters, "a", QUICK) == 0
    assert 0.3 < await attempt(counters, "a", QUICK) <= 0.4


async def test_keys_are_independent(counters: AttemptCounters) -> None:
    await use_up(counters, "a")
    await use_up(counters, "b")
    assert await attempt(counters, "a", THREE) > 0


async def test_an_attempt_is_counted_under_both_keys_or_none(counters: AttemptCounters) -> None:
    await use_up(counters, "a")
    for _ in range(5):
        assert await attempt(counters, "a", THREE, "b") > 0
    await use_up_address(counters, "b")
    for _ in range(5):
        assert await attempt(counters, "c", THREE, "b") > 0
    await use_up(counters, "c", "d")
    assert await attempt(counters, "c", THREE) > 0
    assert await attempt_from(counters, "d", THREE) > 0


async def test_the_key_with_the_longest_wait_decides(counters: AttemptCounters) -> None:
    short, long = Backoff(1, 100), Backoff(1, 300)
    await use_up(counters, "a", backoff=short)
    await use_up(counters, "b", backoff=long)
    await use_up_address(counters, "A", backoff=short)
    await use_up_address(counters, "B", backoff=long)
    for account, address in (("a", "B"), ("b", "A"), ("b", "new"), ("new", "B")):
        assert 290 < await attempt(counters, account, THREE, address) <= 300


@pytest.mark.parametrize("callers", [20, 200])
async def test_concurrent_callers_on_two_nodes_get_only_the_free_attempts(
    nodes: list[AttemptCounters], callers: int
) -> None:
    backoff = Backoff(free=10, delay=60)
    waits = await asyncio.gather(*[attempt(nodes[n % 2], f"a{n % 3}", backoff, "b") for n in range(callers)])
    assert sum(wait == 0 for wait in waits) == 10
    waits = await asyncio.gather(*[attempt(nodes[n % 2], "a", backoff, f"b{n % 3}") for n in range(callers)])
    assert sum(wait == 0 for wait in waits) == 10


async def test_the_wait_is_at_most_a_quarter_of_an_hour(counters: AttemptCounters) -> None:
    assert await attempt(counters, "a", Backoff(free=1, delay=1e9)) == 0
    assert LONGEST_DELAY - 1 < await attempt(counters, "a", THREE) <= LONGEST_DELAY


async def test_an_undone_attempt_is_not_counted(nodes: list[AttemptCounters]) -> None:
    for _ in range(10):
        assert await attempt(nodes[0], "a", THREE, "b") == 0
        await nodes[1].undo(["a", "b"])
    await use_up(nodes[0], "a")
    await use_up_address(nodes[1], "b")


async def test_undoing_an_attempt_removes_its_delay_but_no_other_attempt(counters: AttemptCounters) -> None:
    await use_up(counters, "a")
    await counters.undo(["a"])
    assert await attempt(counters, "a", THREE) == 0
    assert 59 < await attempt(counters, "a", THREE) <= 60


async def test_undoing_more_attempts_than_were_made_adds_no_free_attempts(counters: AttemptCounters) -> None:
    await counters.undo(["a"])
    assert await attempt(counters, "a", THREE) == 0
    for _ in range(5):
        await counters.undo(["a", "unknown"])
    await use_up(counters, "a")
    assert await attempt(counters, "a", THREE) > 0


async def test_attempts_undone_concurrently_are_all_undone(nodes: list[AttemptCounters]) -> None:
    backoff = Backoff(free=50, delay=60)
    await use_up(nodes[0], "a", backoff=backoff)
    await asyncio.gather(*[nodes[n % 2].undo(["a"]) for n in range(20)])
    waits = await asyncio.gather(*[attempt(nodes[n % 2], "a", backoff) for n in range(60)])
    assert sum(wait == 0 for wait in waits) == 20


async def test_a_success_removes_the_counter_of_the_account_and_one_attempt_of_the_address(
    nodes: list[AttemptCounters],
) -> None:
    await use_up(nodes[0], "a", "b")
    await nodes[1].succeed("a", client("a", "b"), 60)
    assert await attempt_from(nodes[0], "b", THREE) == 0
    assert 59 < await attempt_from(nodes[1], "b", THREE) <= 60
    await use_up(nodes[0], "a")
    assert await attempt(nodes[1], "a", THREE) > 0


async def test_a_success_from_an_unknown_address_removes_the_counter_of_the_account(
    nodes: list[AttemptCounters],
) -> None:
    await use_up(nodes[0], "a")
    await nodes[1].succeed("a", None, 60)
    await use_up(nodes[0], "a")


async def test_concurrent_successes_are_all_counted(nodes: list[AttemptCounters]) -> None:
    backoff = Backoff(free=50, delay=60)
    await use_up_address(nodes[0], "b", backoff=backoff)
    await asyncio.gather(*[nodes[n % 2].succeed(f"a{n}", client(f"a{n}", "b"), 60) for n in range(20)])
    waits = await asyncio.gather(*[attempt_from(nodes[n % 2], "b", backoff) for n in range(60)])
    assert sum(wait == 0 for wait in waits) == 20


async def test_a_reset_forgets_all_attempts_under_these_keys(nodes: list[AttemptCounters]) -> None:
    for key in ("a", "b", "c"):
        await use_up(nodes[0], key)
    await nodes[1].reset(["a", "b", "unknown"])
    await use_up(nodes[0], "a")
    await use_up(nodes[1], "b")
    assert await attempt(nodes[0], "c", THREE) > 0


async def test_after_a_success_the_counter_of_the_pair_replaces_that_of_the_account(
    nodes: list[AttemptCounters],
) -> None:
    await nodes[0].succeed("a", client("a", "home"), 60)
    await use_up(nodes[1], "a", "elsewhere")
    assert await attempt(nodes[0], "a", THREE, "another") > 0
    for node in nodes:
        assert (await node.begin(keys("a", "home"), THREE)).own == "a at home"
        await node.undo(["home"])
    assert await attempt(nodes[0], "a", THREE, "home") == 0
    await nodes[1].undo(["home"])
    refused = await nodes[0].begin(keys("a", "home"), THREE)
    assert refused.wait > 59
    assert refused.own == "a at home"
    await nodes[1].succeed("a at home", client("a", "home"), 60)
    await use_up(nodes[0], "a at home")
    # The success at home does not help a client at another address.
    assert await attempt(nodes[0], "a", THREE, "another") > 0


async def test_a_pair_is_remembered_on_all_nodes_until_it_expires(nodes: list[AttemptCounters]) -> None:
    assert not await is_usual(nodes[0], "a", "home")
    await nodes[0].succeed("a", client("a", "home"), 1)
    await nodes[0].succeed("b", client("b", "home"), 1)
    await nodes[1].succeed("b", client("b", "home"), 60)
    assert await is_usual(nodes[1], "a", "home")
    await asyncio.sleep(1.05)
    assert [await is_usual(node, "a", "home") for node in nodes] == [False, False]
    assert await is_usual(nodes[1], "b", "home")


async def test_counters_and_remembered_pairs_of_one_key_are_separate(counters: AttemptCounters) -> None:
    await counters.succeed("a", client("a", "home"), 60)
    await use_up(counters, "a at home")
    await counters.reset(["a at home"])
    assert await is_usual(counters, "a", "home")
    await use_up(counters, "b at home")
    assert not await is_usual(counters, "b", "home")


async def test_a_wider_network_allows_more_attempts_and_then_delays_all_its_clients(
    nodes: list[AttemptCounters],
) -> None:
    begun = [await nodes[n % 2].begin(site_client(f"account {n}", f"address {n}", "site", 4), THREE) for n in range(12)]
    assert [one.wait for one in begun] == [0] * 12
    refused = await nodes[0].begin(site_client("another", "yet another", "site", 4), THREE)
    # Its back-off is that of four clients: the first delay is a fourth.
    assert 14 < refused.wait <= 15
    assert (await nodes[1].begin(site_client("another", "yet another", "other site", 4), THREE)).wait == 0
    # Nothing was counted for the refused attempt, and a success takes back one attempt of each network.
    assert (await nodes[1].begin(site_client("another", "yet another", "third site", 4), THREE)).wait == 0
    client_keys = site_client("account 0", "address 0", "site", 4).client
    await nodes[0].succeed("account 0", client_keys, 60)
    assert (await nodes[1].begin(site_client("new", "new", "site", 4), THREE)).wait == 0
    assert (await nodes[0].begin(site_client("newer", "newer", "site", 4), THREE)).wait > 0


async def test_the_counter_of_a_wider_network_loses_attempts_faster(counters: AttemptCounters) -> None:
    backoff = Backoff(free=3, delay=2.0)
    for number in range(12):
        assert (await counters.begin(site_client(f"{number}", f"at {number}", "site", 4), backoff)).wait == 0
    await asyncio.sleep(0.51)
    # It loses one in half a second, and each of its clients one in two seconds.
    assert (await counters.begin(site_client("new", "new", "site", 4), backoff)).wait == 0


@pytest.mark.parametrize("callers", [20, 100])
async def test_concurrent_callers_from_one_site_get_only_its_free_attempts(
    nodes: list[AttemptCounters], callers: int
) -> None:
    begun = await asyncio.gather(
        *[nodes[n % 2].begin(site_client(f"a{n}", f"b{n}", "site", 4), THREE) for n in range(callers)]
    )
    assert sum(one.wait == 0 for one in begun) == 12


async def test_a_pair_can_be_remembered_without_counting_any_network(nodes: list[AttemptCounters]) -> None:
    without = AttemptKeys("a", ClientKeys((), "a at home"))
    assert (await nodes[0].begin(without, THREE)).own == "a"
    await nodes[0].succeed("a", without.client, 60)
    await use_up(nodes[1], "a")
    for _ in range(3):
        begun = await nodes[1].begin(without, THREE)
        assert (begun.wait, begun.own) == (0, "a at home")
    assert (await nodes[0].begin(without, THREE)).wait > 0


def test_the_delay_of_an_endless_attack_does_not_overflow() -> None:
    assert THREE.delay_after(2) == 0
    assert [THREE.delay_after(count) for count in range(3, 8)] == [60, 120, 240, 480, 900]
    assert THREE.delay_after(10**9) == LONGEST_DELAY
