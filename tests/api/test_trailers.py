"""Chunked bodies: trailers are never headers, and what is not content is limited (RFC 9112, section 7.1)."""

import asyncio
from contextlib import suppress

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.http.server.chunked import ChunkedDecoder
from kingpost.problems import HeadersTooLarge, InvalidRequest
from tests.api.connecting import listening
from tests.api.stack import Caller, Stack

LIVE = b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n"
NOTE = b'{"type": "note", "data": {}}'
CHUNK = b"%x\r\n%b\r\n" % (len(NOTE), NOTE)
LIMIT = 16 * 1024


def creation(caller: Caller | None, *headers: bytes) -> bytes:
    lines = [b"POST /api/v1/resources HTTP/1.1", b"Host: here", b"Content-Type: application/json", *headers]
    if caller is not None:
        lines.append(b"Authorization: Bearer " + caller.access_token.encode())
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""])


async def test_a_trailer_does_not_sign_in(stack: Stack, alice: Caller) -> None:
    trailer = b"Authorization: Bearer " + alice.access_token.encode() + b"\r\n"
    async with listening(stack) as here:
        wire = (await here.connect()).send(creation(None), CHUNK, b"0\r\n", trailer, b"\r\n", LIVE)
        assert (await wire.response()).status == 401
        assert (await wire.response()).status == 200


async def test_a_trailer_does_not_replace_what_the_proxy_says(stack: Stack) -> None:
    caller = await stack.sign_up()
    login = f'{{"email": "{caller.email}", "password": "{caller.password}"}}'.encode()
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    head += b"X-Forwarded-For: 203.0.113.7\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailers = b"X-Forwarded-For: 198.51.100.66\r\nX-Request-ID: forged\r\nContent-Type: text/plain\r\n"
    async with listening(stack, proxies=("127.0.0.1",)) as here:
        response = await here.ask(head, b"%x\r\n%b\r\n0\r\n" % (len(login), login), trailers, b"\r\n")
    assert response.status == 200
    assert response.headers["x-request-id"] != "forged"
    items = (await caller.http.get("/api/v1/auth/sessions")).json()["items"]
    (address,) = [item["address"] for item in items if item["id"] == response.json()["session_id"]]
    assert address == "203.0.113.7"


EXCESS = {
    "one long trailer": b"0\r\nX: " + b"x" * LIMIT + b"\r\n\r\n",
    "many trailers": b"0\r\n" + b"X: y\r\n" * (LIMIT // 5) + b"\r\n",
    "a long extension": b"1;x=" + b"y" * LIMIT + b"\r\n \r\n0\r\n\r\n",
    "many extensions": (b"1;" + b"y" * 100 + b"\r\n \r\n") * (LIMIT // 90) + b"0\r\n\r\n",
    "leading zeros": b"0" * (LIMIT + 1) + b"1\r\n \r\n0\r\n\r\n",
    "many leading zeros": (b"0" * 50 + b"1\r\n \r\n") * (LIMIT // 40) + b"0\r\n\r\n",
}


@pytest.mark.parametrize("name", EXCESS)
@pytest.mark.parametrize("size", [1 << 20, 1_000])
async def test_what_is_not_content_counts_against_the_header_limit(
    stack: Stack, alice: Caller, name: str, size: int
) -> None:
    async with listening(stack) as here:
        wire = (await here.connect()).send(creation(alice), CHUNK)
        for start in range(0, len(EXCESS[name]), size):
            wire.send(EXCESS[name][start : start + size])
            await asyncio.sleep(0)
        response = await wire.response()
        assert (response.status, response.problem) == (431, "headers-too-large")
        assert response.headers["connection"] == "close"
        assert await wire.is_closed()


async def test_a_hundred_megabytes_of_trailers_are_never_kept(stack: Stack, alice: Caller) -> None:
    async with listening(stack) as here:
        before = psutil.Process().memory_info().rss
        for head in (creation(alice), LIVE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"):
            wire = (await here.connect()).send(head, CHUNK, b"0\r\nX: ")
            with suppress(ConnectionError):
                for _ in range(1_600):
                    wire.send(b"x" * 65_536)
                    await wire.writer.drain()
                pytest.fail("the server has read everything")
        assert psutil.Process().memory_info().rss - before < 20 * 1024 * 1024


BROKEN = [b"x\r\n", b"-1\r\n", b" 1\r\n", b"1 \r\n", b"1\n", b"1\r\n {}\r\n", b"\r\n", b"0x1\r\n", b"f" * 17 + b"\r\n"]


@pytest.mark.parametrize(
    "broken", [*BROKEN, b"0\r\nno colon\r\n\r\n", b"0\r\n folded\r\n\r\n", b"0\r\nX: \x00\r\n\r\n"]
)
async def test_a_broken_body_is_answered_once_and_ends_the_connection(
    stack: Stack, alice: Caller, broken: bytes
) -> None:
    async with listening(stack) as here:
        for before in (b"", CHUNK):
            wire = (await here.connect()).send(LIVE, creation(alice), before, broken, LIVE)
            assert (await wire.response()).status == 200
            response = await wire.response()
            assert (response.status, response.problem) == (400, "invalid-request")
            assert await wire.is_closed()


async def test_tiny_chunks_are_read_without_holding_up_others(stack: Stack, alice: Caller) -> None:
    body = b'{"type": "note", "data": {"text": "' + b"x" * 200_000 + b'"}}'
    async with listening(stack) as here:
        wire = (await here.connect()).send(creation(alice))
        longest = 0.0
        loop = asyncio.get_running_loop()
        wire.send(b"".join(b"1\r\n%c\r\n" % byte for byte in body), b"0\r\n\r\n")
        answer = asyncio.create_task(wire.response())
        while not answer.done():
            began = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - began)
        assert (await answer).status == 201
        assert longest < 0.2  # Decoding it in one go takes longer even on a fast machine.


# --- the decoder -----------------------------------------------------------------------------------


def encoded(pieces: list[bytes], extension: bytes, trailers: bytes) -> bytes:
    chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
    return chunks + b"0" + extension + b"\r\n" + trailers + b"\r\n"


@given(
    st.lists(st.binary(max_size=40), max_size=10),
    st.sampled_from([b"", b";a", b" ; a=b", b';a="x;y"']),
    st.sampled_from([b"", b"A: b\r\n", b"A:\r\nB: c\r\n"]),
    st.binary(max_size=20),
    st.lists(st.integers(1, 30), min_size=1, max_size=30),
    st.integers(1, 5),
)
def test_a_body_decodes_to_its_content_however_it_is_cut(
    pieces: list[bytes], extension: bytes, trailers: bytes, rest: bytes, cuts: list[int], at_once: int
) -> None:
    data = encoded(pieces, extension, trailers) + rest
    decoder, content, buffer, position = ChunkedDecoder(LIMIT), b"", b"", 0
    while not decoder.is_complete:
        size = cuts[position % len(cuts)]
        buffer, position = buffer + data[:size], position + 1
        data = data[size:]
        while True:
            piece, taken = decoder.decode(buffer, at_once)
            content, buffer = content + piece, buffer[taken:]
            if not taken or decoder.is_complete:
                break
    assert content == b"".join(pieces)
    assert buffer + data == rest


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    decoder = ChunkedDecoder(100)
    with suppress(InvalidRequest, HeadersTooLarge):
        _, taken = decoder.decode(data, 1_000)
        assert taken <= len(data)
