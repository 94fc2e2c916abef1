"""Connections: how they end, and how requests follow each other."""

import asyncio
from typing import Any

import pytest

from kingpost.http.server import bounds
from tests.api.connecting import listening
from tests.api.stack import Stack

LIVE = b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n"
HEAD = b"POST /api/v1/users HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SWEEP_SECONDS", 0.02)
    for name in ("FIRST_BYTE_SECONDS", "HEAD_SECONDS", "BODY_SILENCE_SECONDS"):
        monkeypatch.setattr(bounds, name, 0.1)


@pytest.mark.parametrize(
    "start", [b"", b"\r\n", b"GET /livez HT", HEAD + b'{"email": '], ids=["nothing", "blank", "head", "body"]
)
async def test_a_connection_with_an_incomplete_request_is_closed(stack: Stack, start: bytes) -> None:
    async with listening(stack) as here:
        wire = (await here.connect()).send(start)
        assert await wire.is_closed()
        assert not here.connections.open


async def test_a_connection_that_is_idle_between_requests_stays_open(stack: Stack) -> None:
    async with listening(stack) as here:
        wire = await here.connect()
        for _ in range(2):
            assert (await wire.send(LIVE).response()).status == 200
            await asyncio.sleep(0.35)


async def test_a_new_connection_during_shutdown_is_closed(stack: Stack) -> None:
    async with listening(stack) as here:
        here.connections.is_closing = True
        assert await (await here.connect()).is_closed()


async def test_pipelined_requests_are_answered_in_order(stack: Stack) -> None:
    async with listening(stack) as here:
        wire = await here.connect()
        wire.send(*(b"GET /livez HTTP/1.1\r\nHost: here\r\nX-Request-ID: n%d\r\n\r\n" % n for n in range(5)))
        assert [(await wire.response()).headers["x-request-id"] for _ in range(5)] == [f"n{n}" for n in range(5)]


class Broken:
    """An application that breaks its promises."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self._headers = headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._headers:
            await send({"type": "http.response.start", "status": 200, "headers": list(self._headers)})
            await send({"type": "http.response.body", "body": b""})
        raise ValueError("broken")


@pytest.mark.parametrize("headers", [[], [(b"x", b"a\r\nset-cookie: b")], [(b"x", b"a\nb")]])
async def test_a_failure_of_the_application_resets_the_connection(
    stack: Stack, headers: list[tuple[bytes, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(stack) as here:
        here.service.app = Broken(*headers)
        wire = (await here.connect()).send(LIVE)
        with pytest.raises(ConnectionError):
            await wire.reader.read()
    assert "the application failed" in caplog.text
