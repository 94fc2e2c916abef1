"""The runner of background jobs: every process claims due jobs from the database and runs them."""

import asyncio
import contextlib
import logging
import random
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from kingpost import clock
from kingpost.jobs.sealing import GiveUp, TryLater, UnreadableJob
from kingpost.jobs.store import ClaimedJob, JobStore, Superseded
from kingpost.problems import Unavailable

POLL_EVERY = 0.5
"""Seconds between two polls for due jobs."""
MAX_CONCURRENT_JOBS = 10
"""How many jobs a process runs at the same time."""
LEASE = 120
"""Seconds after a claim until the job is due again, unless its outcome has been stored."""
TIME_LIMIT = 60.0
"""Seconds that a job may take: well below the lease, so that no job runs twice at the same time."""
SHUTDOWN_TIMEOUT = 10.0
"""Seconds that running jobs have to finish when the process stops."""
DATABASE_RETRY_DELAY = 5.0
"""Seconds until the next poll when jobs cannot be claimed."""
OUTCOME_RETRY_DELAY = 1.0
"""Seconds until the next attempt to store the outcome of a job."""
LONGEST_DELAY = 60 * 60
"""Seconds: no job is due later than this. Leases and the delays of `RetryPolicy` are far shorter."""
GIVEN_UP_RETENTION = 30 * 24 * 60 * 60
"""Seconds for which a job that was given up stays in the database, so that the operator can inspect it."""

type Handler = Callable[[ClaimedJob], Awaitable[None]]
"""Runs jobs of one kind. It must be idempotent: a process may die after a job and before it stores the outcome.

It raises `TryLater`, `GiveUp` or `Superseded`. Any other exception is treated as `TryLater`.
"""

logger = logging.getLogger("kingpost.jobs")


class RetryPolicy(msgspec.Struct, frozen=True):
    """Exponential back-off with jitter. All fields are in seconds.

    Delays double from `first_delay` up to `max_delay`. Each is shortened by a random part of up to a half, so that
    jobs that failed together are not retried together. A job older than `max_age` is given up when it fails.
    """

    first_delay: float = 5
    max_delay: float = 10 * 60
    max_age: float = 3 * 24 * 60 * 60

    def delay(self, attempt: int, age: float) -> int | None:
        """Return the seconds until the next attempt, or None to give up.

        Args:
            attempt: the number of the attempt that failed; the first is 1.
            age: the age of the job, in seconds.
        """
        if age > self.max_age:
            return None
        # The exponent is bounded: a float cannot hold much larger powers of two.
        longest: float = min(self.max_delay, self.first_delay * 2 ** min(attempt - 1, 64))
        return round(longest * random.uniform(0.5, 1))  # noqa: S311 - jitter needs no secure random numbers


class JobRunner:
    """Claims jobs and calls their handlers. Any number of processes on any number of nodes may run one."""

    def __init__(
        self,
        jobs: JobStore,
        handlers: Mapping[str, Handler],
        retry_policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - it is frozen
        time_limit: float = TIME_LIMIT,
        shutdown_timeout: float = SHUTDOWN_TIMEOUT,
    ) -> None:
        """Run the jobs of a store. No task starts before `start`.

        Args:
            jobs: the store that jobs are claimed from.
            handlers: the handlers by kind of job. A job of an unknown kind is retried later: processes of a newer
                release may know it.
            retry_policy: the delays between attempts.
            time_limit: the seconds that an attempt may take.
            shutdown_timeout: the seconds that running jobs have to finish in `stop`.
        """
        self._jobs = jobs
        self._handlers = handlers
        self._retry_policy = retry_policy
        self._time_limit = time_limit
        self._shutdown_timeout = shutdown_timeout
        self._polling: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._wake_up = asyncio.Event()
        self._is_stopping = False

    def start(self) -> None:
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Claim no more jobs, and wait up to the shutdown timeout for running ones. Release the others."""
        self._is_stopping = True
        self._wake_up.set()
        if self._polling is not None:
            # Not cancelled: jobs that it is claiming right now would stay blocked until their lease ends.
            await self._polling
        for _ in ("to finish", "to be released"):
            if self._running:
                _, late = await asyncio.wait(self._running, timeout=self._shutdown_timeout)
                for task in late:
                    task.cancel()

    def wake(self) -> None:
        """Look for jobs now rather than at the next poll: this process has just enqueued one."""
        self._wake_up.set()

    async def sweep(self) -> None:
        """Delete the jobs that were given up and were created more than `GIVEN_UP_RETENTION` ago.

        Jobs that are due later than any delay or lease are due now: the clock that set them has been set back since.
        """
        await self._jobs.pull_forward(LONGEST_DELAY)
        await self._jobs.forget_given_up(clock.after(-GIVEN_UP_RETENTION))

    async def _poll(self) -> None:
        while not self._is_stopping:
            self._wake_up.clear()
            try:
                delay = await self._start_due_jobs()
            except Unavailable:
                logger.warning("cannot claim jobs: the database does not answer")
                delay = DATABASE_RETRY_DELAY
            except Exception:
                logger.exception("cannot claim jobs")
                delay = DATABASE_RETRY_DELAY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake_up.wait()

    async def _start_due_jobs(self) -> float | None:
        """Start due jobs, up to `MAX_CONCURRENT_JOBS`; return the seconds until the next poll.

        None means that all slots are taken: poll when a job ends. A job that hangs does not block the other slots.
        """
        free_slots = MAX_CONCURRENT_JOBS - len(self._running)
        if not free_slots:
            return None
        claimed = await self._jobs.claim(free_slots, LEASE)
        for job in claimed:
            task = asyncio.create_task(self._attempt(job))
            self._running.add(task)
            task.add_done_callback(self._ended)
        return 0 if claimed else POLL_EVERY

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake_up.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("cannot store the outcome of a job: %s", _reason(error))

    async def _attempt(self, claimed: ClaimedJob) -> None:
        """Run a job, and store its outcome."""
        lease_ends_at = time.monotonic() + LEASE
        limit = asyncio.timeout(self._time_limit)
        try:
            async with limit:
                await self._call_handler(claimed)
        except Superseded:
            return  # Another worker has claimed the job, and stores its outcome.
        except asyncio.CancelledError:
            await self._jobs.put_off(claimed.claim, "the server stopped", 0)
            raise
        except Exception as error:
            reason = f"it took more than {self._time_limit:g} seconds" if limit.expired() else _reason(error)
            delay = None if isinstance(error, GiveUp) else self._delay(claimed)
            _log(claimed, reason, delay)
            await self._store_outcome(lambda: self._jobs.put_off(claimed.claim, reason, delay), lease_ends_at)
        else:
            await self._store_outcome(lambda: self._jobs.finish(claimed.claim), lease_ends_at)

    async def _call_handler(self, claimed: ClaimedJob) -> None:
        handler = self._handlers.get(claimed.job.kind)
        if handler is None:
            raise TryLater("this release does not know jobs of this kind")
        await handler(claimed)

    def _delay(self, claimed: ClaimedJob) -> int | None:
        age = datetime.now(UTC) - datetime.fromisoformat(claimed.job.created_at)
        return self._retry_policy.delay(claimed.attempt, age.total_seconds())

    async def _store_outcome(self, store: Callable[[], Awaitable[None]], lease_ends_at: float) -> None:
        """Store an outcome, and retry while the database does not answer, so that a finished job does not run again.

        Retrying stops when the lease ends, because another worker may claim the job then.

        Raises:
            Unavailable: the database has not answered until the end of the lease.
        """
        while True:
            try:
                return await store()
            except Unavailable:
                if time.monotonic() + OUTCOME_RETRY_DELAY > lease_ends_at:
                    raise
                await asyncio.sleep(OUTCOME_RETRY_DELAY)


def _reason(error: BaseException) -> str:
    """Return why a job failed, for the operator.

    For an unexpected error this is its type and place only, because its text may contain personal data.
    """
    if isinstance(error, TryLater | GiveUp):
        return str(error)
    if isinstance(error, UnreadableJob):
        return "it was sealed under another master secret, or by another release"
    if isinstance(error, Unavailable):
        return "the database does not answer"
    return f"{type(error).__name__}, raised at {_place(error)}"


def _place(error: BaseException) -> str:
    """Return the file and line that raised an error."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{Path(frames[0].filename).name}:{frames[0].lineno}" if frames else "an unknown place"


def _log(claimed: ClaimedJob, reason: str, delay: int | None) -> None:
    failure = f"{claimed.job.kind} job {claimed.job.id}, attempt {claimed.attempt}: {reason}"
    if delay is None:
        logger.error("%s; given up", failure)
    else:
        logger.warning("%s; next attempt in %d s", failure, delay)
