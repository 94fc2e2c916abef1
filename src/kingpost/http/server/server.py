"""The HTTP server: it listens, stops on a signal, and lets running requests finish."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from types import FrameType

from kingpost.http.app.application import Application
from kingpost.http.app.operations import Readiness
from kingpost.http.server import bounds, collection
from kingpost.http.server.acceptor import Acceptor
from kingpost.http.server.client import Proxies
from kingpost.http.server.connections import Connections
from kingpost.http.server.protocol import Service
from kingpost.settings import Settings

SHUTDOWN_SECONDS = 30.0
"""That running requests have to finish when the server stops."""
POLL_SECONDS = 0.1
"""Between two checks whether the running requests have finished."""
ACCEPTED_AT_ONCE = 32
"""Connections that a single worker accepts in one iteration of the event loop. Several workers take one each, so that
they share the accepting."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption. Every cipher of TLS 1.3 has both."""

logger = logging.getLogger("kingpost.http")


class Server:
    """Serves until a signal stops it.

    On SIGTERM, `/readyz` starts to return 503 and the server continues to serve, so that load balancers can take it
    out of rotation. After the drain time it stops listening, waits for running requests and exits. SIGINT comes
    from a developer's keyboard and skips the drain time. A further signal during shutdown cancels running requests.
    """

    def __init__(self, service: Service, readiness: Readiness, drain_seconds: float) -> None:
        self._service = service
        self._connections = service.connections
        self._readiness = readiness
        self._drain_seconds = drain_seconds
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._is_forced = False

    async def run(self, listener: socket.socket, at_once: int, when_ready: Callable[[], None]) -> None:
        """Serve on a socket that listens. Call `when_ready` as soon as requests are accepted and signals handled."""
        sweeping = asyncio.create_task(self._connections.sweep())
        try:
            with self._handling_signals():
                acceptor = Acceptor(self._service, listener, at_once)
                collection.start(self._loop)
                when_ready()
                await self._stopping.wait()
                self._connections.is_closing = True
                acceptor.close()
                await self._finish_requests()
        finally:
            sweeping.cancel()

    async def _finish_requests(self) -> None:
        """Wait for running requests. Cancel them after `SHUTDOWN_SECONDS`, or when a further signal demands it."""
        for connection in list(self._connections.open):
            connection.stop()
        deadline = self._loop.time() + SHUTDOWN_SECONDS
        await asyncio.sleep(POLL_SECONDS)
        while (self._connections.open or self._connections.tasks) and not self._is_forced:
            if self._loop.time() > deadline:
                logger.error("%d requests did not finish in time and are cancelled", len(self._connections.tasks))
                break
            await asyncio.sleep(POLL_SECONDS)
        for task in self._connections.tasks:
            task.cancel()
        await asyncio.gather(*self._connections.tasks, return_exceptions=True)
        for connection in list(self._connections.open):
            connection.reset()

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop_on, number)

    def _stop_on(self, number: int) -> None:
        is_first = not self._readiness.is_draining
        self._readiness.is_draining = True
        if number == signal.SIGTERM and is_first:
            self._loop.call_later(self._drain_seconds, self._stopping.set)
        elif self._stopping.is_set():
            self._is_forced = True
        else:
            self._stopping.set()


async def serve(
    app: Application, readiness: Readiness, settings: Settings, listener: socket.socket, when_ready: Callable[[], None]
) -> None:
    """Serve until a signal stops the server. Call `when_ready` as soon as the server accepts requests."""
    service = Service(
        app,
        Connections(bounds.raise_descriptor_limit()),
        header_limit=settings.header_limit,
        proxies=Proxies(settings.trusted_proxies),
        tls=_tls_context(settings),
    )
    at_once = ACCEPTED_AT_ONCE if settings.workers == 1 else 1
    await Server(service, readiness, settings.drain_seconds).run(listener, at_once, when_ready)


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the certificate and the parameters of TLS: version 1.2 or newer. None: the server speaks plain HTTP."""
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context
