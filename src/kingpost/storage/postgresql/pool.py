"""A fair pool of connections: who has waited longest is served first, and nothing is reset between uses."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from kingpost.problems import Unavailable

WAITING = 4096
CLOSING = 1.0  # seconds that a connection may take to say goodbye


class Connection(Protocol):
    """What the pool asks of a connection."""

    def is_closed(self) -> bool: ...
    def terminate(self) -> None: ...
    async def close(self, *, timeout: float) -> None: ...  # noqa: ASYNC109


class Pool[C: Connection]:
    """Up to `size` connections, opened when first needed, replaced when they have died.

    A connection is handed over to the first who waits, never put back for a newcomer to snatch. So
    either nobody waits or none is idle. The pool itself never gives up waiting: its user sets a time-out.
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
        """A connection for the caller alone, until it calls `release`.

        Raises:
            Unavailable: too many wait already, or the pool is closed.
            Exception: whatever opening a new connection raised.
        """
        if self._closed or len(self._waiters) >= WAITING:
            raise Unavailable("Too many wait for the database")
        while self._idle:
            connection = self._idle.pop()  # The one used last: its server process is the warmest.
            if not connection.is_closed():
                return connection
            self._open -= 1
        if self._open < self._size:
            self._open += 1
            return await self._opened()
        return await self._wait() or await self._opened()

    def release(self, connection: C | None) -> None:
        """Give a connection back. One that is closed, or None, gives back only its place."""
        if connection is not None and self._closed:
            connection.terminate()
        usable = None if connection is None or connection.is_closed() else connection
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                # With None the waiter gets the place, and opens its own connection.
                waiter.set_result(usable)
                return
        if usable is None:
            self._open -= 1
        else:
            self._idle.append(usable)

    async def close(self) -> None:
        """Close the idle connections; those in use are closed when they come back."""
        self._closed = True
        idle, self._idle = self._idle, []
        self._open -= len(idle)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Unavailable("The database is being closed"))
        self._waiters.clear()
        await asyncio.gather(*[c.close(timeout=CLOSING) for c in idle], return_exceptions=True)

    async def _wait(self) -> C | None:
        waiter: asyncio.Future[C | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())  # It was handed over in the very moment of the cancellation.
            raise

    async def _opened(self) -> C:
        try:
            return await self._connect()
        except BaseException:
            self.release(None)
            raise
