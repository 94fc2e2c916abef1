"""Raw bytes on a connection: any input gets a proper response, and the server keeps running."""

import json
import time
from collections.abc import Generator

import pytest

from tests.system.conftest import Serve, factory
from tests.system.running import Client, Server, Wire, WireAnswer, eventually

LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
NOTE = b'{"type": "note", "data": {"title": "raw"}}'


@pytest.fixture(scope="module")
def serve_here(tmp_path_factory: pytest.TempPathFactory) -> Generator[Serve]:
    yield from factory(tmp_path_factory.mktemp("sockets"))


@pytest.fixture(scope="module")
def server(serve_here: Serve) -> Server:
    return serve_here(BODY_LIMIT="4096")


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return server.client().sign_up()


@pytest.fixture(autouse=True)
def server_still_runs_without_logged_faults(server: Server) -> Generator[None]:
    yield
    assert server.client().status("/livez") == 200
    assert "Traceback" not in server.log


def creation(client: Client, body: bytes, *headers: bytes) -> bytes:
    token = client.tokens["access_token"].encode()
    lines = [b"POST /api/v1/resources HTTP/1.1", b"Host: x", b"Content-Type: application/json", *headers]
    return b"\r\n".join([*lines, b"Authorization: Bearer " + token, b"", b""]) + body


def length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


def is_problem(answer: WireAnswer, status: int, slug: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert (problem["status"], problem["type"]) == (status, f"/problems/{slug}")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


# --- not HTTP ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"\x00" * 100,
        b"\xff" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /li vez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nbad name: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET \x80\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_input_that_is_not_http_is_a_bad_request(server: Server, garbage: bytes) -> None:
    wire = server.connect().send(garbage)
    is_problem(wire.answer(), 400, "invalid-request")
    assert wire.is_closed_by_server()


@pytest.mark.parametrize("method", [b"BREW", b"get", b"GETS", b"DESCRIBE", b"X-" + b"Y" * 60])
def test_a_method_that_http_does_not_know_is_not_implemented(server: Server, method: bytes) -> None:
    wire = server.connect().send(method, b" /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    is_problem(wire.answer(), 501, "not-implemented")
    assert wire.is_closed_by_server()


@pytest.mark.parametrize(
    ("request_line", "allowed"),
    [
        (b"OPTIONS * HTTP/1.1", {200, 204, 400, 404, 405}),
        (b"CONNECT example.com:443 HTTP/1.1", {405}),
        (b"GET http:// HTTP/1.1", {400, 404}),
        (b"GET http://example.com HTTP/1.1", {400, 404}),
        (b"GET //livez HTTP/1.1", {400, 404}),
        (b"GET /%00 HTTP/1.1", {400, 404}),
        (b"GET /%ff%fe HTTP/1.1", {400, 404}),
        (b"GET /%zz HTTP/1.1", {400, 404}),
        (b"GET /..%2f..%2fetc/passwd HTTP/1.1", {400, 404}),
        (b"GET /docs/..%2fdocs.html HTTP/1.1", {400, 404}),
        (b"GET /api/v1/resources/%ff HTTP/1.1", {400, 401, 404}),
        (b"GET /api/v1/resources?limit=%ff&x=%00 HTTP/1.1", {400, 401}),
        (b"TRACE /livez HTTP/1.1", {400, 405}),
        (b"DELETE /livez HTTP/1.1", {405}),
        (b"OPTIONS /livez HTTP/1.1", {405}),
    ],
)
def test_unusual_targets_and_methods_are_refused(server: Server, request_line: bytes, allowed: set[int]) -> None:
    answer = server.connect().send(request_line, b"\r\nHost: x\r\n\r\n").answer()
    assert answer.status in allowed, answer


def test_an_absolute_target_is_routed_by_its_path(server: Server) -> None:
    # RFC 9112, section 3.2.2: a server must accept it.
    wire = server.connect().send(b"GET http://example.com/livez?x=1#y HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.answer().status in (200, 400)
    wire = server.connect().send(b"GET http://example.com/livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.answer().status == 200


def test_header_values_of_any_bytes_are_not_a_server_error(server: Server) -> None:
    for header in (
        b"Authorization: Bearer \xff\xfe",
        b"If-Match: \xff",
        b"Accept: \xff",
        b"Cookie: \xe4",
        b"X-Request-ID: \xff",
    ):
        wire = server.connect().send(b"GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\n", header, b"\r\n\r\n")
        assert wire.answer().status in (400, 401, 406)


# --- sizes ---------------------------------------------------------------------------------------


def test_an_endless_header_is_refused(server: Server) -> None:
    wire = server.connect().send(b"GET /livez HTTP/1.1\r\nX: ")
    sent = 0
    try:
        while sent < 4_000_000:
            wire.send(b"x" * 1000)
            sent += 1000
    except ConnectionError:
        pass
    assert sent < 4_000_000
    is_problem(server.connect().send(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 30_000).answer(), 431, "headers-too-large")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 17_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-Many: y\r\n" * 3_000 + b"\r\n",
        b"GET /livez?" + b"x" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["long", "many", "query", "path"],
)
def test_headers_over_the_limit_are_too_large(server: Server, head: bytes) -> None:
    is_problem(server.connect().send(head).answer(), 431, "headers-too-large")


def test_headers_under_the_limit_are_accepted(server: Server) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 15_000 + b"\r\n\r\n"
    wire = server.connect()
    for part in range(0, len(head), 1_000):
        wire.send(head[part : part + 1_000])
    assert wire.answer().status == 200


def test_a_too_large_content_length_is_refused_before_the_body_is_sent(server: Server, client: Client) -> None:
    for size in (4097, 10**12, 10**18):
        wire = server.connect().send(creation(client, b"", b"Content-Length: %d" % size))
        is_problem(wire.answer(), 413, "too-large")


def test_chunks_over_the_limit_are_too_large(server: Server, client: Client) -> None:
    wire = server.connect().send(creation(client, b"", b"Transfer-Encoding: chunked"))
    for _ in range(5):
        wire.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
    is_problem(wire.answer(), 413, "too-large")


def test_a_body_of_the_exact_limit_is_read(server: Server, client: Client) -> None:
    padding = 4096 - len(NOTE)
    body = NOTE[:-1] + b" " * padding + b"}"
    assert len(body) == 4096
    assert server.connect().send(creation(client, body, length(body))).answer().status == 201
    is_problem(server.connect().send(creation(client, body + b" ", length(body + b" "))).answer(), 413, "too-large")


# --- bodies --------------------------------------------------------------------------------------


def test_a_slow_body_is_read(server: Server, client: Client) -> None:
    wire = server.connect()
    for byte in creation(client, NOTE, length(NOTE)):
        wire.send(bytes([byte]))
        time.sleep(0.0005)
    assert wire.answer().status == 201


def test_a_chunked_body_is_read(server: Server, client: Client) -> None:
    wire = server.connect().send(creation(client, b"", b"Transfer-Encoding: chunked"))
    for byte in NOTE:
        wire.send(b"1;extension=x\r\n", bytes([byte]), b"\r\n")
    answer = wire.send(b"0\r\nTrailer: x\r\n\r\n").answer()
    assert answer.status == 201
    assert json.loads(answer.body)["data"] == {"title": "raw"}


def test_a_broken_chunk_is_a_bad_request(server: Server, client: Client) -> None:
    wire = server.connect().send(creation(client, b'5\r\n{"typ\r\nnonsense\r\n', b"Transfer-Encoding: chunked"))
    assert wire.answer().status == 400
    assert wire.is_closed_by_server()


def test_a_client_that_disconnects_during_its_body_creates_nothing(server: Server, client: Client) -> None:
    before = client.get("/api/v1/resources", params={"count": "exact"}).json()["total"]
    for cut in (0, 1, len(NOTE) - 1):
        server.connect().send(creation(client, NOTE[:cut], length(NOTE))).close()
        wire = server.connect().send(creation(client, NOTE[:cut], length(NOTE)))
        wire.end_sending()
        wire.close()
    server.connect().send(creation(client, b"5\r\n{", b"Transfer-Encoding: chunked")).close()
    time.sleep(0.1)
    assert client.get("/api/v1/resources", params={"count": "exact"}).json()["total"] == before


def test_a_client_that_disconnects_before_the_response_is_not_an_error(server: Server, client: Client) -> None:
    for _ in range(20):
        server.connect().send(creation(client, NOTE, length(NOTE))).close()
        server.connect().send(LIVE[:-2]).close()
        server.connect().close()


def test_100_continue_is_sent_only_when_the_body_is_needed(server: Server, client: Client) -> None:
    expect = b"Expect: 100-continue"
    wire = server.connect().send(creation(client, b"", length(NOTE), expect))
    assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    assert wire.send(NOTE).answer().status == 201
    wire = server.connect().send(creation(client, b"", b"Content-Length: 5000", expect))
    is_problem(wire.answer(), 413, "too-large")
    head = b"POST /api/v1/resources HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    is_problem(server.connect().send(head).answer(), 401, "unauthenticated")


# --- connections ---------------------------------------------------------------------------------


def test_an_http_1_0_connection_is_closed_after_the_response(server: Server) -> None:
    wire = server.connect().send(b"GET /livez HTTP/1.0\r\n\r\n")
    answer = wire.answer()
    assert answer.status == 200
    assert json.loads(answer.body)
    assert wire.is_closed_by_server()


def test_a_connection_is_kept_open_until_the_client_closes_it(server: Server) -> None:
    wire = server.connect()
    for _ in range(5):
        assert wire.send(LIVE).answer().status == 200
    assert wire.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").answer().status == 200
    assert wire.is_closed_by_server()


def test_a_connection_is_kept_open_after_a_refusal(server: Server, client: Client) -> None:
    wire = server.connect()
    for _ in range(3):
        assert wire.send(creation(client, b"{", length(b"{"))).answer().status == 400
        assert wire.send(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").answer().status == 404
        assert wire.send(creation(client, NOTE, length(NOTE))).answer().status == 201


def test_pipelined_requests_are_answered_in_order(server: Server, client: Client) -> None:
    nowhere = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
    login = b'{"email": "ada@example.com", "password": "wrong password"}'
    slow = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n" % length(
        login
    )
    requests = [
        creation(client, NOTE, length(NOTE)),
        LIVE,
        slow + login,
        nowhere,
        creation(client, NOTE, length(NOTE)),
        LIVE,
    ]
    wire = server.connect().send(b"".join(requests))
    assert [wire.answer().status for _ in requests] == [201, 200, 401, 404, 201, 200]


def test_garbage_after_a_request_does_not_replace_its_response(server: Server) -> None:
    login = b'{"email": "ada@example.com", "password": "wrong password"}'
    slow = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n" % length(
        login
    )
    wire = server.connect().send(slow + login + b"\x00\x00garbage\r\n\r\n")
    assert wire.answer().status == 401


def test_head_has_the_headers_of_get_and_no_body(server: Server) -> None:
    wire = server.connect().send(b"HEAD /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
    head = wire.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: 0" not in head
    assert wire.send(LIVE).until(b"\r\n").startswith(b"HTTP/1.1 200"), "no body may have come before"


def test_an_unsupported_upgrade_is_ignored(server: Server) -> None:
    for protocol in (b"websocket", b"h2c"):
        upgrade = (
            b"Connection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n" % protocol
        )
        wire = server.connect().send(b"GET /livez HTTP/1.1\r\nHost: x\r\n", upgrade, b"\r\n")
        assert wire.answer().status == 200


def test_many_idle_connections_do_not_block_other_connections(server: Server) -> None:
    wires: list[Wire] = [server.connect() for _ in range(300)]
    for wire in wires[::2]:
        wire.send(b"GET /livez HT")
    assert eventually(lambda: server.client().status("/livez") == 200, 5)
    assert wires[0].send(b"TP/1.1\r\nHost: x\r\n\r\n").answer().status == 200
    for wire in wires:
        wire.close()
