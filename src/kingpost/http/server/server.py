"""The HTTP server: uvicorn, with our own connections (`protocol.py`) and our own way to stop."""

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
from kingpost.http.server.protocol import Protocol, ServerConfig
from kingpost.settings import Settings

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than load balancers keep theirs, so that they close first."""
PATIENCE = 30
"""Seconds that requests under way have to finish when the server stops."""
ACCEPTORS = 32
"""How many connections a lone worker accepts in one turn of the loop. libuv accepts one for each listening descriptor,
and under load a turn is long: with a single one, the last of a thousand clients waited for seconds. Several workers
share the work of accepting anyway."""


class Server(uvicorn.Server):
    """uvicorn's server, which drains before it stops.

    At SIGTERM it first only says so (`/readyz` turns 503) and goes on serving, so that load balancers can
    turn away. After the drain time it stops listening, lets requests under way finish and closes. SIGINT
    comes from a developer's keyboard and does not drain; a second signal does not wait any longer.
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
    """Serve until told to stop by a signal; then return. `when_ready` is called once requests are served."""
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
        timeout_graceful_shutdown=PATIENCE,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    # dup() copies the time-out, and with it would make the listener blocking for every process that shares it.
    listener.setblocking(False)
    more = [listener.dup() for _ in range(ACCEPTORS - 1)] if settings.workers == 1 else []
    await Server(config, readiness, settings.drain_seconds, when_ready).serve([listener, *more])


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """A request that a forced stop has cut off is no fault."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)
