"""A fair pool of connections: first come, first served. Connections are not reset between uses."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from kingpost.problems import Unavailable

MAX_WAITING = 4096
CLOSE_TIMEOUT = 1.0


class Connection(Protocol):
    """The interface that the pool needs from a connection."""

    def is_closed(self) -> bool: ...
    def terminate(self) -> None: ...
    async def close(self, *, timeout: float) -> None: ...  # noqa: ASYNC109


class Pool[C: Connection]:
    """Up to `size` connections, which are opened on demand and replaced when they close.

    A released connection goes to the first waiter, so a newcomer cannot take it: while a caller waits, no connection is
    idle. The pool itself does not time out. Its callers do.
    """

    def __init__(self, connect: Callable[[], Awaitable[C]], size: int) -> None:
        self._connect = connect
        self._size = size
        self._open = 0  # connections that exist or are being opened
        self._idle: list[C] = []
        self._waiters: deque[asyncio.Future[C | None]] = deque()
        self._closed = False

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def busy(self) -> int:
        return self._open - len(self._idle)

    async def acquire(self) -> C:
        """Return a connection for the caller alone, until it calls `release`.

        Raises:
            Unavailable: too many callers are waiting, or the pool is closed.
            Exception: opening a new connection failed.
        """
        if self._closed or len(self._waiters) >= MAX_WAITING:
            raise Unavailable("Too many requests are waiting for the database")
        while self._idle:
            connection = self._idle.pop()  # The one used last: its server process has the warmest caches.
            if not connection.is_closed():
                return connection
            self._open -= 1
        if self._open < self._size:
            self._open += 1
            return await self._opened()
        return await self._wait() or await self._opened()

    def release(self, connection: C | None) -> None:
        """Return a connection to the pool. If it is closed or None, another one may be opened in its place."""
        if connection is not None and self._closed:
            connection.terminate()
        usable = None if connection is None or connection.is_closed() else connection
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                # A waiter that receives None opens a connection.
                waiter.set_result(usable)
                return
        if usable is None:
            self._open -= 1
        else:
            self._idle.append(usable)

    async def close(self) -> None:
        """Close the idle connections. Those in use are closed when they are released."""
        self._closed = True
        idle, self._idle = self._idle, []
        self._open -= len(idle)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Unavailable("The database is being closed"))
        self._waiters.clear()
        await asyncio.gather(*[c.close(timeout=CLOSE_TIMEOUT) for c in idle], return_exceptions=True)

    async def _wait(self) -> C | None:
        waiter: asyncio.Future[C | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())  # It was handed over at the moment of the cancellation.
            raise

    async def _opened(self) -> C:
        try:
            return await self._connect()
        except BaseException:
            self.release(None)
            raise
