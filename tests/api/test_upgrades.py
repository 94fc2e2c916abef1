"""An offered upgrade is passed over: the request is answered as if nothing had been offered (RFC 9110, section 7.8)."""

import asyncio
import itertools
import json

import pytest

from tests.api.connecting import Response, Wire, listening
from tests.api.stack import Caller, Stack

OFFERS = {
    "none": b"",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n",
    "several": b"upgrade: TLS/1.0, h2c\r\nconnection: keep-alive, UPGRADE\r\n",
    "unknown": b"Connection: upgrade\r\nUpgrade: \r\n",
}
FRAMINGS = ["length", "chunked"]
DELIVERIES = ["one packet", "body later", "byte by byte"]
LIVE = b"GET /livez HTTP/1.1\r\nHost: here\r\nX-Request-ID: next\r\n\r\n"


def framed(body: bytes, framing: str) -> tuple[bytes, bytes]:
    """The header of a body, and the body as it is sent."""
    if framing == "length":
        return b"Content-Length: %d\r\n" % len(body), body
    pieces = [body[n : n + 7] for n in range(0, len(body), 7)]
    return b"Transfer-Encoding: chunked\r\n", b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


async def deliver(wire: Wire, head: bytes, body: bytes, delivery: str) -> None:
    parts = {"one packet": [head + body], "body later": [head, body], "byte by byte": [bytes([b]) for b in head + body]}
    for part in parts[delivery]:
        wire.send(part)
        await wire.writer.drain()
        await asyncio.sleep(0.02 if delivery == "body later" else 0)


async def create(wire: Wire, caller: Caller, offer: str, framing: str, delivery: str) -> Response:
    header, body = framed(json.dumps({"type": "note", "data": {"offer": offer, "via": framing}}).encode(), framing)
    head = b"POST /api/v1/resources HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nAuthorization: Bearer "
    head += caller.access_token.encode() + b"\r\n" + OFFERS[offer] + header + b"\r\n"
    await deliver(wire, head, body, delivery)
    return await wire.response()


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_body_is_read_whatever_is_offered(stack: Stack, alice: Caller, delivery: str) -> None:
    async with listening(stack) as here:
        wire = await here.connect()
        for offer, framing in itertools.product(OFFERS, FRAMINGS):
            response = await create(wire, alice, offer, framing, delivery)
            assert response.status == 201, (offer, framing)
            assert response.json()["data"] == {"offer": offer, "via": framing}
            assert "upgrade" not in response.headers
            # The connection goes on after it.
            assert (await wire.send(LIVE).response()).headers["x-request-id"] == "next"


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("offer", OFFERS)
async def test_a_body_is_never_a_second_request(stack: Stack, offer: str, framing: str) -> None:
    smuggled = b"GET /livez HTTP/1.1\r\nHost: here\r\nX-Request-ID: smuggled\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
    header, body = framed(smuggled, framing)
    head = (
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n" + OFFERS[offer] + header
    )
    async with listening(stack) as here:
        wire = await here.connect()
        await deliver(wire, head + b"\r\n", body, "body later")
        wire.send(LIVE)
        responses = [await wire.response(), await wire.response()]
        assert [response.status for response in responses] == [400, 200]
        assert responses[1].headers["x-request-id"] == "next"


async def test_logout_everywhere_ends_every_session_despite_an_offer(stack: Stack) -> None:
    caller = await stack.sign_up()
    other = await stack.log_in(caller.email)
    body = b'{"everywhere": true}'
    head = (
        b"POST /api/v1/auth/logout HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nAuthorization: Bearer "
    )
    head += caller.access_token.encode() + b"\r\n" + OFFERS["h2c"] + b"Content-Length: %d\r\n\r\n" % len(body)
    async with listening(stack) as here:
        wire = await here.connect()
        await deliver(wire, head, body, "body later")
        assert (await wire.response()).status == 204
    assert (await other.http.get("/api/v1/users/me")).status_code == 401


async def test_pipelined_offers_are_answered_in_order(stack: Stack) -> None:
    async with listening(stack) as here:
        wire = await here.connect()
        for n, offer in enumerate(OFFERS.values()):
            wire.send(b"GET /livez HTTP/1.1\r\nHost: here\r\nX-Request-ID: n%d\r\n" % n, offer, b"\r\n")
        for n in range(len(OFFERS)):
            response = await wire.response()
            assert (response.status, response.headers["x-request-id"]) == (200, f"n{n}")


@pytest.mark.parametrize("target", [b"example.com:443", b"/livez", b"*"])
async def test_a_tunnel_is_refused_and_the_connection_closed(stack: Stack, target: bytes) -> None:
    async with listening(stack) as here:
        wire = await here.connect()
        wire.send(b"CONNECT ", target, b" HTTP/1.1\r\nHost: here\r\n\r\n", LIVE)
        response = await wire.response()
        assert (response.status, response.problem) == (405, "method-not-allowed")
        assert response.headers["connection"] == "close"
        assert await wire.is_closed()
