"""The HTTP server: uvicorn, with our own answers to broken requests and our own way to stop."""

import asyncio
import logging
import signal
import socket
from collections.abc import Mapping
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from kingpost import clock
from kingpost.http.application import EVERYWHERE, STRICT_CSP, Application
from kingpost.http.call import Health
from kingpost.http.problems import problem_answer
from kingpost.problems import HeadersTooLarge, InvalidRequest, Problem
from kingpost.settings import Settings

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than load balancers keep theirs, so that they close first."""
PATIENCE = 30
"""Seconds that requests under way have to finish when the server stops."""
SLACK = 4096
"""Bytes that a request's head may have beyond the limit before its end is seen: spaces, line ends, the method."""


class Protocol(HttpToolsProtocol):
    """One connection. What is no HTTP, or has a head without end, gets a problem like everything else."""

    _head_size = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The method is known once the head is complete; the application then knows the exact size.
        if self._head_is_complete():
            self._head_size = 0
            return
        self._head_size += len(data)
        if self._head_size > self.app.header_limit + SLACK:
            self._refuse(HeadersTooLarge())

    def _head_is_complete(self) -> bool:
        scope: Mapping[str, Any] | None = self.scope
        return scope is not None and "method" in scope

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequest("This is not a valid HTTP request"))

    def _refuse(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        latest: RequestResponseCycle | None = self.cycle
        if latest is not None and not latest.response_complete and not latest.more_body:
            # Requests that came whole are answered first; then the connection ends.
            latest.keep_alive = False
            self.flow.pause_reading()
            return
        request_id = clock.new_id()[0]
        answer = problem_answer(problem, "", request_id)
        headers = [
            (b"x-request-id", request_id.encode()),
            *EVERYWHERE,
            STRICT_CSP,
            *answer.headers,
            (b"content-type", answer.media_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[answer.status] + lines + b"\r\n" + answer.body)
        self.transport.close()


class _Limited:
    """The application as the protocol needs it: callable, with the limit that guards it."""

    def __init__(self, app: Any, header_limit: int) -> None:
        self._app = app
        self.header_limit = header_limit

    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return self._app(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn's server, which drains before it stops.

    At SIGTERM it first only says so (`/readyz` turns 503) and goes on serving, so that load balancers can
    turn away. After the drain time it stops listening, lets requests under way finish and closes. SIGINT
    comes from a developer's keyboard and does not drain; a second signal does not wait any longer.
    """

    def __init__(self, config: uvicorn.Config, health: Health, drain_seconds: float) -> None:
        super().__init__(config)
        self._health = health
        self._drain_seconds = drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        is_first = not self._health.is_draining
        self._health.is_draining = True
        if sig == signal.SIGTERM and is_first and self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_seconds, self._stop)
        elif self.should_exit:
            self.force_exit = True
        else:
            self.should_exit = True

    def _stop(self) -> None:
        self.should_exit = True


async def serve(app: Application, health: Health, settings: Settings, listener: socket.socket) -> None:
    """Serve until told to stop by a signal; then return."""
    guarded: Any = app
    if settings.trusted_proxies:
        guarded = ProxyHeadersMiddleware(guarded, list(settings.trusted_proxies))
    config = uvicorn.Config(
        _Limited(guarded, settings.header_limit),
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
    await Server(config, health, settings.drain_seconds).serve([listener])


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """A request that a forced stop has cut off is no fault."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)
