"""The queue in front of the hashing threads: who is served first, with jobs that end when a test says so."""

import asyncio
import itertools
import random
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
import pytest_asyncio

from kingpost.auth.passwords.hashing_queue import HashingQueue

TIMEOUT = 30.0


class Jobs:
    """Jobs that run in the queue until they are released, with the order in which they started."""

    def __init__(self, threads: int) -> None:
        self.queue = HashingQueue(threads)
        self.started: list[str] = []
        self.running: set[str] = set()
        self._gates: dict[str, threading.Event] = {}

    def arrive(self, name: str) -> "asyncio.Future[str]":
        """A job arrives. Names of urgent ones begin with `login`."""
        self._gates[name] = threading.Event()
        future = self.queue.submit(partial(self._run, name), urgent=name.startswith("login"))
        return asyncio.ensure_future(asyncio.wrap_future(future))

    async def has_started(self, *names: str) -> None:
        """Wait until these jobs have started, and check that no others have."""
        await until(lambda: set(names) <= set(self.started))
        await settled()
        assert set(self.started) == set(names)

    async def end(self, name: str) -> None:
        """Let a job end, and wait until its thread is free."""
        self._gates[name].set()
        await until(lambda: name not in self.running)
        await settled()

    def end_all(self) -> None:
        for gate in self._gates.values():
            gate.set()

    def _run(self, name: str) -> str:
        self.started.append(name)
        self.running.add(name)
        self._gates[name].wait(TIMEOUT)
        self.running.discard(name)
        return name


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - threads change it
            await asyncio.sleep(0.001)


async def settled() -> None:
    """Let everything happen that can happen without the test."""
    for _ in range(3):
        await asyncio.sleep(0.002)


@pytest_asyncio.fixture
async def one() -> AsyncIterator[Jobs]:
    jobs = Jobs(1)
    yield jobs
    jobs.end_all()
    jobs.queue.close()


@pytest_asyncio.fixture
async def three() -> AsyncIterator[Jobs]:
    jobs = Jobs(3)
    yield jobs
    jobs.end_all()
    jobs.queue.close()


async def test_logins_that_wait_are_served_before_sign_ups_that_came_first(one: Jobs) -> None:
    tasks = [one.arrive(f"sign-up {n}") for n in range(3)]
    await one.has_started("sign-up 0")
    tasks += [one.arrive(f"login {n}") for n in range(2)]
    await settled()
    order = ["sign-up 0", "login 0", "login 1", "sign-up 1", "sign-up 2"]
    for count, name in enumerate(order, start=1):
        await one.has_started(*order[:count])
        await one.end(name)
    assert one.started == order
    assert sorted(await asyncio.gather(*tasks)) == sorted(order)


async def test_sign_ups_never_take_the_last_thread(three: Jobs) -> None:
    tasks = [three.arrive(f"sign-up {n}") for n in range(5)]
    await three.has_started("sign-up 0", "sign-up 1")
    tasks.append(three.arrive("login 0"))
    await three.has_started("sign-up 0", "sign-up 1", "login 0")
    await three.end("login 0")
    await three.has_started("sign-up 0", "sign-up 1", "login 0")
    await three.end("sign-up 1")
    await three.has_started("sign-up 0", "sign-up 1", "login 0", "sign-up 2")
    three.end_all()
    assert len(await asyncio.gather(*tasks)) == 6


async def test_logins_may_take_all_threads(three: Jobs) -> None:
    tasks = [three.arrive(f"login {n}") for n in range(4)]
    tasks.append(three.arrive("sign-up 0"))
    await three.has_started("login 0", "login 1", "login 2")
    await three.end("login 1")
    await three.has_started("login 0", "login 1", "login 2", "login 3")
    await three.end("login 0")
    await three.has_started("login 0", "login 1", "login 2", "login 3", "sign-up 0")
    three.end_all()
    await asyncio.gather(*tasks)


async def test_a_cancelled_job_never_starts_and_holds_up_nobody(one: Jobs) -> None:
    first, second, third = one.arrive("login 0"), one.arrive("login 1"), one.arrive("login 2")
    await one.has_started("login 0")
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await settled()
    await one.end("login 0")
    await one.has_started("login 0", "login 2")
    one.end_all()
    assert list(await asyncio.gather(first, third)) == ["login 0", "login 2"]


async def test_a_thread_is_busy_until_its_job_ends_although_the_caller_has_gone(one: Jobs) -> None:
    first, second = one.arrive("sign-up 0"), one.arrive("login 0")
    await one.has_started("sign-up 0")
    first.cancel()
    await settled()
    await one.has_started("sign-up 0")
    await one.end("sign-up 0")
    await one.has_started("sign-up 0", "login 0")
    one.end_all()
    assert await second == "login 0"


async def test_jobs_of_callers_that_gave_up_are_not_kept(one: Jobs) -> None:
    first = one.arrive("login 0")
    await one.has_started("login 0")
    for name in ("login", "sign-up"):
        for n in range(1, 100):
            one.arrive(f"{name} {n}").cancel()
    await settled()
    assert len(one.queue._urgent) == len(one.queue._others) == 0
    one.end_all()
    await first


async def test_an_error_of_a_job_reaches_its_caller_and_frees_the_thread(one: Jobs) -> None:
    def fail() -> None:
        raise OSError("memory")

    for urgent in (True, False):
        with pytest.raises(OSError, match="memory"):
            await asyncio.wrap_future(one.queue.submit(fail, urgent=urgent))
    task = one.arrive("login 0")
    await one.has_started("login 0")
    one.end_all()
    await task


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threads", [1, 2, 3])
async def test_under_any_load_with_cancellations_the_rules_hold_and_all_threads_come_back(
    seed: int, threads: int
) -> None:
    chance = random.Random(seed)
    jobs, tasks = Jobs(threads), dict[str, asyncio.Future[str]]()
    numbers = itertools.count()
    for _ in range(40):
        match chance.random():
            case x if x < 0.5:
                name = f"{chance.choice(('login', 'sign-up'))} {next(numbers)}"
                tasks[name] = jobs.arrive(name)
            case x if x < 0.65 and tasks:
                tasks[chance.choice(sorted(tasks))].cancel()
            case _ if jobs.running:
                await jobs.end(chance.choice(sorted(jobs.running)))
        await settled()
        signing_up = [name for name in jobs.running if name.startswith("sign-up")]
        assert len(jobs.running) <= threads
        assert len(signing_up) <= max(1, threads - 1)

        def no_login_waits_for_a_free_thread() -> bool:
            waiting = [name for name, task in tasks.items() if not task.done() and name not in jobs.started]
            return len(jobs.running) == threads or not [name for name in waiting if name.startswith("login")]

        await until(no_login_waits_for_a_free_thread)
    jobs.end_all()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    last = [jobs.arrive(f"login {next(numbers)}") for _ in range(threads)]
    await until(lambda: len(jobs.running) == threads)
    jobs.end_all()
    await asyncio.gather(*last)
    jobs.queue.close()
