"""One HTTP connection: uvicorn's protocol with problem documents for malformed requests and faster responses."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from kingpost import clock
from kingpost.http.app.application import COMMON_HEADERS, STREAM_ABORTED
from kingpost.http.app.problems import problem_answer
from kingpost.problems import HeadersTooLarge, InvalidRequest, Problem

HEAD_SLACK = 4096
"""Bytes by which an incomplete request head may exceed the limit. The application checks the exact size later, without
the method, spaces and line ends."""
STALL_CHECK_INTERVAL = 30.0
"""Seconds between two checks of a connection. A request that is still incomplete at the second check is dropped."""


_NO_REQUEST = object()


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration with the additional values that connections need."""

    def __init__(self, app: Any, *, header_limit: int, **options: Any) -> None:
        """Limit the head of a request to `header_limit` bytes."""
        super().__init__(app, **options)
        self.header_limit = header_limit
        self.is_closing = False
        """Whether the server has stopped listening."""


class ClientDisconnected(OSError):
    """The client disconnected during a streamed response. ASGI 2.4 demands an OSError for this."""


class Protocol(HttpToolsProtocol):
    """One connection.

    A request that is not valid HTTP, or whose head is too large, gets a problem document like every other error. A
    response is written in one piece unless it is streamed.
    """

    config: ServerConfig
    _head_size = 0
    _last_seen: object = _NO_REQUEST
    """The scope of the request that was incomplete at the last check; None before the first request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._stall_timer = self.loop.call_later(STALL_CHECK_INTERVAL, self._check_for_stall)
        if self.config.is_closing:
            # The connection was accepted just as listening ended, so nothing else would close it.
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stall_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Once the head is complete, the application checks its exact size.
        if self._head_is_complete():
            self._head_size = 0
            return
        self._head_size += len(data)
        if self._head_size > self.config.header_limit + HEAD_SLACK:
            self._reject(HeadersTooLarge())

    def send_400_response(self, msg: str) -> None:
        self._reject(InvalidRequest("This is not a valid HTTP request"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, _ResponseWriter(cycle, app))

    def _head_is_complete(self) -> bool:
        scope: Mapping[str, Any] | None = self.scope
        return scope is not None and "method" in scope

    def _check_for_stall(self) -> None:
        """Close the connection if no request has arrived, or if the same request was incomplete at the last check."""
        cycle: RequestResponseCycle | None = self.cycle
        is_arriving = not self._head_is_complete() or (cycle is not None and cycle.more_body)
        if is_arriving and self._last_seen is self.scope:
            self.transport.close()
            return
        self._last_seen = self.scope if is_arriving else _NO_REQUEST
        self._stall_timer = self.loop.call_later(STALL_CHECK_INTERVAL, self._check_for_stall)

    def _reject(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        latest: RequestResponseCycle | None = self.cycle
        if latest is not None and not latest.response_complete and not latest.more_body:
            # Answer the complete requests before this one, then close the connection.
            latest.keep_alive = False
            self.flow.pause_reading()
            return
        request_id = clock.unique()
        answer = problem_answer(problem, "", request_id)
        headers = [
            (b"x-request-id", request_id.encode()),
            *COMMON_HEADERS,
            answer.content_security_policy,
            *answer.headers,
            (b"content-type", answer.media_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[answer.status] + lines + b"\r\n" + answer.body)
        self.transport.close()


class _ResponseWriter:
    """Wraps the application and writes a response in one piece, unless it is streamed.

    uvicorn writes head and body separately, and checks each header individually for invalid characters.
    """

    __slots__ = ("_app", "_cycle", "_is_chunked", "_is_streaming", "_start")

    def __init__(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._cycle = cycle
        self._app = app
        self._start: Any = None
        self._is_streaming = False
        self._is_chunked = False

    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return self._app(scope, receive, self._send)

    async def _send(self, message: Any) -> None:
        """Handle the messages of our application: one start, then one complete body or several chunks."""
        cycle = self._cycle
        if self._start is None:
            self._start = message
            cycle.response_started = True
            cycle.waiting_for_100_continue = False
            return
        if self._is_streaming or "more_body" in message:
            await self._send_chunk(message)
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        cycle.transport.write(self._head() + message["body"])
        self._complete()

    def _complete(self) -> None:
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    async def _send_chunk(self, message: Any) -> None:
        """Write a chunk of a stream. Wait first until the client has read most of the previous chunks.

        Raises:
            ClientDisconnected: the client has disconnected.
        """
        cycle = self._cycle
        if message["type"] == STREAM_ABORTED:
            self._abort()
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            raise ClientDisconnected
        content: bytes = message["body"]
        if self._is_chunked and content:
            content = b"%x\r\n%b\r\n" % (len(content), content)
        if not self._is_streaming:
            content = self._begin_stream() + content
        is_last = not message["more_body"]
        if is_last and self._is_chunked:
            content += b"0\r\n\r\n"
        cycle.transport.write(content)
        if is_last:
            self._complete()

    def _begin_stream(self) -> bytes:
        self._is_streaming = True
        if self._cycle.scope["http_version"] == "1.1":
            self._is_chunked = True
            self._start["headers"].append((b"transfer-encoding", b"chunked"))
        else:
            # In HTTP/1.0, closing the connection ends a body of unknown length (RFC 9112, section 6.3).
            self._cycle.keep_alive = False
        return self._head()

    def _abort(self) -> None:
        """Reset the connection without sending the last chunk, so that the client sees an incomplete response."""
        cycle = self._cycle
        cycle.disconnected = True
        no_linger = struct.pack("ii", 1, 0)
        cycle.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        cycle.transport.abort()

    def _head(self) -> bytes:
        lines = [b"%b: %b\r\n" % header for header in self._start["headers"]]
        lines += [b"%b: %b\r\n" % header for header in self._cycle.default_headers]
        if not self._cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        if head.count(b"\n") > len(lines) or head.count(b"\r") > len(lines):
            raise RuntimeError("a header contains a line break")
        return b"".join((STATUS_LINE[self._start["status"]], head, b"\r\n"))
