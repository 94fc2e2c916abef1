"""Doing the jobs that wait in the database: every process runs some of them, and each is done once."""

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
"""Seconds between two looks for jobs that are due."""
AT_ONCE = 10
"""How many jobs a process works on at the same time."""
LEASE = 120
"""Seconds after which a job is due again if its worker has not been heard of."""
TIME_LIMIT = 60.0
"""Seconds that a job may take: well below the lease, so that no job is done twice at the same time."""
STOP_PATIENCE = 10.0
"""Seconds that jobs under way have to finish when the process stops."""
DATABASE_PAUSE = 5.0
"""Seconds until the next try when the database does not answer."""
SETTLE_PAUSE = 1.0
"""Seconds until the next try to store what became of a job."""
REMEMBERED_FOR = 30 * 24 * 60 * 60
"""Seconds for which a job that was given up stays in the database, for the operator to look at."""

type Handler = Callable[[ClaimedJob], Awaitable[None]]
"""Does a job of one kind. It may run again for a job that it has done before: a process may die in between.

It raises `TryLater`, `GiveUp` or `Superseded`. Anything else counts as `TryLater`.
"""

logger = logging.getLogger("kingpost.jobs")


class Patience(msgspec.Struct, frozen=True):
    """How long a job that fails is tried again: all in seconds.

    The pauses double from `first` up to `longest`, each shortened by up to a half at random, so that what failed
    together does not come back together. A job older than `most` is given up when it fails.
    """

    first: float = 5
    longest: float = 10 * 60
    most: float = 3 * 24 * 60 * 60

    def pause(self, attempt: int, age: float) -> int | None:
        """How long to wait after an attempt (the first is 1) of a job of this age; None gives it up."""
        if age > self.most:
            return None
        # More doublings than this are past any `longest`, and past what a float can hold.
        longest: float = min(self.longest, self.first * 2 ** min(attempt - 1, 64))
        return round(longest * random.uniform(0.5, 1))  # noqa: S311 - nothing secret hangs on it


class JobRunner:
    """Claims jobs and has their handlers do them. Any number of processes on any number of nodes may run one."""

    def __init__(
        self,
        jobs: JobStore,
        handlers: Mapping[str, Handler],
        patience: Patience = Patience(),  # noqa: B008 - it is frozen
        time_limit: float = TIME_LIMIT,
        stop_patience: float = STOP_PATIENCE,
    ) -> None:
        """`handlers` are by kind. A kind without one is left to other processes, of a newer release perhaps."""
        self._jobs = jobs
        self._handlers = handlers
        self._patience = patience
        self._time_limit = time_limit
        self._stop_patience = stop_patience
        self._polling: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._is_stopping = False

    def start(self) -> None:
        self._polling = asyncio.create_task(self._keep_going())

    async def stop(self) -> None:
        """Take no more jobs, and wait a bounded time for those under way. The rest is handed back to the others."""
        self._is_stopping = True
        self._woken.set()
        if self._polling is not None:
            # Not cancelled: what it is claiming at this moment would be nobody's until the lease ends.
            await self._polling
        for _ in ("to finish", "to be handed back"):
            if self._under_way:
                _, late = await asyncio.wait(self._under_way, timeout=self._stop_patience)
                for task in late:
                    task.cancel()

    def wake(self) -> None:
        """Look for jobs now rather than at the next poll: this process has just enqueued one."""
        self._woken.set()

    async def sweep(self) -> None:
        """Forget the jobs that were given up long ago."""
        await self._jobs.forget_given_up(clock.after(-REMEMBERED_FOR))

    async def _keep_going(self) -> None:
        while not self._is_stopping:
            self._woken.clear()
            try:
                pause = await self._take()
            except Unavailable:
                logger.warning("jobs wait for the database")
                pause = DATABASE_PAUSE
            except Exception:
                logger.exception("jobs cannot be claimed")
                pause = DATABASE_PAUSE
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def _take(self) -> float | None:
        """Start as many jobs as there is room for; return how long to wait until the next look, None for a job's end.

        One that hangs keeps no others waiting: each that ends makes room for another.
        """
        room = AT_ONCE - len(self._under_way)
        if not room:
            return None
        claimed = await self._jobs.claim(room, LEASE)
        for job in claimed:
            task = asyncio.create_task(self._attempt(job))
            self._under_way.add(task)
            task.add_done_callback(self._end)
        return 0 if claimed else POLL_EVERY

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the outcome of a job cannot be stored: %s", _told(error))

    async def _attempt(self, claimed: ClaimedJob) -> None:
        """Do a job, and store what became of it."""
        lost_at = time.monotonic() + LEASE
        limit = asyncio.timeout(self._time_limit)
        try:
            async with limit:
                await self._do(claimed)
        except Superseded:
            return  # Another worker did it.
        except asyncio.CancelledError:
            await self._jobs.put_off(claimed.claim, "the server stopped", 0)
            raise
        except Exception as error:
            reason = f"it took more than {self._time_limit:g} seconds" if limit.expired() else _told(error)
            pause = None if isinstance(error, GiveUp) else self._pause(claimed)
            _log(claimed, reason, pause)
            await self._settle(lambda: self._jobs.put_off(claimed.claim, reason, pause), lost_at)
        else:
            await self._settle(lambda: self._jobs.finish(claimed.claim), lost_at)

    async def _do(self, claimed: ClaimedJob) -> None:
        handler = self._handlers.get(claimed.job.kind)
        if handler is None:
            raise TryLater("this release does not know jobs of this kind")
        await handler(claimed)

    def _pause(self, claimed: ClaimedJob) -> int | None:
        age = datetime.now(UTC) - datetime.fromisoformat(claimed.job.created_at)
        return self._patience.pause(claimed.attempt, age.total_seconds())

    async def _settle(self, store: Callable[[], Awaitable[None]], lost_at: float) -> None:
        """Store an outcome, if need be when the database is back: a job that is done must not be done again.

        Once the lease has ended the job is another worker's, and there is nothing to store.
        """
        while True:
            try:
                return await store()
            except Unavailable:
                if time.monotonic() + SETTLE_PAUSE > lost_at:
                    raise
                await asyncio.sleep(SETTLE_PAUSE)


def _told(error: BaseException) -> str:
    """Why a job failed, for the operator. Of an error that nobody foresaw only its kind: its text may name somebody."""
    if isinstance(error, TryLater | GiveUp):
        return str(error)
    if isinstance(error, UnreadableJob):
        return "it was sealed under another master secret, or by another release"
    if isinstance(error, Unavailable):
        return "the database does not answer"
    return f"{type(error).__name__}, raised at {_place(error)}"


def _place(error: BaseException) -> str:
    """The file and line where an error was raised."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{Path(frames[0].filename).name}:{frames[0].lineno}" if frames else "an unknown place"


def _log(claimed: ClaimedJob, reason: str, pause: int | None) -> None:
    what = f"{claimed.job.kind} job {claimed.job.id}, attempt {claimed.attempt}: {reason}"
    if pause is None:
        logger.error("%s; given up", what)
    else:
        logger.warning("%s; again in %d s", what, pause)
