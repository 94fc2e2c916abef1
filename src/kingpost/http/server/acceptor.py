"""Accept connections on a listening socket, as many as the bounds allow."""

import asyncio
import socket

from kingpost.http.server import bounds
from kingpost.http.server.client import Peer
from kingpost.http.server.protocol import Connection, Service, reset_on_close

PAUSE_SECONDS = 1.0
"""For which a process that has no descriptors or memory left accepts nothing. Without the pause it would only try."""


class Acceptor:
    """Accepts connections from a listening socket until it is closed.

    The event loop would accept one connection in each of its iterations, and under load an iteration is slow: the last
    of a thousand clients would wait for seconds.
    """

    def __init__(self, service: Service, listener: socket.socket, at_once: int) -> None:
        """Accept up to `at_once` connections in one iteration of the event loop."""
        self._service = service
        self._connections = service.connections
        self._listener = listener
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._opening: dict[asyncio.Task[None], Connection] = {}
        self._resuming: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Stop listening."""
        if self._resuming is not None:
            self._resuming.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for task, connection in self._opening.items():
            if not connection.is_open:
                task.cancel()
                self._connections.release(connection)

    def _resume(self) -> None:
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(self._at_once):
            try:
                accepted, peername = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._connections.warn(
                    "accepting",
                    "no connection can be accepted: %s. Raise the limit of open files (ulimit -n) or add memory",
                    error.strerror,
                )
                self._loop.remove_reader(self._listener.fileno())
                self._resuming = self._loop.call_later(PAUSE_SECONDS, self._resume)
                return
            self._take(accepted, peername)

    def _take(self, accepted: socket.socket, peername: object) -> None:
        """Count a connection and open it. Beyond the bounds, answer 503 over plain HTTP, and reset a TLS connection."""
        service = self._service
        scheme = "http" if service.tls is None else "https"
        connection = Connection(service, Peer(peername, accepted.getsockname(), scheme, service.proxies))
        if not self._connections.admit(connection):
            if service.tls is not None or not self._connections.refuse(connection):
                reset_on_close(accepted)
                accepted.close()
                return
            connection.is_refused = True
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._open(accepted, connection))
        self._opening[task] = connection
        task.add_done_callback(self._opening.pop)

    async def _open(self, accepted: socket.socket, connection: Connection) -> None:
        """Give the connection to the event loop. With TLS, this takes a handshake."""
        tls = self._service.tls
        handshake, shutdown = (None, None) if tls is None else (bounds.FIRST_BYTE_SECONDS, bounds.STALLED_SECONDS)
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=tls, ssl_handshake_timeout=handshake, ssl_shutdown_timeout=shutdown
            )
        except OSError:  # The client has gone, or does not speak TLS.
            self._connections.release(connection)
