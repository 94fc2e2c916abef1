"""The job runner: each job is done once, with retries after any failure. On real databases, with two nodes."""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from kingpost import clock
from kingpost.jobs import runner as job_runner
from kingpost.jobs.runner import GIVEN_UP_RETENTION, MAX_CONCURRENT_JOBS, Handler, JobRunner, RetryPolicy
from kingpost.jobs.sealing import GiveUp, JobSealer, TryLater
from kingpost.jobs.store import ClaimedJob, SealedJob, Superseded
from kingpost.secret import MasterSecret
from kingpost.storage.database import Query
from kingpost.storage.opening import open_database
from tests.nodes import Node, open_node
from tests.storage.samples import add_user, effects_of, new_job

RETRY_IMMEDIATELY = RetryPolicy(first_delay=0)
NEVER_RETRY = RetryPolicy(max_age=-1)
DAY = 24 * 60 * 60
TIMEOUT = 20.0


def fresh_job(kind: str = "note", seconds_ago: float = 0) -> SealedJob:
    return msgspec.structs.replace(new_job(kind), created_at=clock.after(-seconds_ago))


async def eventually(what: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until the answer is true."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            answer = what()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)


class Work:
    """A handler that records the jobs it receives, and returns or raises the given outcomes."""

    def __init__(self, *outcomes: BaseException | None) -> None:
        """`outcomes` are for the first calls; all later calls succeed."""
        self.done: list[str] = []
        self.attempts: list[int] = []
        self._outcomes = itertools.chain(outcomes, itertools.repeat(None))

    async def __call__(self, claimed: ClaimedJob) -> None:
        self.attempts.append(claimed.attempt)
        await asyncio.sleep(0)
        outcome = next(self._outcomes)
        if outcome is not None:
            raise outcome
        self.done.append(claimed.job.id)


async def hang(claimed: ClaimedJob) -> None:
    await asyncio.sleep(3600)


@asynccontextmanager
async def running(
    storage: Node,
    handlers: Handler | Mapping[str, Handler],
    retry_policy: RetryPolicy = RETRY_IMMEDIATELY,
    **limits: float,
) -> AsyncGenerator[JobRunner]:
    """Run a job runner. A single handler is for the kind `note`."""
    by_kind = handlers if isinstance(handlers, Mapping) else {"note": handlers}
    runner = JobRunner(storage.jobs, by_kind, retry_policy, **limits)
    runner.start()
    try:
        yield runner
    finally:
        await runner.stop()


class Seen(msgspec.Struct):
    """A waiting job as the operator sees it in the database."""

    attempts: int
    last_error: str | None
    is_given_up: bool


@pytest_asyncio.fixture(loop_scope="session")
async def waiting(migrated_url: str, nodes: list[Node]) -> AsyncGenerator[Callable[[], Awaitable[list[Seen]]]]:
    """All jobs in the table."""
    database = await open_database(migrated_url)

    async def look() -> list[Seen]:
        rows = await database.read(Query("SELECT attempts, last_error, due_at IS NULL FROM jobs ORDER BY id", ()))
        return [Seen(row[0], row[1], bool(row[2])) for row in rows]

    yield look
    await database.close()


type Waiting = Callable[[], Awaitable[list[Seen]]]


async def is_done(waiting: Waiting) -> bool:
    return await waiting() == []


# --- success -------------------------------------------------------------------------------------


async def test_two_nodes_do_each_job_exactly_once(nodes: list[Node], waiting: Waiting) -> None:
    work = Work()
    jobs = [fresh_job() for _ in range(16)]
    async with AsyncExitStack() as stack:
        for node in nodes * 2:
            await stack.enter_async_context(running(node, work))
        await nodes[0].jobs.add(*jobs)
        await eventually(lambda: is_done(waiting))
        await asyncio.sleep(0.6)
    assert sorted(work.done) == sorted(job.id for job in jobs)
    assert set(work.attempts) == {1}


async def test_jobs_stored_before_the_start_are_done_without_pause(
    nodes: list[Node], waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_runner, "POLL_EVERY", 3600)  # No job waits for the next poll.
    work = Work()
    await nodes[0].jobs.add(*[fresh_job() for _ in range(20 * MAX_CONCURRENT_JOBS)])
    async with running(nodes[1], work):
        await eventually(lambda: is_done(waiting))
    assert len(set(work.done)) == 20 * MAX_CONCURRENT_JOBS


async def test_a_job_finished_by_its_own_write_is_done(nodes: list[Node], waiting: Waiting) -> None:
    async def create_account(claimed: ClaimedJob) -> None:
        user = await add_user(nodes[0])
        await nodes[0].sessions.end_all(user.id, effects=effects_of(finishes=claimed.claim))

    await nodes[0].jobs.add(fresh_job())
    async with running(nodes[1], create_account):
        await eventually(lambda: is_done(waiting))


async def test_a_job_already_done_by_another_node_is_not_retried(
    nodes: list[Node], waiting: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    async def be_overtaken(claimed: ClaimedJob) -> None:
        await nodes[0].jobs.finish(claimed.claim)
        raise Superseded

    await nodes[0].jobs.add(fresh_job())
    async with running(nodes[1], be_overtaken):
        await eventually(lambda: is_done(waiting))
    assert caplog.records == []


# --- failure -------------------------------------------------------------------------------------


async def test_a_failed_job_is_retried_until_it_succeeds(nodes: list[Node], waiting: Waiting) -> None:
    work = Work(TryLater("the server is down"), TryLater("still down"))
    await nodes[0].jobs.add(fresh_job())
    async with running(nodes[1], work):
        await eventually(lambda: is_done(waiting))
    assert work.attempts == [1, 2, 3]
    assert len(work.done) == 1


async def test_the_last_error_is_stored_while_the_job_waits(storage: Node, waiting: Waiting) -> None:
    await storage.jobs.add(fresh_job())
    async with running(storage, Work(TryLater("the server is down")), RetryPolicy(first_delay=3600)):
        await eventually(lambda: has_failed(waiting))
    assert await waiting() == [Seen(1, "the server is down", False)]


async def has_failed(waiting: Waiting) -> bool:
    return any(job.last_error is not None for job in await waiting())


async def test_a_job_that_can_never_succeed_is_abandoned_immediately(
    storage: Node, waiting: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(GiveUp("there is no such mailbox"))
    await storage.jobs.add(job := fresh_job())
    async with running(storage, work):
        await eventually(lambda: has_failed(waiting))
        await asyncio.sleep(0.6)
    assert work.attempts == [1]
    assert await waiting() == [Seen(1, "there is no such mailbox", True)]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert job.id in record.getMessage()
    assert "there is no such mailbox; given up" in record.getMessage()


async def test_a_job_is_abandoned_after_failing_for_three_days(storage: Node, waiting: Waiting) -> None:
    work = Work(*[TryLater("down")] * 9)
    await storage.jobs.add(fresh_job(seconds_ago=3 * DAY - 60), fresh_job(seconds_ago=3 * DAY + 1))
    async with running(storage, work, RetryPolicy()):
        await eventually(lambda: everything_has_failed(waiting))
    assert sorted(job.is_given_up for job in await waiting()) == [False, True]


async def everything_has_failed(waiting: Waiting) -> bool:
    return all(job.last_error is not None for job in await waiting())


async def test_an_abandoned_job_is_kept_for_a_month(storage: Node, waiting: Waiting) -> None:
    await storage.jobs.add(
        fresh_job(seconds_ago=GIVEN_UP_RETENTION + 60), fresh_job(seconds_ago=GIVEN_UP_RETENTION - 60)
    )
    await storage.jobs.add(fresh_job("unknown", seconds_ago=GIVEN_UP_RETENTION + 60))
    async with running(storage, Work(*[GiveUp("no")] * 2), RetryPolicy(first_delay=3600, max_age=60 * DAY)) as runner:
        await eventually(lambda: everything_has_failed(waiting))
        await runner.sweep()
    assert sorted(job.is_given_up for job in await waiting()) == [False, True]


async def test_a_crashing_handler_affects_no_other_job_and_its_message_is_not_stored(
    storage: Node, waiting: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    words = "ada@example.com has the token 0123456789"
    work, others = Work(ValueError(words), TimeoutError(words), KeyError(words)), Work()
    await storage.jobs.add(fresh_job(), *[fresh_job("other") for _ in range(3)])
    async with running(storage, {"note": work, "other": others}, RetryPolicy(first_delay=3600)):
        await eventually(lambda: has_failed(waiting))
        await eventually(lambda: len(others.done) == 3)
    ((attempts, error, is_given_up),) = [msgspec.structs.astuple(job) for job in await waiting()]
    assert (attempts, is_given_up) == (1, False)
    assert error is not None
    assert "ValueError, raised at test_job_runner.py:" in error
    assert "ada" not in error + caplog.text
    assert "0123456789" not in error + caplog.text
    assert "ValueError" in caplog.text


async def test_a_job_of_an_unknown_kind_waits_for_a_newer_release(nodes: list[Node], waiting: Waiting) -> None:
    work = Work()
    await nodes[0].jobs.add(fresh_job("from the future"))
    async with running(nodes[0], {}, RetryPolicy(first_delay=1)):
        await eventually(lambda: has_failed(waiting))
    async with running(nodes[1], {"from the future": work}):
        await eventually(lambda: is_done(waiting))
    assert len(work.done) == 1


class Note(msgspec.Struct):
    text: str


async def test_a_job_sealed_with_another_secret_waits_for_a_node_with_that_secret(
    nodes: list[Node], waiting: Waiting
) -> None:
    mine, theirs = (JobSealer(MasterSecret(f"the secret of node {number}")) for number in (1, 2))
    opened: list[Any] = []

    def reading(sealer: JobSealer) -> Handler:
        async def read(claimed: ClaimedJob) -> None:
            opened.append(sealer.open(claimed.job, Note))

        return read

    await nodes[0].jobs.add(theirs.seal("note", Note("a secret"), None))
    async with running(nodes[0], reading(mine), RetryPolicy(first_delay=1)):
        await eventually(lambda: has_failed(waiting))
    ((error,),) = [[job.last_error] for job in await waiting()]
    assert error == "it was sealed under another master secret, or by another release"
    async with running(nodes[1], reading(theirs)):
        await eventually(lambda: is_done(waiting))
    assert opened == [Note("a secret")]


# --- time-outs -----------------------------------------------------------------------------------


async def test_a_hanging_job_does_not_block_other_jobs(storage: Node, waiting: Waiting) -> None:
    work, is_over = Work(), asyncio.Event()

    async def hang_for_a_while(claimed: ClaimedJob) -> None:
        await is_over.wait()

    await storage.jobs.add(*[fresh_job("hangs") for _ in range(MAX_CONCURRENT_JOBS - 1)])
    async with running(storage, {"hangs": hang_for_a_while, "note": work}, time_limit=3600):
        await eventually(lambda: all_were_claimed(waiting))
        await storage.jobs.add(*[fresh_job() for _ in range(20)])
        await eventually(lambda: len(work.done) == 20)
        is_over.set()
        await eventually(lambda: is_done(waiting))


async def all_were_claimed(waiting: Waiting) -> bool:
    return all(job.attempts for job in await waiting())


async def test_a_hanging_job_is_retried(storage: Node, waiting: Waiting) -> None:
    await storage.jobs.add(*[fresh_job("hangs") for _ in range(MAX_CONCURRENT_JOBS - 1)])
    async with running(storage, {"hangs": hang}, RetryPolicy(first_delay=3600), time_limit=0.3):
        await eventually(lambda: everything_has_failed(waiting))
    assert await waiting() == [Seen(1, "it took more than 0.3 seconds", False)] * (MAX_CONCURRENT_JOBS - 1)


async def test_waiting_jobs_are_done_after_all_hanging_jobs_time_out(storage: Node) -> None:
    work = Work()
    await storage.jobs.add(*[fresh_job("hangs") for _ in range(MAX_CONCURRENT_JOBS)])
    await asyncio.sleep(0.05)
    await storage.jobs.add(fresh_job())
    async with running(storage, {"hangs": hang, "note": work}, RetryPolicy(first_delay=3600), time_limit=0.3):
        await eventually(lambda: len(work.done) == 1)


async def test_the_job_of_a_dead_worker_is_done_by_another_worker(nodes: list[Node], waiting: Waiting) -> None:
    work = Work()
    await nodes[0].jobs.add(fresh_job())
    assert len(await nodes[0].jobs.claim(1, 1)) == 1
    async with running(nodes[1], work):
        await eventually(lambda: is_done(waiting))
    assert work.attempts == [2]


# --- stopping ------------------------------------------------------------------------------------


async def test_a_stopping_runner_finishes_running_jobs_and_claims_no_new_ones(storage: Node, waiting: Waiting) -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def take_a_while(claimed: ClaimedJob) -> None:
        begun.set()
        await asyncio.sleep(0.5)
        done.set()

    await storage.jobs.add(fresh_job())
    async with running(storage, take_a_while) as runner:
        await begun.wait()
        stopping = asyncio.create_task(runner.stop())
        await asyncio.sleep(0.2)
        await storage.jobs.add(fresh_job())
        await stopping
    assert done.is_set()
    assert await waiting() == [Seen(0, None, False)]


async def test_a_stopping_runner_releases_unfinished_jobs_immediately(nodes: list[Node], waiting: Waiting) -> None:
    begun, work = asyncio.Event(), Work()

    async def never_end(claimed: ClaimedJob) -> None:
        begun.set()
        await hang(claimed)

    await nodes[0].jobs.add(fresh_job())
    async with asyncio.timeout(TIMEOUT), running(nodes[0], never_end, shutdown_timeout=0.2):
        await begun.wait()
    assert await waiting() == [Seen(1, "the server stopped", False)]
    async with running(nodes[1], work):
        await eventually(lambda: is_done(waiting))
    assert work.attempts == [2]


async def test_an_idle_runner_stops_immediately(storage: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_runner, "POLL_EVERY", 3600)
    async with asyncio.timeout(TIMEOUT), running(storage, Work()):
        await asyncio.sleep(0.05)


# --- without a database --------------------------------------------------------------------------


@pytest.fixture
async def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SQLite file, and a runner that polls it often."""
    monkeypatch.setattr(job_runner, "DATABASE_RETRY_DELAY", 0.05)
    monkeypatch.setattr(job_runner, "OUTCOME_RETRY_DELAY", 0.05)
    return tmp_path / "moving.db"


async def test_a_runner_continues_after_a_database_outage(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = await open_node(f"sqlite:///{file}")
    away = file.with_suffix(".away")
    await storage.jobs.add(fresh_job())
    file.rename(away)
    async with running(storage, work := Work()):
        await eventually(lambda: "cannot claim jobs: the database does not answer" in caplog.text)
        assert work.attempts == []
        away.rename(file)
        await storage.ping()  # As an orchestrator does all the time: reads alone do not check for the file.
        await eventually(lambda: len(work.done) == 1)
    await storage.close()


async def test_a_job_done_during_a_database_outage_is_not_done_again(file: Path) -> None:
    storage = await open_node(f"sqlite:///{file}")
    away = file.with_suffix(".away")
    attempts: list[int] = []

    async def lose_the_database(claimed: ClaimedJob) -> None:
        attempts.append(claimed.attempt)
        file.rename(away)

    await storage.jobs.add(fresh_job())
    async with running(storage, lose_the_database):
        await eventually(away.exists)
        await asyncio.sleep(0.3)
        away.rename(file)
        await asyncio.sleep(0.6)
    assert attempts == [1]
    assert await storage.jobs.claim(1, 60) == []
    other = await open_database(f"sqlite:///{file}")
    assert list(await other.read(Query("SELECT id FROM jobs", ()))) == []
    await other.close()
    await storage.close()


# --- retry policy --------------------------------------------------------------------------------


def test_delays_double_up_to_ten_minutes_with_random_jitter() -> None:
    retry_policy = RetryPolicy()
    for attempt, longest in enumerate([5, 10, 20, 40, 80, 160, 320, 600, 600], start=1):
        pauses = [retry_policy.delay(attempt, 0) for _ in range(200)]
        assert all(pause is not None and longest / 2 - 1 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 1
    assert retry_policy.delay(10**9, 0) is not None


def test_retries_end_after_three_days() -> None:
    assert RetryPolicy().delay(1, 3 * DAY) is not None
    assert RetryPolicy().delay(1, 3 * DAY + 1) is None
    assert RetryPolicy().delay(100, 3 * DAY + 1) is None
