"""Group commit: concurrent writes share one transaction and one `fsync`."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import apsw
from msgspec import Struct

from kingpost.problems import Unavailable
from kingpost.storage.database import Query, Row, Script
from kingpost.storage.sqlite.file import UNAVAILABLE, SQLiteFile, log, translated

MAX_GROUP = 256
"""Maximum number of writes in a transaction. A task with more writes has its own transaction."""
MAX_WAITING = 4096

type Work = Query | Callable[[], Script[Any]]


class Task(Struct, frozen=True):
    """Work that waits for the writer.

    Attributes:
        work: one statement, or a function that returns a new script for each call.
        future: receives the rows of the statement, or the value of the script.
        deadline: how long it may wait for the lock of the file, by the monotonic clock; None sets no limit.
        size: the number of writes that it counts for.
        undo: whether to roll the work back at its end, and return its value all the same.
    """

    work: Work
    future: asyncio.Future[Any]
    deadline: float | None
    size: int
    undo: bool


class Outcome(Struct, frozen=True):
    """The outcome of a task: its value, or the error."""

    future: asyncio.Future[Any]
    value: Any
    error: Exception | None


class LeftChanges(Exception):
    """A task failed after it had changed something. Only a rollback of its group undoes that."""


class Writer:
    """The only thread of this process that writes.

    Each task is atomic, and a failing task does not affect another one in the same transaction. Outcomes are reported
    when the transaction is on the disk.
    """

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="kingpost-sqlite-writer", daemon=True)
        self._thread.start()
        self._closed = False

    def submit(self, work: Work, time_limit: float | None, *, size: int = 1, undo: bool = False) -> asyncio.Future[Any]:
        """Enqueue a task (see `Task`). `time_limit` is in seconds; None sets no limit.

        Raises:
            Unavailable: too many tasks are waiting, or the writer is closed.
        """
        if self._closed or self._queue.qsize() >= MAX_WAITING:
            raise Unavailable("Too many writes are waiting")
        future = self._loop.create_future()
        deadline = None if time_limit is None else time.monotonic() + time_limit
        self._queue.put(Task(work, future, deadline, size, undo))
        return future

    async def close(self) -> None:
        """Finish the waiting writes, and end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        for group in self._groups():
            outcomes = self._run(group)
            try:
                self._loop.call_soon_threadsafe(_deliver, outcomes)
            except RuntimeError:
                return  # The event loop has ended, and all callers with it.

    def _groups(self) -> Iterator[Sequence[Task]]:
        """Yield the waiting tasks in groups of up to `MAX_GROUP` writes, until the writer is closed."""
        task = self._queue.get()
        while task is not None:
            group, size, is_more = [task], task.size, False
            while not (self._queue.empty() or is_more):  # Only this thread takes tasks from the queue.
                task = self._queue.get()
                size += 0 if task is None else task.size
                is_more = task is None or size > MAX_GROUP
                if task is not None and not is_more:
                    group.append(task)
            yield group
            if not is_more:
                task = self._queue.get()

    def _run(self, group: Sequence[Task]) -> Sequence[Outcome]:
        try:
            connection = self._file.connections().writer
            try:
                return _commit(connection, group)
            except LeftChanges:
                return _commit(connection, group, apart=True)
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.error("SQLite: a commit of %d writes failed: %s: %s", len(group), type(error).__name__, error)
            return [Outcome(task.future, None, Unavailable(UNAVAILABLE)) for task in group]


def _commit(connection: apsw.Connection, group: Sequence[Task], *, apart: bool = False) -> Sequence[Outcome]:
    """Run a group as one transaction. If `apart`, each task has a savepoint.

    Raises:
        LeftChanges: a task without a savepoint failed and left changes behind.
        Exception: the whole group failed. In both cases, nothing was written.
    """
    # The first has waited longest. The others time out with it, because they wait for the same lock.
    deadline = group[0].deadline
    time_limit = 3600.0 if deadline is None else max(deadline - time.monotonic(), 0)
    connection.set_busy_timeout(int(time_limit * 1000))
    try:
        connection.execute("BEGIN IMMEDIATE")
        # Only a script can fail half-way: SQLite undoes a statement that fails.
        has_scripts = not all(isinstance(task.work, Query) for task in group)
        schema = _schema_version(connection) if has_scripts else None
        step = _step_apart if apart else _step
        cursor = connection.cursor()  # One for all statements: creating a cursor takes as long as a short statement.
        outcomes = [step(cursor, task) for task in group if not task.future.cancelled()]
        # `_step` does not count changes of the schema, which a migration makes.
        has_failed = has_scripts and any(outcome.error for outcome in outcomes)
        if has_failed and not apart and schema != _schema_version(connection):
            raise LeftChanges
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcomes


def _step(cursor: apsw.Cursor, task: Task) -> Outcome:
    """Run a task without a savepoint.

    Raises:
        LeftChanges: it failed after it had changed rows.
    """
    if task.undo:
        return _step_apart(cursor, task)
    connection = cursor.connection
    before = connection.total_changes()  # A failed statement does not count: SQLite rolls it back by itself.
    try:
        return Outcome(task.future, _do(cursor, task.work), None)
    except Exception as error:
        if not connection.in_transaction:
            raise  # SQLite has rolled back the whole transaction, because the disk is full, for example.
        if connection.total_changes() != before:
            raise LeftChanges from error
        return Outcome(task.future, None, translated(error))


def _schema_version(connection: apsw.Connection) -> int:
    version: int = connection.execute("PRAGMA schema_version").get
    return version


def _step_apart(cursor: apsw.Cursor, task: Task) -> Outcome:
    """Run a task in a savepoint, so that it can be rolled back by itself."""
    cursor.execute("SAVEPOINT task")
    error: Exception | None = None
    value: Any = None
    try:
        value = _do(cursor, task.work)
    except Exception as failure:
        if not cursor.connection.in_transaction:
            raise
        error = translated(failure)
    if error is not None or task.undo:
        cursor.execute("ROLLBACK TO task")
    cursor.execute("RELEASE task")
    return Outcome(task.future, value, error)


def _do(cursor: apsw.Cursor, work: Work) -> Any:
    if isinstance(work, Query):
        return cursor.execute(*work).fetchall()
    return _play(cursor, work())


def _play[T](cursor: apsw.Cursor, script: Script[T]) -> T:
    try:
        query = next(script)
        while True:
            try:
                rows: Sequence[Row] = cursor.execute(*query).fetchall()
            except apsw.ConstraintError as error:
                script.throw(translated(error))
                raise  # A script must not go on after a failed step.
            query = script.send(rows)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        script.close()


def _deliver(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.future.done():
            continue  # Its caller was cancelled.
        if outcome.error is None:
            outcome.future.set_result(outcome.value)
        else:
            outcome.future.set_exception(outcome.error)
