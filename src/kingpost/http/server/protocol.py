"""One HTTP connection: uvicorn's protocol, with our own answers to broken requests and less work for good ones."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from kingpost import clock
from kingpost.http.app.application import BROKEN_OFF, EVERYWHERE
from kingpost.http.app.problems import problem_answer
from kingpost.problems import HeadersTooLarge, InvalidRequest, Problem

SLACK = 4096
"""Bytes that a request's head may have beyond the limit before its end is seen: spaces, line ends, the method."""
SLOWEST = 30.0
"""Seconds between two looks at a connection. A request that was still arriving at two of them is given up."""


_NOTHING = object()


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, and what its connections have to know beside it."""

    def __init__(self, app: Any, *, header_limit: int, **options: Any) -> None:
        """`header_limit` is in bytes."""
        super().__init__(app, **options)
        self.header_limit = header_limit
        self.is_closing = False
        """Whether the server has stopped listening."""


class ClientDisconnected(OSError):
    """The client went away in the middle of a stream. Applications know it as an OSError (ASGI 2.4)."""


class Protocol(HttpToolsProtocol):
    """One connection. What is no HTTP, or has a head without end, gets a problem like everything else.

    An answer is written in one piece, but for streams.
    """

    config: ServerConfig
    _head_size = 0
    _seen: object = _NOTHING
    """The request that was arriving when this connection was last looked at: its scope, None before the first."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch = self.loop.call_later(SLOWEST, self._look)
        if self.config.is_closing:
            # Accepted in the very moment in which listening ended: nobody else would end it.
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The method is known once the head is complete; the application then knows the exact size.
        if self._head_is_complete():
            self._head_size = 0
            return
        self._head_size += len(data)
        if self._head_size > self.config.header_limit + SLACK:
            self._refuse(HeadersTooLarge())

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequest("This is not a valid HTTP request"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, _Answering(cycle, app))

    def _head_is_complete(self) -> bool:
        scope: Mapping[str, Any] | None = self.scope
        return scope is not None and "method" in scope

    def _look(self) -> None:
        """Close a connection on which the same request has been arriving since the last look, or nothing at all."""
        cycle: RequestResponseCycle | None = self.cycle
        is_arriving = not self._head_is_complete() or (cycle is not None and cycle.more_body)
        if is_arriving and self._seen is self.scope:
            self.transport.close()
            return
        self._seen = self.scope if is_arriving else _NOTHING
        self._watch = self.loop.call_later(SLOWEST, self._look)

    def _refuse(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        latest: RequestResponseCycle | None = self.cycle
        if latest is not None and not latest.response_complete and not latest.more_body:
            # Requests that came whole are answered first; then the connection ends.
            latest.keep_alive = False
            self.flow.pause_reading()
            return
        request_id = clock.unique()
        answer = problem_answer(problem, "", request_id)
        headers = [
            (b"x-request-id", request_id.encode()),
            *EVERYWHERE,
            answer.content_security_policy,
            *answer.headers,
            (b"content-type", answer.media_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[answer.status] + lines + b"\r\n" + answer.body)
        self.transport.close()


class _Answering:
    """The application, with an answer that is written in one piece, unless it is a stream.

    uvicorn writes head and body apart, and searches each header by itself for what must not be in one.
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
        """Take the messages that our application sends: one start, one whole body. Or many parts of one."""
        cycle = self._cycle
        if self._start is None:
            self._start = message
            cycle.response_started = True
            cycle.waiting_for_100_continue = False
            return
        if self._is_streaming or "more_body" in message:
            await self._send_part(message)
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

    async def _send_part(self, message: Any) -> None:
        """Write a part of a stream once the client has read most of those before.

        Raises:
            ClientDisconnected: the client is gone.
        """
        cycle = self._cycle
        if message["type"] == BROKEN_OFF:
            self._break_off()
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
            # Before HTTP/1.1 a body of unknown length ends with its connection (RFC 9112, section 6.3).
            self._cycle.keep_alive = False
        return self._head()

    def _break_off(self) -> None:
        """End the connection as no whole answer ends: without the last chunk, and by a reset rather than an end."""
        cycle = self._cycle
        cycle.disconnected = True
        at_once = struct.pack("ii", 1, 0)
        cycle.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        cycle.transport.abort()

    def _head(self) -> bytes:
        lines = [b"%b: %b\r\n" % header for header in self._start["headers"]]
        lines += [b"%b: %b\r\n" % header for header in self._cycle.default_headers]
        if not self._cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        if head.count(b"\n") > len(lines) or head.count(b"\r") > len(lines):
            raise RuntimeError("a header holds a line end")
        return b"".join((STATUS_LINE[self._start["status"]], head, b"\r\n"))
