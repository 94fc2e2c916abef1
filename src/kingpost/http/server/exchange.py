"""One request and its response: the ASGI side of a connection."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from kingpost.http.app.application import STREAM_ABORTED, ASGIApplication
from kingpost.http.server.head import Head
from kingpost.http.server.wire import response_head
from kingpost.problems import Problem, Unavailable

if TYPE_CHECKING:
    from kingpost.http.server.protocol import Connection

ASGI = {"version": "3.0", "spec_version": "2.4"}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
DISCONNECTED = {"type": "http.disconnect"}
JOINED_BYTES = 64 * 1024
"""Below this size, a body is copied behind its head, which is faster than two writes. A larger one takes memory."""

logger = logging.getLogger("kingpost.http")


class ClientDisconnected(OSError):
    """The client disconnected during a streamed response. ASGI 2.4 demands an OSError for this."""


class Exchange:
    """A request and its response.

    `receive` and `send` are the callables of ASGI. The connection feeds the body; `keep_alive` says whether it will
    read another request.
    """

    __slots__ = (
        "_connection",
        "_fault",
        "_head",
        "_held",
        "_is_chunked",
        "_is_streaming",
        "_is_waiting_for_continue",
        "_pieces",
        "_start",
        "_waiter",
        "buffered",
        "is_answered",
        "is_complete",
        "is_disconnected",
        "keep_alive",
        "scope",
    )

    def __init__(self, connection: "Connection", head: Head) -> None:
        self._connection = connection
        self._head = head
        self._held = 0
        self._is_chunked = False
        self._fault: Problem | None = None
        self._is_streaming = False
        self._is_waiting_for_continue = head.expects_continue
        self._pieces: list[bytes] = []
        self._start: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self.buffered = 0
        self.is_answered = False
        self.is_complete = head.length == 0
        self.is_disconnected = False
        self.keep_alive = head.keep_alive
        scheme, client = connection.peer.describe(head.headers)
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": ASGI,
            "http_version": head.http_version,
            "method": head.method,
            "scheme": scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query_string,
            "root_path": "",
            "headers": head.headers,
            "client": client,
            "server": connection.peer.server,
            "kingpost.peer": connection.peer.described,
        }

    async def run(self, app: ASGIApplication) -> None:
        """Call the application. It answers every request, unless the client or the server has gone."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            logger.exception("the application failed")
        finally:
            if not self.is_answered and not self.is_disconnected:
                self._connection.reset()
            self._free()

    # --- the body ----------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Whether a part of the response was written."""
        return self._is_streaming or self.is_answered

    @property
    def was_not_asked_for(self) -> bool:
        """Whether the client waits for 100 Continue, and may or may not send the body without it."""
        return self._is_waiting_for_continue and not self.is_complete

    def feed(self, piece: bytes, *, is_last: bool) -> None:
        """Take a part of the body. It is discarded if the request is already answered."""
        self.is_complete = is_last
        if piece:
            self._is_waiting_for_continue = False
        if piece and not self.is_answered and self._fault is None:
            self._pieces.append(piece)
            self.buffered += len(piece)
            if self._held or not is_last:
                self._hold(len(piece))
        self._wake()

    def _hold(self, size: int) -> None:
        if self._connection.connections.hold_body(size):
            self._held += size
        else:
            self.refuse(Unavailable("The server is receiving too many large bodies. Send the request again later"))

    def refuse(self, problem: Problem) -> None:
        """Let `receive` raise a problem: the rest of the body cannot be read."""
        self._fault = problem
        self.keep_alive = False
        self._pieces.clear()
        self.buffered = 0
        self._wake()

    def _free(self) -> None:
        self._connection.connections.free_body(self._held)
        self._held = 0
        self._pieces.clear()
        self.buffered = 0

    def disconnect(self) -> None:
        """Note that the client has gone."""
        self.is_disconnected = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """Return the next part of the body.

        Raises:
            Problem: the body is malformed, or all bodies together take too much memory.
        """
        if not self._pieces and not self._is_settled():
            if self._is_waiting_for_continue:
                self._is_waiting_for_continue = False
                self._connection.write(CONTINUE)
            self._connection.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        if self._fault is not None:
            raise self._fault
        if self.is_disconnected or self.is_answered:
            return DISCONNECTED
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self.buffered = 0
        return {"type": "http.request", "body": body, "more_body": not self.is_complete}

    def _is_settled(self) -> bool:
        return self.is_complete or self.is_disconnected or self.is_answered or self._fault is not None

    # --- the response ------------------------------------------------------------------------------

    async def send(self, message: dict[str, Any]) -> None:
        """Write a response: one start, then one complete body or several chunks.

        A response is written in one piece unless it is streamed. The application never sends malformed messages.

        Raises:
            ClientDisconnected: the client has disconnected during a stream.
        """
        connection = self._connection
        if self._start is None:
            self._start = message
            if not connection.can_keep(self):
                self.keep_alive = False
            return
        if self._is_streaming or "more_body" in message:
            await self._send_chunk(message)
            return
        if self.is_disconnected:
            return
        content: bytes = message["body"]
        if len(content) < JOINED_BYTES:
            connection.write(self._response_head() + content)
        else:
            connection.write(self._response_head())
            connection.write(content)
        self._complete()

    def _complete(self) -> None:
        self.is_answered = True
        self._free()
        self._connection.answered()

    async def _send_chunk(self, message: dict[str, Any]) -> None:
        """Write a chunk of a stream. Wait first until the client has read most of the previous chunks."""
        connection = self._connection
        if message["type"] == STREAM_ABORTED:
            connection.reset()
            return
        await connection.drain()
        if self.is_disconnected:
            raise ClientDisconnected
        content: bytes = message["body"]
        if not self._is_streaming:
            self._is_streaming = True
            self._begin_stream()
            prefix = self._response_head()
        else:
            prefix = b""
        if self._is_chunked and content:
            content = b"%x\r\n%b\r\n" % (len(content), content)
        is_last = not message["more_body"]
        if is_last and self._is_chunked:
            content += b"0\r\n\r\n"
        connection.write(prefix + content)
        if is_last:
            self._complete()

    def _begin_stream(self) -> None:
        if self._head.http_version == "1.1":
            self._is_chunked = True
            self._start["headers"].append((b"transfer-encoding", b"chunked"))
        else:
            # In HTTP/1.0, closing the connection ends a body of unknown length (RFC 9112, section 6.3).
            self.keep_alive = False

    def _response_head(self) -> bytes:
        start, date = self._start, self._connection.connections.date_line
        return response_head(start["status"], start["headers"], date, keep_alive=self.keep_alive)
