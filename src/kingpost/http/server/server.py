"""The HTTP server: uvicorn with a custom protocol (`protocol.py`) and a custom shutdown."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from kingpost.http.app.application import Application
from kingpost.http.app.operations import Readiness
from kingpost.http.server import collection
from kingpost.http.server.protocol import Protocol, ServerConfig
from kingpost.settings import Settings

KEEP_ALIVE = 75
"""Seconds before an idle connection is closed: more than load balancers use, so that they close first."""
SHUTDOWN_TIMEOUT = 30
"""Seconds that running requests have to finish when the server stops."""
ACCEPTORS = 32
"""Connections that a single worker accepts in one iteration of the event loop.

libuv accepts one connection for each listening descriptor and iteration, and under load an iteration is slow. With a
single descriptor, the last of a thousand clients waited for seconds. Several workers share the accepting, so each of
them needs only one descriptor."""


class Server(uvicorn.Server):
    """uvicorn's server with a drain time before shutdown.

    On SIGTERM, `/readyz` starts to return 503 and the server continues to serve, so that load balancers can take it
    out of rotation. After the drain time it stops listening, waits for running requests and exits. SIGINT comes
    from a developer's keyboard and skips the drain time. A further signal during shutdown cancels running requests.
    """

    def __init__(
        self,
        config: ServerConfig,
        readiness: Readiness,
        drain_seconds: float,
        when_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._when_ready = when_ready
        self._config = config
        self._readiness = readiness
        self._drain_seconds = drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        collection.start(self._loop)
        # Signal handlers are installed, so Ctrl-C from here on shuts down cleanly.
        self._when_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._config.is_closing = True
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        is_first = not self._readiness.is_draining
        self._readiness.is_draining = True
        if sig == signal.SIGTERM and is_first and self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_seconds, self._stop)
        elif self.should_exit:
            self.force_exit = True
        else:
            self.should_exit = True

    def _stop(self) -> None:
        self.should_exit = True


async def serve(
    app: Application, readiness: Readiness, settings: Settings, listener: socket.socket, when_ready: Callable[[], None]
) -> None:
    """Serve until a signal stops the server. Call `when_ready` as soon as the server accepts requests."""
    guarded: Any = app
    if settings.trusted_proxies:
        guarded = ProxyHeadersMiddleware(guarded, list(settings.trusted_proxies))
    config = ServerConfig(
        guarded,
        header_limit=settings.header_limit,
        http=Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_not_cancellation)
    # dup() copies the timeout of a Python socket. On a listener with a timeout it would make the descriptor blocking,
    # for all processes that share it.
    listener.setblocking(False)
    duplicates = [listener.dup() for _ in range(ACCEPTORS - 1)] if settings.workers == 1 else []
    await Server(config, readiness, settings.drain_seconds, when_ready).serve([listener, *duplicates])


def _is_not_cancellation(record: logging.LogRecord) -> bool:
    """Return whether a log record is about something other than a request that a forced shutdown cancelled."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)
