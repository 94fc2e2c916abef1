"""Servers that only take connections, and keep what a client sends to them."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import NamedTuple

from tests.system.certificates import Certificate

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""What a client of PostgreSQL sends first if it wants TLS."""


class Listening(NamedTuple):
    """A server that listens on a port of this machine."""

    port: int
    received: bytearray
    """What its clients have sent, decrypted, without the handshakes."""


@contextlib.asynccontextmanager
async def tls_server(certificate: Certificate, *, postgresql: bool = False) -> AsyncIterator[Listening]:
    """Speak TLS from the first byte, or as PostgreSQL does: after the client has asked for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    received = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            if postgresql:
                assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
                writer.write(b"S")
                await writer.start_tls(context)
            received.extend(await reader.read(1000))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if postgresql else context)
    async with server:
        yield Listening(server.sockets[0].getsockname()[1], received)


@contextlib.asynccontextmanager
async def plain_server(*, postgresql: bool = False) -> AsyncIterator[Listening]:
    """Never speak TLS. As PostgreSQL, say so to a client that asks for it."""
    received = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            first = await reader.read(1000)
            if postgresql and first == SSL_REQUEST:
                writer.write(b"N")
                first = await reader.read(1000)
            received.extend(first)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Listening(server.sockets[0].getsockname()[1], received)
