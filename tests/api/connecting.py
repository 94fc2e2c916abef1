"""Bare connections to the application, through the server's own protocol on real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from kingpost.http.server.acceptor import Acceptor
from kingpost.http.server.client import Proxies
from kingpost.http.server.connections import Connections
from kingpost.http.server.protocol import Service
from tests.api.stack import Stack

TIMEOUT = 20.0
"""Seconds after which a test stops waiting. No answer takes nearly as long."""


@dataclass(frozen=True)
class Response:
    """A response as received."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        """The slug of a complete problem document; an empty text for any other response."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        document = json.loads(self.body)
        assert document["status"] == self.status
        assert document["request_id"] == self.headers["x-request-id"]
        assert self.headers["x-content-type-options"] == "nosniff"
        assert "date" in self.headers
        return str(document["type"]).removeprefix("/problems/")

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection that can send any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *parts: bytes) -> "Wire":
        self.writer.write(b"".join(parts))
        return self

    async def response(self, method: str = "GET") -> Response:
        """The next response that is not 100 Continue."""
        async with asyncio.timeout(TIMEOUT):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            status = int(first.split()[1])
            if status == 100:
                return await self.response(method)
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name
            }
            size = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
            return Response(status, headers, await self.reader.readexactly(size))

    async def is_closed(self) -> bool:
        """Wait until the server closes the connection; return whether it sent nothing before."""
        with suppress(ConnectionError):
            async with asyncio.timeout(TIMEOUT):
                return await self.reader.read() == b""
        return True


@dataclass
class Listening:
    """The application behind a listening socket."""

    address: tuple[str, int]
    connections: Connections
    service: Service
    wires: list[Wire] = field(default_factory=list)

    async def connect(self, **options: Any) -> Wire:
        """Open a bare connection. `options` are those of `asyncio.open_connection`."""
        host = "127.0.0.1" if self.address[0] in ("0.0.0.0", "::") else self.address[0]
        wire = Wire(*await asyncio.open_connection(host, self.address[1], **options))
        self.wires.append(wire)
        return wire

    async def ask(self, *parts: bytes) -> Response:
        """Send bytes on a new connection, and return the first response."""
        return await (await self.connect()).send(*parts).response()


@asynccontextmanager
async def listening(
    stack: Stack, *, most: int = 1_000, proxies: tuple[str, ...] = (), host: str = "127.0.0.1", header_limit: int = 0
) -> AsyncIterator[Listening]:
    """Serve the application on a socket, with room for `most` connections."""
    connections = Connections(most)
    limit = header_limit or stack.kingpost.settings.header_limit
    service = Service(stack.app, connections, header_limit=limit, proxies=Proxies(proxies))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::")
    acceptor = Acceptor(service, listener, 32)
    sweeping = asyncio.create_task(connections.sweep())
    name = listener.getsockname()
    here = Listening((name[0], name[1]), connections, service)
    try:
        yield here
    finally:
        sweeping.cancel()
        for wire in here.wires:
            wire.writer.close()
        acceptor.close()
        for connection in list(connections.open):
            connection.reset()
        await asyncio.gather(*connections.tasks, return_exceptions=True)
