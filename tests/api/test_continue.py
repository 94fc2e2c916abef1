"""`Expect: 100-continue`: the client is asked for its body only if the head has no fault (RFC 9110, section 10.1.1)."""

import asyncio
import json
from typing import Any

import pytest

from tests.api.connecting import listening
from tests.api.stack import UNKNOWN_ID, Caller, Stack

BODY = b'{"type": "note", "data": {}}'
LIVE = b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n"


def head(caller: Caller | None, target: str = "POST /api/v1/resources", size: int = len(BODY), **headers: str) -> bytes:
    lines = {"Host": "here", "Content-Type": "application/json", "Content-Length": str(size), "Expect": "100-continue"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    if caller is not None:
        lines["Authorization"] = f"Bearer {caller.access_token}"
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{target} HTTP/1.1\r\n{text}\r\n".encode()


async def test_a_client_is_asked_for_a_body_that_is_needed(stack: Stack, alice: Caller) -> None:
    async with listening(stack) as here:
        wire = await here.connect()
        for expect in ("100-continue", "100-Continue"):
            wire.send(head(alice, Expect=expect))
            assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await wire.send(BODY).response()).status == 201


async def test_a_client_that_has_sent_its_body_is_not_asked(stack: Stack, alice: Caller) -> None:
    async with listening(stack) as here:
        wire = (await here.connect()).send(head(alice), BODY)
        assert (await wire.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201 ")


async def test_http_1_0_and_other_expectations_are_ignored(stack: Stack, alice: Caller) -> None:
    async with listening(stack) as here:
        for start in (head(alice).replace(b"HTTP/1.1", b"HTTP/1.0"), head(alice, Expect="tea")):
            wire = (await here.connect()).send(start)
            await asyncio.sleep(0.05)
            wire.send(BODY)
            assert b" 201 " in (await wire.reader.readuntil(b"\r\n\r\n"))[:20]


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "an unknown path": ({"target": "POST /api/v1/nothing"}, 404, "not-found"),
    "a method": ({"target": "PUT /api/v1/resources"}, 405, "method-not-allowed"),
    "Accept": ({"Accept": "text/html"}, 406, "not-acceptable"),
    "no credentials": ({"caller": None}, 401, "unauthenticated"),
    "a media type": ({"Content_Type": "text/plain"}, 415, "unsupported-media-type"),
    "no media type": ({"Content_Type": ""}, 415, "unsupported-media-type"),
    "a charset": ({"Content_Type": "application/json; charset=latin-1"}, 415, "unsupported-media-type"),
    "a content coding": ({"Content_Encoding": "gzip"}, 415, "unsupported-media-type"),
    "a size": ({"size": 10**9}, 413, "too-large"),
    "a query parameter": ({"target": "POST /api/v1/resources?x=1"}, 400, "invalid-request"),
    "an id": ({"target": "PUT /api/v1/resources/x"}, 400, "invalid-request"),
    "a coding of the body": ({"Transfer_Encoding": "gzip, chunked", "Content_Length": ""}, 501, "not-implemented"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_by_the_head_comes_before_100_continue(stack: Stack, alice: Caller, name: str) -> None:
    changes, status, slug = REFUSED[name]
    arguments: dict[str, Any] = {"caller": alice, **changes}
    async with listening(stack) as here:
        wire = (await here.connect()).send(head(**arguments))
        first = await wire.reader.readuntil(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 %d " % status)
        # Whether the client still sends the body is not known, so nothing else can be read from this connection.
        assert b"connection: close\r\n" in first
        rest = await wire.reader.read()
        assert json.loads(rest)["type"] == f"/problems/{slug}"
        # The body of such a client is not answered as a request.
        wire.send(BODY)
        assert await wire.is_closed()


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_by_the_head_does_not_name_faults_of_the_body(stack: Stack, alice: Caller, name: str) -> None:
    changes, status, slug = REFUSED[name]
    arguments: dict[str, Any] = {"caller": alice, "Expect": "", "size": 1, **changes}
    async with listening(stack) as here:
        wire = (await here.connect()).send(head(**arguments), b"{")
        response = await wire.response()
        assert (response.status, response.problem) == (status, slug)
        assert all("pointer" not in fault for fault in response.json().get("errors", []))


@pytest.mark.parametrize("size", [10, 200_000])
async def test_a_small_unread_body_is_discarded_and_the_connection_kept(stack: Stack, size: int) -> None:
    async with listening(stack) as here:
        wire = (await here.connect()).send(head(None, size=size, Expect=""))
        response = await wire.response()
        assert response.status == 401
        assert "connection" not in response.headers
        assert (await wire.send(b"x" * size, LIVE).response()).status == 200


@pytest.mark.parametrize("size", [600_000, 5_000_000])
async def test_a_large_unread_body_ends_the_connection_without_a_reset(stack: Stack, size: int) -> None:
    async with listening(stack) as here:
        wire = (await here.connect()).send(head(None, size=size, Expect=""), b"x" * 250_000)
        await asyncio.sleep(0.05)  # A reset would destroy the response before it is read.
        response = await wire.response()
        assert (response.status, response.headers["connection"]) == (401, "close")
        assert await wire.is_closed()


async def test_an_unread_chunked_body_is_discarded_up_to_a_limit(stack: Stack) -> None:
    chunked = head(None, size=0, Expect="", Transfer_Encoding="chunked", Content_Length="")
    async with listening(stack) as here:
        wire = (await here.connect()).send(chunked)
        assert (await wire.response()).status == 401
        assert (await wire.send(b"a\r\n0123456789\r\n0\r\n\r\n", LIVE).response()).status == 200
        wire.send(chunked)
        assert (await wire.response()).status == 401
        wire.send(b"10000\r\n" + b"x" * 65536 + b"\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n")
        wire.send(b"100000\r\n" + b"x" * 200_000)
        assert await wire.is_closed()


async def test_an_id_that_names_nothing_is_decided_with_the_body(stack: Stack, alice: Caller) -> None:
    target = f"PUT /api/v1/resources/{UNKNOWN_ID}"
    async with listening(stack) as here:
        wire = (await here.connect()).send(head(alice, target, size=12), b'{"data": {}}')
        assert (await wire.response()).status == 404
