"""All connections of a process, and the bounds on what they hold together (`bounds.py`)."""

import asyncio
import logging
import time
from collections import OrderedDict
from email.utils import formatdate
from itertools import chain
from typing import TYPE_CHECKING

from kingpost.http.server import bounds

if TYPE_CHECKING:
    from kingpost.http.server.protocol import Connection

WARNING_SECONDS = 60.0
"""Between two lines in the log about one bound."""

logger = logging.getLogger("kingpost.http")


class Connections:
    """The connections of a process.

    `is_closing` says that the server has stopped listening.
    """

    def __init__(self, most: int) -> None:
        """Accept this many connections."""
        self._most = most
        self._most_of_client = min(bounds.CONNECTIONS_OF_ADDRESS, max(most // bounds.SHARE_OF_ADDRESS, 1))
        self._of_client: dict[str, set[Connection]] = {}
        self._idle: OrderedDict[Connection, float] = OrderedDict()
        self._stalled: OrderedDict[Connection, tuple[int, float]] = OrderedDict()
        self._stalled_bytes = 0
        self._body_bytes = 0
        self._warned: dict[str, float] = {}
        self.open: set[Connection] = set()
        self.refused: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_closing = False
        self.date_line = _date_line()

    # --- connections -------------------------------------------------------------------------------

    def admit(self, connection: "Connection") -> bool:
        """Count a new connection. At a bound, first close the one that has been idle longest.

        Returns:
            False if there is no room: all connections are in use.
        """
        key = connection.peer.key
        siblings = self._of_client.get(key, set()) if key is not None else set()
        if len(siblings) >= self._most_of_client:
            self.warn(
                "address",
                "%s has %d connections, the most for one client address; idle ones are closed, and further ones are "
                "refused. If it is a proxy, add it to KINGPOST_TRUSTED_PROXIES",
                key,
                len(siblings),
            )
            longest = min((each for each in siblings if each in self._idle), key=self._idle.__getitem__, default=None)
            if longest is None:
                return False
            self._close(longest)
        if len(self.open) >= self._most:
            self.warn(
                "process",
                "this process has %d connections, the most that it accepts; idle ones are closed, and further ones are "
                "refused. Raise the limit of open files (ulimit -n), or run more workers or nodes",
                len(self.open),
            )
            if not self._idle:
                return False
            self._close(next(iter(self._idle)))
        if key is not None:
            self._of_client.setdefault(key, set()).add(connection)
        self.open.add(connection)
        return True

    def release(self, connection: "Connection") -> None:
        """Forget a connection that is closed."""
        self.open.discard(connection)
        self.refused.discard(connection)
        self._idle.pop(connection, None)
        self.resumed(connection)
        key = connection.peer.key
        siblings = self._of_client.get(key) if key is not None else None
        if key is not None and siblings is not None:
            siblings.discard(connection)
            if not siblings:
                del self._of_client[key]

    def refuse(self, connection: "Connection") -> bool:
        """Return whether a connection that was not admitted may wait until its client has read why."""
        if len(self.refused) >= min(bounds.REFUSALS_AT_ONCE, max(self._most // 4, 4)):
            return False
        self.refused.add(connection)
        return True

    def idle(self, connection: "Connection", since: float) -> None:
        """Note that a connection waits for a request, since a time of the loop. At a bound it may be closed."""
        self._idle[connection] = since

    def busy(self, connection: "Connection") -> None:
        """Note that a request has begun to arrive."""
        self._idle.pop(connection, None)

    def _close(self, idle: "Connection") -> None:
        idle.drop()
        self.release(idle)

    # --- bodies that arrive ------------------------------------------------------------------------

    def hold_body(self, size: int) -> bool:
        """Count bytes of a body that is incomplete. Return False, without counting them, if there are too many."""
        if self._body_bytes + size > bounds.BODIES_BYTES:
            self.warn(
                "bodies",
                "bodies that are still arriving hold %d MiB, the most for this process; further ones get 503. If the "
                "clients are genuine, run more workers or nodes, or lower KINGPOST_BODY_LIMIT",
                self._body_bytes >> 20,
            )
            return False
        self._body_bytes += size
        return True

    def free_body(self, size: int) -> None:
        """Take back what `hold_body` has counted."""
        self._body_bytes -= size

    # --- responses that wait for their readers -----------------------------------------------------

    def stalled(self, connection: "Connection") -> None:
        """Note that a client does not read as fast as its response is written."""
        self._note(connection, asyncio.get_running_loop().time())
        if self._stalled_bytes > bounds.ANSWERS_BYTES:
            self._check_stalled()

    def resumed(self, connection: "Connection") -> None:
        """Note that a client has read most of its response."""
        size, _ = self._stalled.pop(connection, (0, 0.0))
        self._stalled_bytes -= size

    def _note(self, connection: "Connection", since: float) -> None:
        self.resumed(connection)
        size = connection.unsent_bytes
        self._stalled[connection] = size, since
        self._stalled_bytes += size

    def _check_stalled(self) -> None:
        """Reset the connections whose clients read nothing, and the longest-stalled ones if all hold too much."""
        now = asyncio.get_running_loop().time()
        for connection, (before, since) in list(self._stalled.items()):
            if connection.unsent_bytes < before:
                self._note(connection, now)
            elif now - since > bounds.STALLED_SECONDS:
                connection.reset()
                self.release(connection)
        while self._stalled_bytes > bounds.ANSWERS_BYTES:
            self.warn(
                "answers",
                "responses that wait for their readers hold %d MiB, the most for this process; the longest-stalled "
                "connections are reset. If the clients are genuine, put a proxy that buffers responses in front",
                self._stalled_bytes >> 20,
            )
            connection = next(iter(self._stalled))
            connection.reset()
            self.release(connection)

    # --- time --------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Check all deadlines periodically, and update the date, until cancelled."""
        while True:
            self.date_line = _date_line()
            now = asyncio.get_running_loop().time()
            for connection in [each for each in chain(self.open, self.refused) if each.deadline < now]:
                connection.expire()
            self._check_stalled()
            await asyncio.sleep(bounds.SWEEP_SECONDS)

    def warn(self, bound: str, message: str, *arguments: object) -> None:
        """Log that a bound bites, at most once a minute."""
        now = time.monotonic()
        if now - self._warned.get(bound, -WARNING_SECONDS) >= WARNING_SECONDS:
            self._warned[bound] = now
            logger.warning(message, *arguments)


def _date_line() -> bytes:
    """Return the header line `Date` of now."""
    return b"date: %b\r\n" % formatdate(time.time(), usegmt=True).encode()
