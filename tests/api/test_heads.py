"""Heads and framing (RFC 9112): what one server reads differently from another must be refused."""

import asyncio
from typing import Any

import pytest

from tests.api.connecting import listening
from tests.api.stack import Stack

LIVE = b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n"
POST = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
GET = b"GET /livez HTTP/1.1\r\n"

INVALID = {
    "two hosts": GET + b"Host: here\r\nHost: here\r\n",
    "two different hosts": GET + b"Host: here\r\nhost: there\r\n",
    "no host": GET,
    "an empty host": GET + b"Host:\r\n",
    "a host with a path": GET + b"Host: here/there\r\n",
    "a host with a user": GET + b"Host: me@here\r\n",
    "a list of hosts": GET + b"Host: here, there\r\n",
    "a host with a space": GET + b"Host: he re\r\n",
    "a host with an invalid port": GET + b"Host: here:http\r\n",
    "a host with a port that is too large": GET + b"Host: here:65536\r\n",
    "a host with an invalid escape": GET + b"Host: %zz\r\n",
    "a host with colons": GET + b"Host: [:::::]\r\n",
    "a host with an invalid IPv6 address": GET + b"Host: [1::2::3]:80\r\n",
    "a URL with an invalid host": b"GET http://[::g]/livez HTTP/1.1\r\nHost: here\r\n",
    "a URL with an invalid IPv6 address": b"GET http://[:::]/livez HTTP/1.1\r\nHost: here\r\n",
    "two hosts in HTTP/1.0": b"GET /livez HTTP/1.0\r\nHost: a\r\nHost: b\r\n",
    "HTTP/0.9": b"GET /livez\r\n",
    "HTTP/0.9 by name": b"GET /livez HTTP/0.9\r\nHost: here\r\n",
    "HTTP/1.2": b"GET /livez HTTP/1.2\r\nHost: here\r\n",
    "HTTP/2.0": b"GET /livez HTTP/2.0\r\nHost: here\r\n",
    "another protocol": b"GET /livez RTSP/1.0\r\nHost: here\r\n",
    "two spaces": b"GET  /livez HTTP/1.1\r\nHost: here\r\n",
    "a tab": b"GET\t/livez HTTP/1.1\r\nHost: here\r\n",
    "a space at the end": b"GET /livez HTTP/1.1 \r\nHost: here\r\n",
    "a fragment": b"GET /livez#a HTTP/1.1\r\nHost: here\r\n",
    "a relative path": b"GET livez HTTP/1.1\r\nHost: here\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\nHost: here\r\n",
    "another scheme": b"GET ftp://here/livez HTTP/1.1\r\nHost: here\r\n",
    "a URL with a user": b"GET http://me@here/livez HTTP/1.1\r\nHost: here\r\n",
    "a URL without a host": b"GET http:///livez HTTP/1.1\r\nHost: here\r\n",
    "bytes in a path": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: here\r\n",
    "a control character in a path": b"GET /\x01 HTTP/1.1\r\nHost: here\r\n",
    "NUL in a path": b"GET /\x00 HTTP/1.1\r\nHost: here\r\n",
    "a folded header": GET + b"Host: here\r\nX: a\r\n b\r\n",
    "a space before a name": GET + b" Host: here\r\n",
    "a space after a name": GET + b"Host : here\r\n",
    "a space in a name": GET + b"Host: here\r\nX Y: a\r\n",
    "no name": GET + b"Host: here\r\n: a\r\n",
    "a bare line feed": GET + b"Host: here\nX: a\r\n",
    "a bare carriage return": GET + b"Host: here\r\nX: a\rb\r\n",
    "NUL in a header": GET + b"Host: here\r\nX: a\x00b\r\n",
    "a control character in a header": GET + b"Host: here\r\nX: a\x0bb\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n",
    "a signed length": POST + b"Content-Length: +2\r\n",
    "an empty length": POST + b"Content-Length:\r\n",
    "an endless length": POST + b"Content-Length: " + b"9" * 30 + b"\r\n",
    "a length of many zeros": POST + b"Content-Length: " + b"0" * 5000 + b"2\r\n",
    "a length and a coding": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    "a coding and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n",
    "chunked in two lines": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "an empty coding": POST + b"Transfer-Encoding:\r\n",
    "chunked in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n",
}
CODINGS = [b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b"xchunked", b"chunked;q=1", b"\x0bchunked"]


@pytest.mark.parametrize("name", INVALID)
async def test_a_head_that_breaks_a_rule_is_a_bad_request_and_ends_the_connection(stack: Stack, name: str) -> None:
    async with listening(stack) as here:
        for parts in ([INVALID[name] + b"\r\n" + LIVE], [LIVE + INVALID[name] + b"\r\n" + LIVE]):
            wire = (await here.connect()).send(*parts)
            if len(parts[0]) > len(INVALID[name]) + 2 + len(LIVE):
                assert (await wire.response()).status == 200
            response = await wire.response()
            assert (response.status, response.problem) == (400, "invalid-request")
            assert response.headers["connection"] == "close"
            assert await wire.is_closed()


@pytest.mark.parametrize("coding", CODINGS)
async def test_an_unknown_transfer_coding_ends_the_connection(stack: Stack, coding: bytes) -> None:
    async with listening(stack) as here:
        wire = (await here.connect()).send(POST, b"Transfer-Encoding: ", coding, b"\r\n\r\n", LIVE)
        response = await wire.response()
        assert (response.status, response.problem) in ((501, "not-implemented"), (400, "invalid-request"))
        assert response.status == 501 or not coding.isascii() or b"\x0b" in coding
        assert await wire.is_closed()


@pytest.mark.parametrize(
    "start",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00", b"\xff\xfe", b"{", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
)
async def test_what_is_not_http_is_refused_at_once(stack: Stack, start: bytes) -> None:
    async with listening(stack) as here:
        wire = (await here.connect()).send(start)
        assert (await wire.response()).problem == "invalid-request"
        assert await wire.is_closed()


@pytest.mark.parametrize("method", [b"BREW", b"get", b"GETS", b"DESCRIBE", b"M-X!", b"Z" * 100])
async def test_a_method_that_http_does_not_know_is_not_implemented(stack: Stack, method: bytes) -> None:
    async with listening(stack) as here:
        for cut in (0, 1, len(method) + 3):
            wire = (await here.connect()).send(method[:cut])
            await asyncio.sleep(0.02)
            response = await wire.send(
                (method + b" /livez HTTP/1.1\r\nHost: here\r\n\r\n")[len(method[:cut]) :]
            ).response()
            assert (response.status, response.problem) == (501, "not-implemented")
            assert await wire.is_closed()


@pytest.mark.parametrize("method", ["PROPFIND", "QUERY", "PURGE", "TRACE", "DELETE"])
async def test_a_known_method_that_the_path_does_not_support_is_not_allowed(stack: Stack, method: str) -> None:
    async with listening(stack) as here:
        response = await here.ask(method.encode(), b" /livez HTTP/1.1\r\nHost: here\r\n\r\n")
        assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a%2Fb?x=%2F", b"/a%2Fb", b"x=%2F"),
        (b"//evil.example/x", b"//evil.example/x", b""),
        (b"http://here/a?b?c", b"/a", b"b?c"),
        (b"HTTPS://here:443", b"/", b""),
        (b"http://[::1]:8000?x", b"/", b"x"),
        (b"/?", b"/", b""),
        (b"/a|{}^\\", b"/a|{}^\\", b""),
    ],
)
async def test_a_target_is_split_into_its_raw_path_and_its_query(
    stack: Stack, target: bytes, path: bytes, query: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes = []

    class Recorder:
        async def __call__(self, scope: dict[str, object], receive: Any, send: Any) -> None:
            scopes.append(scope)
            await stack.app(scope, receive, send)

    async with listening(stack) as here:
        here.service.app = Recorder()
        response = await here.ask(b"GET ", target, b" HTTP/1.1\r\nHost: here\r\n\r\n")
        assert response.status in (200, 404)
    (scope,) = scopes
    assert (scope["raw_path"], scope["query_string"]) == (path, query)


async def test_empty_lines_before_a_request_are_ignored(stack: Stack) -> None:
    async with listening(stack) as here:
        wire = await here.connect()
        for _ in range(2):
            assert (await wire.send(b"\r\n\r\n\r\n", LIVE).response()).status == 200


async def test_very_many_header_lines_are_too_many(stack: Stack) -> None:
    async with listening(stack) as here:
        for count, status in ((150, 200), (201, 431), (4_000, 431)):
            response = await here.ask(LIVE[:-2], b"a:\r\n" * count, b"\r\n")
            assert response.status == status
            assert response.problem == ("" if status == 200 else "headers-too-large")


@pytest.mark.parametrize("agent", ["Größe/1.0 (日本)", "curl/8.5", "a" * 300, "bidi \u202e override\u0085", "émoji 🙂"])
async def test_a_user_agent_in_utf_8_is_shown_as_sent(stack: Stack, agent: str) -> None:
    caller = await stack.sign_up()
    body = f'{{"email": "{caller.email}", "password": "{caller.password}"}}'.encode()
    async with listening(stack) as here:
        response = await here.ask(
            POST, b"User-Agent: ", agent.encode(), b"\r\nContent-Length: %d\r\n\r\n" % len(body), body
        )
    assert response.status == 200
    session = response.json()["session_id"]
    items = (await caller.http.get("/api/v1/auth/sessions")).json()["items"]
    (device,) = [item["device"] for item in items if item["id"] == session]
    assert device == "".join(c for c in agent if c.isprintable())[:200]


async def test_a_user_agent_in_latin_1_is_shown_too(stack: Stack) -> None:
    caller = await stack.sign_up()
    body = f'{{"email": "{caller.email}", "password": "{caller.password}"}}'.encode()
    async with listening(stack) as here:
        await here.ask(POST, b"User-Agent: caf\xe9\r\nContent-Length: %d\r\n\r\n" % len(body), body)
    items = (await caller.http.get("/api/v1/auth/sessions")).json()["items"]
    assert "café" in [item["device"] for item in items]


@pytest.mark.parametrize(
    "host", ["here", "here:8000", "127.0.0.1:0", "[::1]", "[2001:DB8::1]:65535", "[::ffff:1.2.3.4]", "%41"]
)
async def test_every_kind_of_host_is_accepted(stack: Stack, host: str) -> None:
    async with listening(stack) as here:
        for head in (GET + f"Host: {host}".encode(), f"GET http://{host}/livez HTTP/1.1\r\nHost: {host}".encode()):
            assert (await here.ask(head, b"\r\n\r\n")).status == 200


@pytest.mark.parametrize("blank", [b" ", b"\t", b" \t  "])
async def test_white_space_around_a_value_does_not_belong_to_it(stack: Stack, blank: bytes) -> None:
    body = b'{"email": "a@example.com", "password": "wrong"}'
    framings = (
        (b"Content-Length:" + blank + str(len(body)).encode() + blank, body),
        # llhttp takes a tab after a transfer coding for a part of it.
        (
            b"Transfer-Encoding:" + blank + b"chunked" + blank.replace(b"\t", b" "),
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        ),
    )
    async with listening(stack) as here:
        for framing, content in framings:
            lines = [
                b"POST /api/v1/auth/login HTTP/1.1",
                b"Host:" + blank + b"here" + blank,
                b"Content-Type:" + blank + b"application/json" + blank,
                b"X-Request-ID:" + blank + b"mine" + blank,
                b"Expect:" + blank + b"100-continue" + blank,
                framing,
            ]
            wire = (await here.connect()).send(b"\r\n".join(lines), b"\r\n\r\n")
            assert (await wire.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            response = await wire.send(content).response()
            assert (response.status, response.problem) == (401, "invalid-credentials")
            assert response.headers["x-request-id"] == "mine"


async def test_a_request_line_without_a_version_is_refused_at_once(stack: Stack) -> None:
    async with listening(stack) as here:
        for line in (b"GET /livez\r\n", b"GET /livez\n", b"GET /livez \r\n"):
            response = await (await here.connect()).send(line).response()
            assert (response.status, response.problem) == (400, "invalid-request")


@pytest.mark.parametrize(
    ("line", "more", "status", "path"),
    [
        (b"GET /livez?a=b HTTP/1.1", b"Host: b\r\n", 400, "/livez"),
        (b"FOO /a%2Fb HTTP/1.1", b"", 501, "/a%2Fb"),
        (b"POST /api/v1/users HTTP/1.1", b"Transfer-Encoding: gzip\r\n", 501, "/api/v1/users"),
        (b"GET http://x/livez HTTP/1.1", b"Host: b\r\n", 400, ""),
    ],
)
async def test_a_refusal_names_the_request_that_it_answers(
    stack: Stack, line: bytes, more: bytes, status: int, path: str
) -> None:
    async with listening(stack) as here:
        head = line + b"\r\nX-Request-ID: my-id-1\r\nHost: a\r\n" + more + b"\r\n"
        response = await (await here.connect()).send(head).response()
        assert response.status == status
        if status == 400 or more:
            assert response.headers["x-request-id"] == "my-id-1"
        assert response.json()["instance"] == path


async def test_a_refused_head_request_gets_no_body(stack: Stack) -> None:
    async with listening(stack) as here:
        wire = (await here.connect()).send(b"HEAD /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        response = await wire.response("HEAD")
        assert (response.status, response.headers["content-type"]) == (400, "application/problem+json")
        assert await wire.is_closed()
