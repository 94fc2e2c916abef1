"""Jobs are done once each, as often as it takes, whatever fails: on real databases, by runners on two nodes."""

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
    """A handler that writes down what it was given, and then does as it is told."""

    def __init__(self, *outcomes: BaseException | None) -> None:
        """`outcomes` are those of the first calls; whatever comes after succeeds."""
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
    """A runner at work. A single handler is that of the kind `note`."""
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


# --- what succeeds -------------------------------------------------------------------------------


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


async def test_jobs_that_were_there_before_the_runner_are_done_too_and_many_in_a_row(
    nodes: list[Node], waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_runner, "POLL_EVERY", 3600)  # Nothing waits for the next look.
    work = Work()
    await nodes[0].jobs.add(*[fresh_job() for _ in range(20 * MAX_CONCURRENT_JOBS)])
    async with running(nodes[1], work):
        await eventually(lambda: is_done(waiting))
    assert len(set(work.done)) == 20 * MAX_CONCURRENT_JOBS


async def test_a_job_whose_own_write_finishes_it_is_done(nodes: list[Node], waiting: Waiting) -> None:
    async def create_account(claimed: ClaimedJob) -> None:
        user = await add_user(nodes[0])
        await nodes[0].sessions.end_all(user.id, effects=effects_of(finishes=claimed.claim))

    await nodes[0].jobs.add(fresh_job())
    async with running(nodes[1], create_account):
        await eventually(lambda: is_done(waiting))


async def test_what_somebody_else_did_needs_nothing_more(
    nodes: list[Node], waiting: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    async def be_overtaken(claimed: ClaimedJob) -> None:
        await nodes[0].jobs.finish(claimed.claim)
        raise Superseded

    await nodes[0].jobs.add(fresh_job())
    async with running(nodes[1], be_overtaken):
        await eventually(lambda: is_done(waiting))
    assert caplog.records == []


# --- what fails ----------------------------------------------------------------------------------


async def test_what_fails_is_tried_again_until_it_succeeds(nodes: list[Node], waiting: Waiting) -> None:
    work = Work(TryLater("the server is down"), TryLater("still down"))
    await nodes[0].jobs.add(fresh_job())
    async with running(nodes[1], work):
        await eventually(lambda: is_done(waiting))
    assert work.attempts == [1, 2, 3]
    assert len(work.done) == 1


async def test_the_reason_can_be_read_while_it_waits(storage: Node, waiting: Waiting) -> None:
    await storage.jobs.add(fresh_job())
    async with running(storage, Work(TryLater("the server is down")), RetryPolicy(first_delay=3600)):
        await eventually(lambda: has_failed(waiting))
    assert await waiting() == [Seen(1, "the server is down", False)]


async def has_failed(waiting: Waiting) -> bool:
    return any(job.last_error is not None for job in await waiting())


async def test_what_can_never_succeed_is_given_up_at_once(
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


async def test_what_still_fails_after_three_days_is_given_up(storage: Node, waiting: Waiting) -> None:
    work = Work(*[TryLater("down")] * 9)
    await storage.jobs.add(fresh_job(seconds_ago=3 * DAY - 60), fresh_job(seconds_ago=3 * DAY + 1))
    async with running(storage, work, RetryPolicy()):
        await eventually(lambda: everything_has_failed(waiting))
    assert sorted(job.is_given_up for job in await waiting()) == [False, True]


async def everything_has_failed(waiting: Waiting) -> bool:
    return all(job.last_error is not None for job in await waiting())


async def test_what_was_given_up_is_kept_for_a_month(storage: Node, waiting: Waiting) -> None:
    await storage.jobs.add(
        fresh_job(seconds_ago=GIVEN_UP_RETENTION + 60), fresh_job(seconds_ago=GIVEN_UP_RETENTION - 60)
    )
    await storage.jobs.add(fresh_job("unknown", seconds_ago=GIVEN_UP_RETENTION + 60))
    async with running(storage, Work(*[GiveUp("no")] * 2), RetryPolicy(first_delay=3600, max_age=60 * DAY)) as runner:
        await eventually(lambda: everything_has_failed(waiting))
        await runner.sweep()
    assert sorted(job.is_given_up for job in await waiting()) == [False, True]


async def test_a_handler_that_crashes_harms_no_other_job_and_its_words_are_not_kept(
    storage: Node, waiting: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    words = "ada@example.com has the token 0123456789"
    work, others = Work(ValueError(words), TimeoutError(words), KeyError(words)), Work()
    await storage.jobs.add(fresh_job(), *[fresh_job("other") for _ in range(3)])
    async with running(storage, {"note": work, "other": others}, RetryPolicy(first_delay=3600)):
        await eventually(lambda: has_failed(waiting))
        await eventually(lambda: len(others.done) == 3)
    ((attempts, told, is_given_up),) = [msgspec.structs.astuple(job) for job in await waiting()]
    assert (attempts, is_given_up) == (1, False)
    assert told is not None
    assert "ValueError, raised at test_job_runner.py:" in told
    assert "ada" not in told + caplog.text
    assert "0123456789" not in told + caplog.text
    assert "ValueError" in caplog.text


async def test_a_kind_that_nobody_knows_waits_for_a_release_that_does(nodes: list[Node], waiting: Waiting) -> None:
    work = Work()
    await nodes[0].jobs.add(fresh_job("from the future"))
    async with running(nodes[0], {}, RetryPolicy(first_delay=1)):
        await eventually(lambda: has_failed(waiting))
    async with running(nodes[1], {"from the future": work}):
        await eventually(lambda: is_done(waiting))
    assert len(work.done) == 1


class Note(msgspec.Struct):
    text: str


async def test_a_job_under_another_secret_waits_for_who_has_it(nodes: list[Node], waiting: Waiting) -> None:
    mine, theirs = (JobSealer(MasterSecret(f"the secret of node {number}")) for number in (1, 2))
    opened: list[Any] = []

    def reading(sealer: JobSealer) -> Handler:
        async def read(claimed: ClaimedJob) -> None:
            opened.append(sealer.open(claimed.job, Note))

        return read

    await nodes[0].jobs.add(theirs.seal("note", Note("a secret"), None))
    async with running(nodes[0], reading(mine), RetryPolicy(first_delay=1)):
        await eventually(lambda: has_failed(waiting))
    ((told,),) = [[job.last_error] for job in await waiting()]
    assert told == "it was sealed under another master secret, or by another release"
    async with running(nodes[1], reading(theirs)):
        await eventually(lambda: is_done(waiting))
    assert opened == [Note("a secret")]


# --- what takes too long -------------------------------------------------------------------------


async def test_a_job_that_hangs_keeps_no_others_waiting(storage: Node, waiting: Waiting) -> None:
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


async def test_a_job_that_hangs_is_tried_again(storage: Node, waiting: Waiting) -> None:
    await storage.jobs.add(*[fresh_job("hangs") for _ in range(MAX_CONCURRENT_JOBS - 1)])
    async with running(storage, {"hangs": hang}, RetryPolicy(first_delay=3600), time_limit=0.3):
        await eventually(lambda: everything_has_failed(waiting))
    assert await waiting() == [Seen(1, "it took more than 0.3 seconds", False)] * (MAX_CONCURRENT_JOBS - 1)


async def test_when_all_hang_the_rest_is_done_once_their_time_is_up(storage: Node) -> None:
    work = Work()
    await storage.jobs.add(*[fresh_job("hangs") for _ in range(MAX_CONCURRENT_JOBS)])
    await asyncio.sleep(0.05)
    await storage.jobs.add(fresh_job())
    async with running(storage, {"hangs": hang, "note": work}, RetryPolicy(first_delay=3600), time_limit=0.3):
        await eventually(lambda: len(work.done) == 1)


async def test_the_job_of_a_worker_that_died_is_done_by_another(nodes: list[Node], waiting: Waiting) -> None:
    work = Work()
    await nodes[0].jobs.add(fresh_job())
    assert len(await nodes[0].jobs.claim(1, 1)) == 1
    async with running(nodes[1], work):
        await eventually(lambda: is_done(waiting))
    assert work.attempts == [2]


# --- stopping ------------------------------------------------------------------------------------


async def test_a_stop_lets_what_is_under_way_finish_and_takes_nothing_new(storage: Node, waiting: Waiting) -> None:
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


async def test_a_stop_hands_what_does_not_finish_to_another_node_at_once(nodes: list[Node], waiting: Waiting) -> None:
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


async def test_a_runner_that_has_nothing_to_do_stops_at_once(storage: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_runner, "POLL_EVERY", 3600)
    async with asyncio.timeout(TIMEOUT), running(storage, Work()):
        await asyncio.sleep(0.05)


# --- without a database --------------------------------------------------------------------------


@pytest.fixture
async def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SQLite file, and a runner that looks for it often."""
    monkeypatch.setattr(job_runner, "DATABASE_RETRY_DELAY", 0.05)
    monkeypatch.setattr(job_runner, "OUTCOME_RETRY_DELAY", 0.05)
    return tmp_path / "moving.db"


async def test_a_runner_waits_for_the_database_and_goes_on(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = await open_node(f"sqlite:///{file}")
    away = file.with_suffix(".away")
    await storage.jobs.add(fresh_job())
    file.rename(away)
    async with running(storage, work := Work()):
        await eventually(lambda: "cannot claim jobs: the database does not answer" in caplog.text)
        assert work.attempts == []
        away.rename(file)
        await storage.ping()  # As an orchestrator does all the time: reads alone do not look for the file.
        await eventually(lambda: len(work.done) == 1)
    await storage.close()


async def test_what_was_done_while_the_database_was_away_is_not_done_again(file: Path) -> None:
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


def test_pauses_double_up_to_ten_minutes_and_are_never_the_same_for_all() -> None:
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
