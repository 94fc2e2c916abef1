"""Grouped commits: all writes that wait at the same moment share one transaction and one `fsync`."""

import asyncio
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import apsw

from kingpost.problems import Unavailable
from kingpost.storage.database import Query, Row, Script
from kingpost.storage.sqlite.file import UNAVAILABLE, SQLiteFile, log, translated

GROUP = 256
WAITING = 4096


class Task(NamedTuple):
    """A write that waits, and until when (by the monotonic clock) it may wait for the file's lock."""

    work: Query | Script[Any]
    future: asyncio.Future[Any]
    deadline: float | None


class Outcome(NamedTuple):
    """What became of a write: its value, or the error."""

    future: asyncio.Future[Any]
    value: Any
    error: Exception | None


class Writer:
    """A thread that writes: the only one of this process that does.

    Each write is whole or undone, whatever becomes of its neighbours in the transaction, and its outcome
    is known once the transaction is on the disk.
    """

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="kingpost-sqlite-writer", daemon=True)
        self._thread.start()
        self._closed = False

    def submit(self, work: Query | Script[Any], patience: float | None) -> asyncio.Future[Any]:
        """Queue a statement (its rows are the value) or a script. `patience` is in seconds; None waits for ever.

        Raises:
            Unavailable: too many wait already, or the writer is closed.
        """
        if self._closed or self._queue.qsize() >= WAITING:
            raise Unavailable("Too many writes are waiting")
        future = self._loop.create_future()
        self._queue.put(Task(work, future, None if patience is None else time.monotonic() + patience))
        return future

    async def close(self) -> None:
        """Finish the writes that wait, then end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        while group := self._next_group():
            outcomes = self._run(group)
            try:
                self._loop.call_soon_threadsafe(_deliver, outcomes)
            except RuntimeError:
                return  # The loop has ended, and all who waited with it.

    def _next_group(self) -> Sequence[Task]:
        task = self._queue.get()
        group: list[Task] = []
        try:
            while task is not None:
                group.append(task)
                if len(group) == GROUP:
                    return group
                task = self._queue.get_nowait()
        except Empty:
            return group
        if group:
            self._queue.put(None)  # The end comes after this group.
        return group

    def _run(self, group: Sequence[Task]) -> Sequence[Outcome]:
        try:
            return _commit(self._file.connections().writer, group)
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.error("SQLite: a commit of %d writes failed: %s: %s", len(group), type(error).__name__, error)
            return [Outcome(task.future, None, Unavailable(UNAVAILABLE)) for task in group]


def _commit(connection: apsw.Connection, group: Sequence[Task]) -> Sequence[Outcome]:
    """Run a group as one transaction. An exception means that nothing of it has happened."""
    # The first has waited longest; the others give up with it, since what it waits for holds up them too.
    deadline = group[0].deadline
    patience = 3600.0 if deadline is None else max(deadline - time.monotonic(), 0)
    connection.set_busy_timeout(int(patience * 1000))
    try:
        connection.execute("BEGIN IMMEDIATE")
        outcomes = [_step(connection, task) for task in group if not task.future.cancelled()]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcomes


def _step(connection: apsw.Connection, task: Task) -> Outcome:
    try:
        if type(task.work) is Query:
            # SQLite undoes a failed statement by itself.
            return Outcome(task.future, connection.execute(*task.work).fetchall(), None)
        return Outcome(task.future, _play(connection, task.work), None)  # type: ignore[arg-type]
    except Exception as error:
        if not connection.in_transaction:
            raise  # A full disk, for one, undoes the whole transaction.
        return Outcome(task.future, None, translated(error))


def _play[T](connection: apsw.Connection, script: Script[T]) -> T:
    connection.execute("SAVEPOINT script")
    try:
        query = next(script)
        while True:
            rows: Sequence[Row] = connection.execute(*query).fetchall()
            query = script.send(rows)
    except StopIteration as end:
        connection.execute("RELEASE script")
        value: T = end.value
        return value
    except BaseException:
        script.close()
        if connection.in_transaction:
            connection.execute("ROLLBACK TO script; RELEASE script")
        raise


def _deliver(outcomes: Sequence[Outcome]) -> None:
    for future, value, error in outcomes:
        if future.done():
            continue  # Its caller was cancelled.
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
