"""Connections on real sockets, with a short interval between the checks for stalled connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from uvicorn.server import ServerState

from kingpost.http.server import protocol
from kingpost.http.server.protocol import ServerConfig
from tests.api.stack import Stack

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HEAD = b"POST /api/v1/users HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(autouse=True)
def frequent_stall_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALL_CHECK_INTERVAL", 0.1)


@asynccontextmanager
async def connected(stack: Stack, *, is_closing: bool = False) -> AsyncIterator[Streams]:
    options = {"ws": "none", "lifespan": "off", "interface": "asgi3", "log_config": None}
    config = ServerConfig(stack.app, header_limit=stack.kingpost.settings.header_limit, **options)
    config.is_closing = is_closing
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol.Protocol(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()
        await server.wait_closed()


async def ends(reader: asyncio.StreamReader) -> bool:
    """Return whether the server closes the connection without sending anything."""
    async with asyncio.timeout(20):  # The server checks ten times a second.
        return await reader.read() == b""


@pytest.mark.parametrize(
    "start", [b"", b"GET /livez HT", HEAD + b'{"email": '], ids=["nothing", "partial head", "partial body"]
)
async def test_a_connection_with_an_incomplete_request_is_closed(stack: Stack, start: bytes) -> None:
    async with connected(stack) as (reader, writer):
        writer.write(start)
        assert await ends(reader)


async def test_a_connection_that_is_idle_between_requests_stays_open(stack: Stack) -> None:
    async with connected(stack) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"}")
            await asyncio.sleep(0.35)


async def test_a_new_connection_during_shutdown_is_closed(stack: Stack) -> None:
    async with connected(stack, is_closing=True) as (reader, _):
        assert await ends(reader)


async def test_pipelined_requests_are_answered_in_order(stack: Stack) -> None:
    async with connected(stack) as (reader, writer):
        writer.write(b"".join(b"GET /livez HTTP/1.1\r\nHost: here\r\nX-Request-ID: n%d\r\n\r\n" % n for n in range(5)))
        answers = b""
        while answers.count(b'{"status":"ok"}') < 5:
            answers += await reader.read(65536)
        assert [answers.index(b"x-request-id: n%d\r" % n) for n in range(5)] == sorted(
            answers.index(b"x-request-id: n%d\r" % n) for n in range(5)
        )
