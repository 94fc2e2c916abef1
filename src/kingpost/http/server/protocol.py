"""One HTTP/1.1 connection: bytes in, requests to the application one after the other, bytes out.

A request is read when the one before it is answered, so pipelined requests are answered in order and wait in the
buffers of the sockets. A client that sends or reads too slowly, or sends too much, is disconnected (`bounds.py`).
"""

import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
import sys
import termios
from typing import Final

from kingpost.http.app.application import ASGIApplication
from kingpost.http.server import bounds
from kingpost.http.server.chunked import ChunkedDecoder
from kingpost.http.server.client import Peer, Proxies
from kingpost.http.server.connections import Connections
from kingpost.http.server.exchange import Exchange
from kingpost.http.server.head import HeadReader
from kingpost.http.server.wire import problem_response
from kingpost.problems import Problem, Unavailable

NEVER: Final = float("inf")


class Service:
    """What all connections of a server share."""

    __slots__ = ("app", "connections", "header_limit", "proxies", "tls")

    def __init__(
        self,
        app: ASGIApplication,
        connections: Connections,
        *,
        header_limit: int,
        proxies: Proxies,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Limit the head of a request to `header_limit` bytes. Encrypt connections with `tls`, if it is given."""
        self.app = app
        self.connections = connections
        self.header_limit = header_limit
        self.proxies = proxies
        self.tls = tls


class Connection(asyncio.Protocol):
    """A connection. `deadline` is the time of the loop at which it expires, in seconds.

    `is_refused` says that it is beyond a bound: it gets a 503 and is closed. `is_open` says that the event loop has it.
    """

    __slots__ = (
        "_body_began",
        "_body_received",
        "_buffer",
        "_decoder",
        "_drained",
        "_exchange",
        "_is_lingering",
        "_is_paused",
        "_is_scheduled",
        "_is_writable",
        "_loop",
        "_reader",
        "_remaining",
        "_service",
        "_transport",
        "connections",
        "deadline",
        "is_open",
        "is_refused",
        "peer",
    )

    _transport: asyncio.Transport

    def __init__(self, service: Service, peer: Peer) -> None:
        self._service = service
        self.peer = peer
        self.is_open = False
        self.is_refused = False
        self.connections = service.connections
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._reader: HeadReader | None = None
        self._exchange: Exchange | None = None
        self._decoder: ChunkedDecoder | None = None
        self._remaining = 0
        self._body_began = 0.0
        self._body_received = 0
        self._is_lingering = False
        self._is_paused = False
        self._is_scheduled = False
        self._is_writable = True
        self._drained: asyncio.Future[None] | None = None
        self.deadline = NEVER

    # --- opening and closing -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self.is_open = True
        if self.connections.is_closing:
            # The connection was accepted just as listening ended, so nothing else would close it.
            transport.close()
        elif self.is_refused:
            self._reject(Unavailable("The server has too many connections. Close those that you do not use"))
        else:
            now = self._loop.time()
            self.deadline = now + bounds.FIRST_BYTE_SECONDS
            self.connections.idle(self, now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.release(self)
        self._is_writable = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._exchange is not None:
            self._exchange.disconnect()

    def eof_received(self) -> None:
        """Close the connection, also if its request is still running: clients do not half-close."""

    def stop(self) -> None:
        """Close the connection after the current request."""
        if self._exchange is None:
            self._transport.close()
        else:
            self._exchange.keep_alive = False

    def drop(self) -> None:
        """Close an idle connection at once. With TLS, a polite end would wait for the client."""
        self._transport.abort()

    def expire(self) -> None:
        """Close the connection because its deadline has passed."""
        self.deadline = NEVER
        if self._exchange is None:
            self._end()
        elif self._exchange.has_begun:
            self.reset()
        else:
            self._exchange.disconnect()
            self._end()

    def reset(self) -> None:
        """Reset the connection, so that the client cannot take an incomplete response for a complete one."""
        reset_on_close(self._transport.get_extra_info("socket"))
        if self._exchange is not None:
            self._exchange.disconnect()
        self._transport.abort()

    def _end(self) -> None:
        """Close the connection after what was written."""
        self.deadline = NEVER
        self._transport.close()
        if self._transport.get_write_buffer_size() > 0:
            self.connections.stalled(self)

    def _linger(self) -> None:
        """Close the connection after what was written, and let the client finish what it is sending."""
        self._exchange = None
        self._is_lingering = True
        self._remaining = bounds.DISCARD_BYTES
        self._buffer = b""
        self.deadline = self._loop.time() + bounds.LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.resume_reading()

    def _reject(self, problem: Problem) -> None:
        """Answer a request that is not given to the application, and close the connection."""
        self.connections.busy(self)
        is_encrypted = self._service.tls is not None
        lines = [] if self._reader is None else self._reader.headers
        response = problem_response(problem, self._buffer, lines, self.connections.date_line, is_encrypted=is_encrypted)
        self.write(response)
        self._linger()

    # --- reading -----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._is_lingering:
            self._remaining -= len(data)
            if self._remaining < 0:
                self._end()
            return
        self._buffer = self._buffer + data if self._buffer else data
        if not self._is_scheduled:
            self._advance()

    def _advance_later(self) -> None:
        """Let other connections have their turn before more is read."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._advance)

    def _advance(self) -> None:
        """Read what has been received, as far as the current request allows."""
        self._is_scheduled = False
        try:
            while self._buffer and not self._is_lingering and not self._transport.is_closing():
                if self._exchange is None:
                    if not self._read_head():
                        return
                elif self._exchange.is_complete:
                    # The next request waits for the response to this one.
                    if len(self._buffer) > bounds.READ_AHEAD_BYTES:
                        self._pause_reading()
                    return
                elif not self._read_body(self._exchange):
                    return
        except Problem as problem:
            self._fail(problem)

    def _read_head(self) -> bool:
        """Read the head of the next request and start it. Return whether it was complete."""
        if self._reader is None:
            if not self._is_writable:
                self._pause_reading()
                return False
            # Empty lines before a request are ignored (RFC 9112, section 2.2). They begin nothing.
            self._buffer = self._buffer.lstrip(b"\r\n")
            if not self._buffer:
                return False
            self._reader = HeadReader(self._service.header_limit)
            self.connections.busy(self)
            self.deadline = self._loop.time() + bounds.HEAD_SECONDS
        found = self._reader.read(self._buffer)
        if found is None:
            return False
        head, size = found
        self._reader = None
        self._buffer = self._buffer[size:]
        self._exchange = exchange = Exchange(self, head)
        self.deadline = NEVER
        if not exchange.is_complete:
            self._remaining = head.length or 0
            self._decoder = None if head.length is not None else ChunkedDecoder(self._service.header_limit)
            self._body_began = self._loop.time()
            self._body_received = 0
            self._expect_more()
        # It runs when everything has been read that has already arrived.
        self._start(exchange)
        return True

    def _start(self, exchange: Exchange) -> None:
        task = self._loop.create_task(exchange.run(self._service.app))
        self.connections.tasks.add(task)
        task.add_done_callback(self.connections.tasks.discard)

    def _read_body(self, exchange: Exchange) -> bool:
        """Read a part of the body. Return whether it was the last one."""
        if self._decoder is None:
            piece, taken = self._buffer[: self._remaining], self._remaining
            self._remaining -= len(piece)
            is_last = self._remaining == 0
        else:
            piece, taken = self._decoder.decode(self._buffer, bounds.CHUNKS_AT_ONCE)
            is_last = self._decoder.is_complete
        self._buffer = self._buffer[taken:]
        self._body_received += len(piece)
        exchange.feed(piece, is_last=is_last)
        if is_last:
            self._decoder = None
            self.deadline = NEVER
            if exchange.is_answered:
                self._next(exchange)
        elif exchange.is_answered and self._decoder is not None and self._body_received > bounds.DISCARD_BYTES:
            self._linger()
        else:
            self._read_on(exchange, can_decode=bool(self._buffer) and taken > 0)
        return is_last

    def _read_on(self, exchange: Exchange, *, can_decode: bool) -> None:
        """Receive more of a body, but not more than the application and the decoder can take."""
        if can_decode:
            self._advance_later()
        if max(exchange.buffered, len(self._buffer) if can_decode else 0) > bounds.READ_AHEAD_BYTES:
            self._pause_reading()
        else:
            self.resume_reading()
            self._expect_more()

    def _expect_more(self) -> None:
        """Set the deadline for the next part of the body: it must not be silent for long, nor too slow on average."""
        silence = bounds.BODY_SILENCE_SECONDS
        slowest = self._body_began + silence + self._body_received / bounds.BODY_BYTES_PER_SECOND
        self.deadline = min(self._loop.time() + silence, slowest)

    def _fail(self, problem: Problem) -> None:
        """Answer a fault in what was received; if a response has begun, it cannot be answered any more."""
        if self._exchange is None:
            self._reject(problem)
        elif self._exchange.is_answered:
            self._linger()
        else:
            self._exchange.refuse(problem)
            self._buffer = b""
            self._pause_reading()

    def _pause_reading(self) -> None:
        """Receive nothing for now. It is not the client who is slow, so it has no deadline."""
        self.deadline = NEVER
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive more, after the application has taken what was received."""
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()
            if self._exchange is not None and not self._exchange.is_complete:
                self._body_began = self._loop.time()
                self._expect_more()

    # --- writing -----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write bytes, unless the connection is closed. The transport holds what the client does not read yet."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read most of what was written, or has gone."""
        if not self._is_writable:
            if self._drained is None or self._drained.done():
                self._drained = self._loop.create_future()
            await self._drained

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were written and that the client has not received, here and in the system."""
        size = self._transport.get_write_buffer_size()
        own = self._transport.get_extra_info("socket")
        if own is not None:
            with contextlib.suppress(OSError, ValueError):
                queued = fcntl.ioctl(own.fileno(), termios.TIOCOUTQ, bytes(4))
                size += int.from_bytes(queued, sys.byteorder)
        return size

    def pause_writing(self) -> None:
        self._is_writable = False
        self.connections.stalled(self)

    def resume_writing(self) -> None:
        self._is_writable = True
        if self._transport.is_closing():
            return
        self.connections.resumed(self)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._exchange is None and not self._is_lingering:
            self._await_request()

    def can_keep(self, exchange: Exchange) -> bool:
        """Return whether the connection can be used after a response that starts now.

        The rest of an unread body is discarded if it is small. If the client still waits for 100 Continue, it
        may or may not send the body (RFC 9110, section 10.1.1).
        """
        if exchange.is_complete:
            return True
        unread = self._remaining if self._decoder is None else self._body_received
        return not exchange.was_not_asked_for and unread <= bounds.DISCARD_BYTES

    def answered(self) -> None:
        """Go on after a complete response."""
        exchange = self._exchange
        assert exchange is not None
        if exchange.is_complete or not exchange.keep_alive:
            self._next(exchange)
        else:
            self.resume_reading()

    def _next(self, exchange: Exchange) -> None:
        """Wait for the next request, or close the connection after the last one."""
        if self._transport.is_closing():
            return
        if exchange.keep_alive and not self.connections.is_closing:
            self._exchange = None
            self._await_request()
        elif exchange.is_complete and not self._buffer and not self._is_paused:
            self._exchange = None
            self._end()
        else:
            self._linger()

    def _await_request(self) -> None:
        if not self._is_writable:
            self.deadline = NEVER  # The client must read its last response first.
            return
        now = self._loop.time()
        self.deadline = now + bounds.KEEP_ALIVE_SECONDS
        self.connections.idle(self, now)
        self.resume_reading()
        if self._buffer:
            self._advance_later()


def reset_on_close(connected: socket.socket | None) -> None:
    """Let the end of a connection be a reset. None: the connection has already ended."""
    if connected is not None:
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
