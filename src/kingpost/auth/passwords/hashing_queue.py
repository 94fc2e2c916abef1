"""The queue in front of the threads that hash passwords, in which logins are served before everything else."""

import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, NamedTuple


class _Waiting(NamedTuple):
    """A job that was accepted, and where its result goes."""

    job: Callable[[], Any]
    future: Future[Any]
    is_urgent: bool


class HashingQueue:
    """Runs jobs in a few threads, urgent ones first.

    A job that is not urgent starts only when no urgent one waits, and never takes the last free thread if there are
    several. So an urgent job waits for other urgent ones, and on a single thread for one more job at most. Jobs of one
    kind start in the order of their arrival. Nothing else is fair: while urgent jobs keep all threads busy, the others
    wait. Their callers need a deadline.
    """

    def __init__(self, threads: int) -> None:
        """Create a queue; the threads are started on first use."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._lock = Lock()
        self._free = threads
        self._free_for_others = max(1, threads - 1)
        """How many more jobs may start that are not urgent, if as many threads are free."""
        self._urgent: deque[_Waiting] = deque()
        self._others: deque[_Waiting] = deque()

    def submit[Result](self, job: Callable[[], Result], *, urgent: bool) -> Future[Result]:
        """Accept a job; return the future of its result. Cancel the future to skip a job that has not started."""
        future = Future[Result]()
        waiting = _Waiting(job, future, urgent)
        with self._lock:
            self._line_of(waiting).append(waiting)
            first = self._take()
        # Without this, callers that give up while others keep the threads busy would stay in memory.
        future.add_done_callback(lambda future: self._forget(waiting) if future.cancelled() else None)
        if first is not None:
            self._executor.submit(self._serve, first)
        return future

    def close(self) -> None:
        """Let the threads finish all accepted jobs, then end. No job is accepted after this."""
        self._executor.shutdown(wait=False)

    def _serve(self, waiting: _Waiting | None) -> None:
        """Run a job, and then the next one, until none may start."""
        while waiting is not None:
            if waiting.future.set_running_or_notify_cancel():
                try:
                    waiting.future.set_result(waiting.job())
                except BaseException as error:
                    waiting.future.set_exception(error)
            with self._lock:
                self._free += 1
                self._free_for_others += not waiting.is_urgent
                waiting = self._take()

    def _take(self) -> _Waiting | None:
        """Return the job that starts next, with a thread taken for it; None if none may start. The lock is held."""
        if self._free and self._urgent:
            waiting = self._urgent.popleft()
        elif self._free and self._free_for_others and self._others:
            waiting = self._others.popleft()
        else:
            return None
        self._free -= 1
        self._free_for_others -= not waiting.is_urgent
        return waiting

    def _forget(self, waiting: _Waiting) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._line_of(waiting).remove(waiting)

    def _line_of(self, waiting: _Waiting) -> deque[_Waiting]:
        return self._urgent if waiting.is_urgent else self._others
