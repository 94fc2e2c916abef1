"""Tests for counters in Valkey only: outages, restarts, and the stored data."""

import asyncio
import logging
import time
import uuid

import pytest

from kingpost.auth.throttling.counters import FORGOTTEN_AFTER, AttemptCounters, Backoff
from kingpost.auth.throttling.service import Throttle
from kingpost.auth.throttling.valkey import RETRY_EVERY, ValkeyCounters
from kingpost.secret import MasterSecret
from kingpost.settings import Rate
from tests.servers import ValkeyServer
from tests.throttling.attempts import attempt, attempt_from, client, is_usual
from tests.throttling.conftest import LONG_TIMEOUT

FIVE = Backoff(free=5, delay=60)


async def passing(counters: AttemptCounters, key: str, attempts: int = 20) -> int:
    """Return how many of many attempts are allowed."""
    return [await attempt(counters, key, FIVE) for _ in range(attempts)].count(0)


async def until_shared(valkey_server: ValkeyServer, *nodes: ValkeyCounters) -> None:
    """Wait until each of the nodes uses the server again."""
    async with asyncio.timeout(30):
        for node in nodes:
            probe = uuid.uuid4().hex
            while not await valkey_server.command("EXISTS", f"kingpost:remembered:{client(probe, 'probe').pair}"):
                await node.succeed(probe, client(probe, "probe"), 60)
                await asyncio.sleep(0.05)


async def passing_while_shared(nodes: list[ValkeyCounters], caplog: pytest.LogCaptureFixture) -> int:
    """Count the attempts that pass on two nodes in turns. Try again if Valkey timed out on a slow machine."""
    async with asyncio.timeout(60):
        while True:
            caplog.clear()
            key = uuid.uuid4().hex
            waits = await asyncio.gather(*[attempt(nodes[n % 2], key, FIVE) for n in range(50)])
            if "cannot be used" not in caplog.text:
                return waits.count(0)
            await asyncio.sleep(RETRY_EVERY)


async def test_counters_survive_a_restart_of_the_node(
    valkey_server: ValkeyServer, unhurried_nodes: list[ValkeyCounters]
) -> None:
    assert await passing(unhurried_nodes[0], "a") == 5
    await unhurried_nodes[0].succeed("usual", client("usual", "home"), 60)
    restarted = ValkeyCounters(valkey_server.url, LONG_TIMEOUT)
    assert await passing(restarted, "a") == 0
    assert await is_usual(restarted, "usual", "home")
    await restarted.close()


async def test_every_key_in_valkey_expires(valkey_server: ValkeyServer, unhurried_nodes: list[ValkeyCounters]) -> None:
    await attempt(unhurried_nodes[0], "a", FIVE, "b")
    await unhurried_nodes[0].succeed("c", client("c", "home"), 77)
    lifetimes = await valkey_server.lifetimes()
    assert len(lifetimes) == 3
    assert all(name.startswith("kingpost:") for name in lifetimes)
    counters = [seconds for name, seconds in lifetimes.items() if name.endswith((":a", ":b"))]
    assert counters == pytest.approx([FORGOTTEN_AFTER] * 2, abs=2)
    assert lifetimes["kingpost:remembered:c at home"] == pytest.approx(77, abs=2)


@pytest.mark.parametrize("ahead", [60, 3600, 365 * 86400])
async def test_nobody_waits_for_a_clock_that_was_ahead_and_came_back(
    valkey_server: ValkeyServer, unhurried_nodes: list[ValkeyCounters], ahead: int
) -> None:
    # What the counters looked like if the server's clock had been ahead during these attempts.
    assert await passing(unhurried_nodes[0], "a") == 5
    for field in ("counted_at", "waits_until"):
        await valkey_server.command("HINCRBYFLOAT", "kingpost:attempts:a", field, str(ahead))
    await valkey_server.command("EXPIRE", "kingpost:attempts:a", str(int(FORGOTTEN_AFTER) + ahead))
    assert 50 < await attempt(unhurried_nodes[1], "a", FIVE) <= 60
    lifetimes = await valkey_server.lifetimes()
    assert lifetimes["kingpost:attempts:a"] == pytest.approx(FORGOTTEN_AFTER, abs=2)


async def test_each_node_continues_with_its_own_counts_without_valkey(
    valkey_server: ValkeyServer, valkey_nodes: list[ValkeyCounters], caplog: pytest.LogCaptureFixture
) -> None:
    await valkey_nodes[0].succeed("usual", client("usual", "home"), 60)
    assert await is_usual(valkey_nodes[1], "usual", "home")
    assert [await passing(node, "a", attempts=2) for node in valkey_nodes] == [2, 2]
    assert [await passing(node, "used up") for node in valkey_nodes] == [5, 0]
    valkey_server.stop()
    try:
        started = time.monotonic()
        # The first node knows of its own attempts, the second node of all.
        assert [await passing(node, "a") for node in valkey_nodes] == [3, 1]
        assert [await passing(node, "used up") for node in valkey_nodes] == [0, 0]
        assert [await passing(node, "new") for node in valkey_nodes] == [5, 5]
        await valkey_nodes[0].undo(["a"])
        assert await passing(valkey_nodes[0], "a") == 1
        await valkey_nodes[0].reset(["a"])
        assert await passing(valkey_nodes[0], "a") == 5
        assert [await is_usual(node, "usual", "home") for node in valkey_nodes] == [True, True]
        await valkey_nodes[1].succeed("another", client("another", "home"), 60)
        assert await is_usual(valkey_nodes[1], "another", "home")
        assert time.monotonic() - started < 2
    finally:
        valkey_server.start()
    await until_shared(valkey_server, *valkey_nodes)
    assert "answers again" in caplog.text
    assert await passing_while_shared(valkey_nodes, caplog) == 5


async def test_a_freeze_during_many_attempts_allows_no_more_of_them(
    valkey_server: ValkeyServer, valkey_nodes: list[ValkeyCounters]
) -> None:
    node = valkey_nodes[0]
    passed = await passing(node, "a", attempts=2) + await passing(node, "b", attempts=2)
    with valkey_server.frozen():
        passed += await passing(node, "a", attempts=2) + await passing(node, "b")
    await until_shared(valkey_server, node)
    passed += await passing(node, "a") + await passing(node, "b")
    assert passed == 10
    # The other node did not know of any of these attempts.
    assert [await passing(valkey_nodes[1], key) for key in ("a", "b")] == [0, 0]


async def test_a_freeze_during_concurrent_attempts_allows_no_more_of_them(
    valkey_server: ValkeyServer, valkey_nodes: list[ValkeyCounters]
) -> None:
    thirty = Backoff(free=30, delay=60)
    attempts = [asyncio.create_task(attempt(valkey_nodes[0], "a", thirty)) for _ in range(100)]
    # Some attempts have been answered, and some are in progress.
    await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
    with valkey_server.frozen():
        waits = await asyncio.gather(*attempts)
    await until_shared(valkey_server, valkey_nodes[0])
    waits += await asyncio.gather(*[attempt(valkey_nodes[0], "a", thirty) for _ in range(50)])
    assert waits.count(0) == 30


async def test_successful_attempts_during_an_outage_leave_no_counters(
    valkey_server: ValkeyServer, valkey_nodes: list[ValkeyCounters]
) -> None:
    node, twenty = valkey_nodes[0], Backoff(free=20, delay=60)

    async def ten_attempts(account: str) -> list[float]:
        return await asyncio.gather(*[attempt(node, f"{account} {n}", twenty, "home") for n in range(10)])

    async def ten_successes(account: str) -> None:
        accounts = [f"{account} {n}" for n in range(10)]
        await asyncio.gather(*[node.succeed(name, client(name, "home"), 60) for name in accounts])

    assert await ten_attempts("answered") == [0] * 10
    with valkey_server.frozen():
        # The server reads these when it continues. By then they are too late.
        assert await ten_attempts("on its way") == [0] * 10
        await ten_successes("answered")
        await ten_successes("on its way")
    await until_shared(valkey_server, node)
    waits = [await attempt_from(node, "home", twenty) for _ in range(30)]
    assert waits.count(0) == 20


async def test_a_reset_during_an_outage_is_shared_later(
    valkey_server: ValkeyServer, valkey_nodes: list[ValkeyCounters]
) -> None:
    assert await passing(valkey_nodes[0], "a") == 5
    with valkey_server.frozen():
        await valkey_nodes[1].reset(["a"])
        assert await passing(valkey_nodes[1], "a", attempts=2) == 2
    await until_shared(valkey_server, valkey_nodes[1])
    assert await passing(valkey_nodes[1], "a", attempts=1) == 1
    assert await passing(valkey_nodes[0], "a") == 2


async def test_a_hanging_valkey_costs_one_timeout_and_not_one_per_login(
    valkey_server: ValkeyServer, valkey_nodes: list[ValkeyCounters]
) -> None:
    assert await passing(valkey_nodes[0], "a", attempts=2) == 2
    with valkey_server.frozen():
        started = time.monotonic()
        # The first ones, at once, and then many in a row.
        waits = await asyncio.gather(*[attempt(valkey_nodes[0], "a", FIVE) for _ in range(100)])
        assert waits.count(0) == 3
        assert await passing(valkey_nodes[0], "b", attempts=200) == 5
        assert time.monotonic() - started < 2 * RETRY_EVERY
    await until_shared(valkey_server, *valkey_nodes)
    # The first node has not used the counter again, so that the server knows of two attempts only.
    assert await passing(valkey_nodes[1], "a") == 3


async def test_attempts_during_an_outage_are_answered_quickly_and_stay_limited(
    valkey_server: ValkeyServer, valkey_nodes: list[ValkeyCounters]
) -> None:
    slowest, passed, done = 0.0, 0, False

    async def keep_trying(node: ValkeyCounters) -> None:
        nonlocal slowest, passed
        while not done:
            started = time.monotonic()
            passed += await attempt(node, "a", FIVE) == 0
            slowest = max(slowest, time.monotonic() - started)
            await asyncio.sleep(0.01)

    callers = [asyncio.create_task(keep_trying(valkey_nodes[n % 2])) for n in range(10)]
    for _ in range(2):
        await asyncio.sleep(0.2)
        with valkey_server.frozen():
            await asyncio.sleep(1.5)
        await asyncio.sleep(0.2)
        valkey_server.stop()
        await asyncio.sleep(0.5)
        valkey_server.start()
    await until_shared(valkey_server, *valkey_nodes)
    done = True
    await asyncio.gather(*callers)
    # Each of the three runs of the server allows at most five, and the memory of each node as many.
    assert 1 <= passed <= 5 * (3 + 2)
    assert slowest < 1


async def test_failures_are_logged_once(
    valkey_server: ValkeyServer, valkey_nodes: list[ValkeyCounters], caplog: pytest.LogCaptureFixture
) -> None:
    with valkey_server.frozen():
        for _ in range(3):
            await passing(valkey_nodes[0], "a")
            await asyncio.sleep(RETRY_EVERY)
    await until_shared(valkey_server, valkey_nodes[0])
    messages = [record.getMessage() for record in caplog.records if record.name == "kingpost.throttling"]
    assert [message.partition(" (")[0] for message in messages] == [
        "Valkey cannot be used",
        "Valkey answers again: attempts are counted for all nodes together",
    ]


async def test_undoing_a_local_attempt_does_not_mark_valkey_as_available(
    valkey_server: ValkeyServer, valkey_nodes: list[ValkeyCounters], caplog: pytest.LogCaptureFixture
) -> None:
    with valkey_server.frozen():
        assert await attempt(valkey_nodes[0], "a", FIVE) == 0
        await asyncio.sleep(RETRY_EVERY)
        await valkey_nodes[0].undo(["a"])
        assert "answers again" not in caplog.text
    await until_shared(valkey_server, valkey_nodes[0])


@pytest.mark.parametrize("url", ["redis://:wrong@127.0.0.1:{port}", "redis://127.0.0.1:{port}", "redis://127.0.0.1:1"])
async def test_a_refusing_valkey_is_logged_at_the_start_and_not_required(
    valkey_server: ValkeyServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    counters = ValkeyCounters(url.format(port=valkey_server.port))
    await counters.start()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "wrong" not in caplog.text
    assert await passing(counters, "a") == 5
    await counters.close()


async def test_a_valkey_without_memory_is_not_required(
    valkey_server: ValkeyServer, valkey_nodes: list[ValkeyCounters]
) -> None:
    await valkey_server.configure("maxmemory", "1")
    try:
        assert await passing(valkey_nodes[0], "a") == 5
    finally:
        await valkey_server.configure("maxmemory", "0")
    await until_shared(valkey_server, *valkey_nodes)


async def test_lost_scripts_are_loaded_into_valkey_again(
    valkey_server: ValkeyServer, unhurried_nodes: list[ValkeyCounters], caplog: pytest.LogCaptureFixture
) -> None:
    assert await passing(unhurried_nodes[0], "a", attempts=2) == 2
    await valkey_server.command("SCRIPT", "FLUSH")
    assert await passing(unhurried_nodes[0], "a") == 3
    assert not caplog.records


async def test_a_good_login_takes_two_round_trips(
    valkey_server: ValkeyServer, unhurried_nodes: list[ValkeyCounters]
) -> None:
    throttle = Throttle(unhurried_nodes[0], Rate(5, "minute"), MasterSecret("the master secret of the tests"))
    runs = []
    for _ in range(2):
        before = await scripts_run(valkey_server)
        async with throttle.password("ada@example.com", "192.0.2.1") as attempt:
            attempt.succeed()
        runs.append(await scripts_run(valkey_server) - before)
    # The server might not have the scripts before the first login.
    assert runs[1] == 2


async def scripts_run(valkey_server: ValkeyServer) -> int:
    """Return how many scripts clients have run so far."""
    statistics = await valkey_server.command("INFO", "commandstats")
    return int(statistics.get("cmdstat_evalsha", {"calls": 0})["calls"])
