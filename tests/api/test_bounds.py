"""What connections may take together, with shrunk bounds on real sockets."""

import asyncio
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kingpost.http.server import bounds
from kingpost.http.server.acceptor import Acceptor
from kingpost.http.server.bounds import connections_below
from tests.api.connecting import Listening, Wire, listening
from tests.api.stack import Caller, Stack
from tests.system.certificates import make_certificate

LIVE = b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n"
LARGE = 4 * 1024 * 1024
"""More than the buffers of two sockets with small buffers hold."""


@pytest.fixture(autouse=True)
def frequent_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SWEEP_SECONDS", 0.02)


async def eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "kingpost.http"]


async def is_kept(wire: Wire) -> bool:
    """Return whether the server still answers on a connection."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        return (await wire.send(LIVE).response()).status == 200
    return False


class Large:
    """An application whose responses are large, in one piece or streamed."""

    def __init__(self, *, streamed: bool = False, size: int = LARGE) -> None:
        self._streamed = streamed
        self._size = size

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [] if self._streamed else [(b"content-length", str(self._size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not self._streamed:
            await send({"type": "http.response.body", "body": b"x" * self._size})
            return
        with suppress(OSError):
            for _ in range(self._size // 65536):
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def slow_reader(here: Listening) -> socket.socket:
    """A connection with small buffers that has asked for a response, and does not read."""
    loop = asyncio.get_running_loop()
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.setblocking(False)
    await loop.sock_connect(reader, here.address)
    await loop.sock_sendall(reader, LIVE)
    return reader


async def read_to_the_end(reader: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(reader, 1 << 20):
        pass


async def is_told_or_reset(here: Listening) -> bool:
    """Open a connection that is refused. Return whether the server says why; otherwise it resets it."""
    with suppress(ConnectionError):
        return not await (await here.connect()).is_closed()
    return False


# --- numbers of connections ------------------------------------------------------------------------


async def test_at_the_bound_the_longest_idle_connection_is_closed(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(stack, most=3) as here:
        wires = [await here.connect() for _ in range(3)]
        for n in (1, 0, 2):
            assert (await wires[n].send(LIVE).response()).status == 200
        assert await is_kept(await here.connect())
        assert not await is_kept(wires[1])
        assert await is_kept(wires[0])
        assert len(here.connections.open) == 3
        for _ in range(5):
            assert await is_kept(await here.connect())
    (line,) = lines_of(caplog)
    assert "this process has 3 connections" in line
    assert "ulimit -n" in line


async def test_if_none_is_idle_a_new_connection_is_told_so(stack: Stack) -> None:
    async with listening(stack, most=2) as here:
        wires = [(await here.connect()).send(LIVE[:-2]) for _ in range(2)]
        await eventually(
            lambda: all(each.deadline for each in here.connections.open) and len(here.connections.open) == 2
        )
        await asyncio.sleep(0.05)
        response = await here.ask(LIVE)
        assert (response.status, response.problem) == (503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1
        assert response.headers["connection"] == "close"
        # The others go on, and when one has gone there is room again.
        assert (await wires[0].send(b"\r\n").response()).status == 200
        wires[0].writer.close()
        await eventually(lambda: len(here.connections.open) == 1)
        assert (await here.ask(LIVE)).status == 200


async def test_refusals_are_bounded_too(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "REFUSALS_AT_ONCE", 2)
    async with listening(stack, most=1) as here:
        (await here.connect()).send(LIVE[:-2])
        await asyncio.sleep(0.05)
        refused = await asyncio.gather(*(is_told_or_reset(here) for _ in range(5)))
        assert refused.count(True) == 2
        await eventually(lambda: not here.connections.refused)


async def test_a_client_address_has_a_share_of_the_connections(
    stack: Stack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kingpost.http.server.client._key", str)
    async with listening(stack, most=40) as here:
        first = [await here.connect(local_addr=("127.0.0.2", 0)) for _ in range(10)]
        for wire in first:
            assert await is_kept(wire)
            await asyncio.sleep(0.005)  # The order counts, and the clock of an event loop is coarse.
        other = await here.connect(local_addr=("127.0.0.3", 0))
        assert await is_kept(await here.connect(local_addr=("127.0.0.2", 0)))
        assert not await is_kept(first[0])
        assert await is_kept(other)
        for wire in first[1:]:
            wire.send(LIVE[:-2])
        await asyncio.sleep(0.05)
        busy = await here.connect(local_addr=("127.0.0.2", 0))  # It replaces the last idle one.
        busy.send(LIVE[:-2])
        await asyncio.sleep(0.05)
        refused = (await here.connect(local_addr=("127.0.0.2", 0))).send(LIVE)
        assert (await refused.response()).status == 503
    assert any(
        "127.0.0.2 has 10 connections" in line and "KINGPOST_TRUSTED_PROXIES" in line for line in lines_of(caplog)
    )


@pytest.mark.parametrize("proxies", [(), ("127.0.0.0/8",)])
async def test_loopback_and_trusted_proxies_have_no_share(stack: Stack, proxies: tuple[str, ...]) -> None:
    async with listening(stack, most=8, proxies=proxies) as here:
        wires = [await here.connect() for _ in range(8)]
        assert all([await is_kept(wire) for wire in wires])


def test_connections_leave_descriptors_for_everything_else() -> None:
    for descriptors in (64, 256, 512, 1024, 65_536, 10**6):
        most = connections_below(descriptors)
        assert 0 < most <= min(bounds.CONNECTIONS, descriptors)
        assert descriptors - most >= min(bounds.RESERVED_DESCRIPTORS, descriptors // 2)


def test_the_descriptor_limit_is_raised_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"now": (256, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, both: limits.update(now=both))
    assert bounds.raise_descriptor_limit() == 4096 - bounds.RESERVED_DESCRIPTORS
    assert limits["now"] == (4096, 4096)
    limits["now"] = (256, resource.RLIM_INFINITY)
    assert bounds.raise_descriptor_limit() == bounds.CONNECTIONS
    assert limits["now"] == (bounds.MAX_DESCRIPTORS, resource.RLIM_INFINITY)
    limits["now"] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert bounds.raise_descriptor_limit() == bounds.CONNECTIONS


async def test_without_descriptors_the_server_pauses_and_says_so(
    stack: Stack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kingpost.http.server.acceptor.PAUSE_SECONDS", 0.1)
    attempts = 0

    class Exhausted:
        def __init__(self, real: socket.socket) -> None:
            self.real = real

        def accept(self) -> Any:
            nonlocal attempts
            attempts += 1
            if attempts <= 3:
                raise OSError(24, "Too many open files")
            return self.real.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    async with listening(stack) as here:
        listener: Any = Exhausted(socket.create_server(("127.0.0.1", 0)))
        acceptor = Acceptor(here.service, listener, 1)
        here.address = listener.getsockname()
        assert (await here.ask(LIVE)).status == 200
        acceptor.close()
    assert attempts <= 10
    (line,) = lines_of(caplog)
    assert "Too many open files" in line


# --- time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("constant", ["HEAD_SECONDS", "BODY_SILENCE_SECONDS"])
async def test_dripping_bytes_do_not_keep_a_request_open(
    stack: Stack, constant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, constant, 0.3)
    start = b"" if constant == "HEAD_SECONDS" else LIVE[:-2] + b"Content-Length: 9999\r\n\r\n"
    async with listening(stack) as here:
        wire = (await here.connect()).send(start)
        if start:
            assert (await wire.response()).status == 200
        closed = asyncio.create_task(wire.is_closed())
        began = asyncio.get_running_loop().time()
        for byte in LIVE[:-4] + b"x" * 900:
            wire.send(bytes([byte]))
            await asyncio.sleep(0.01)
            if closed.done():
                break
        assert await closed
        assert asyncio.get_running_loop().time() - began < 5


async def test_a_body_that_is_fast_enough_takes_its_time(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "BODY_SILENCE_SECONDS", 0.3)
    async with listening(stack) as here:
        head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        wire = (await here.connect()).send(head, b"Content-Length: 1000\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.1)
            wire.send(b" " * 100)
        assert (await wire.response()).status == 400


async def test_an_unfinished_handshake_ends_and_counts(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "FIRST_BYTE_SECONDS", 0.2)
    made = make_certificate(tmp_path)
    async with listening(stack, most=2) as here:
        here.service.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        here.service.tls.load_cert_chain(made.cert, made.key)
        silent = [await here.connect() for _ in range(2)]
        await eventually(lambda: len(here.connections.open) == 2)
        assert not await is_told_or_reset(here)
        for wire in silent:
            assert await wire.is_closed()
        assert not here.connections.open
        trust = ssl.create_default_context(cafile=str(made.cert))
        wire = await here.connect(ssl=trust, server_hostname="localhost")
        assert await is_kept(wire)
        assert await (await here.connect()).send(b"\x16\x03\x01" + b"\xff" * 300).is_closed() in (True, False)


# --- readers that do not read ----------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("closing", [False, True])
async def test_a_response_that_nobody_reads_ends(
    stack: Stack, streamed: bool, closing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "STALLED_SECONDS", 0.3)
    async with listening(stack) as here:
        here.service.app = Large(streamed=streamed)
        reader = await slow_reader(here)
        if closing:
            await asyncio.sleep(0.05)
            for connection in list(here.connections.open):
                connection.stop()
        await eventually(lambda: not here.connections.open and not here.connections.tasks)
        reader.close()


async def test_a_slow_reader_is_not_stalled(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "STALLED_SECONDS", 0.5)
    monkeypatch.setattr(bounds, "KEEP_ALIVE_SECONDS", 0.2)
    loop = asyncio.get_running_loop()
    async with listening(stack) as here:
        here.service.app = Large(size=8 * LARGE)
        reader, received = await slow_reader(here), 0
        for _ in range(25):
            await asyncio.sleep(0.1)
            received += len(await loop.sock_recv(reader, 65536))
        while received < 8 * LARGE:
            part = await loop.sock_recv(reader, 1 << 20)
            assert part, received
            received += len(part)
        reader.close()


async def test_responses_that_wait_for_readers_have_a_most(
    stack: Stack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "ANSWERS_BYTES", 5 * LARGE)
    async with listening(stack) as here:
        here.service.app = Large(size=2 * LARGE)
        readers = []
        for _ in range(10):
            readers.append(await slow_reader(here))
            await asyncio.sleep(0.05)
            assert sum(each.unsent_bytes for each in here.connections.open) <= 7 * LARGE
        assert 1 <= len(here.connections.open) <= 3
        # The longest-stalled were reset.
        with pytest.raises(ConnectionError):
            await read_to_the_end(readers[0])
        for reader in readers:
            reader.close()
    (line,) = lines_of(caplog)
    assert "responses that wait for their readers hold" in line


async def test_requests_wait_until_earlier_responses_are_read(stack: Stack) -> None:
    started = 0

    class Counting(Large):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            nonlocal started
            started += 1
            await super().__call__(scope, receive, send)

    loop = asyncio.get_running_loop()
    async with listening(stack) as here:
        here.service.app = Counting()
        reader = await slow_reader(here)
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await loop.sock_sendall(reader, LIVE * 200_000)
        assert started <= 2
        (connection,) = here.connections.open
        assert len(connection._buffer) < 1024 * 1024
        reader.close()


# --- bodies ----------------------------------------------------------------------------------------


def unfinished(caller: Caller, size: int) -> bytes:
    lines = [
        b"POST /api/v1/resources HTTP/1.1",
        b"Host: here",
        b"Content-Type: application/json",
        b"Authorization: Bearer " + caller.access_token.encode(),
        b"Content-Length: %d" % size,
    ]
    return b"\r\n".join([*lines, b"", b""])


async def test_bodies_under_way_have_a_most(
    stack: Stack, alice: Caller, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "BODIES_BYTES", 500_000)
    monkeypatch.setattr(bounds, "DISCARD_BYTES", 50_000)
    async with listening(stack) as here:
        wires = []
        for _ in range(4):
            wires.append((await here.connect()).send(unfinished(alice, 200_000), b" " * 120_000))
            await asyncio.sleep(0.1)
        wire = (await here.connect()).send(unfinished(alice, 200_000), b" " * 120_000)
        response = await wire.response()
        assert (response.status, response.problem) == (503, "unavailable")
        assert response.headers["connection"] == "close"
        assert int(response.headers["retry-after"]) >= 1
        # What arrives in one piece is still served, and so are the others when they go on.
        note = b'{"type": "note", "data": {}}'
        assert (await here.ask(unfinished(alice, len(note)), note)).status == 201
        for other in wires[1:]:
            other.writer.close()
        await eventually(lambda: len(here.connections.tasks) <= 1)
        assert (await wires[0].send(b" " * 80_000).response()).status == 400
        assert (await here.ask(unfinished(alice, 200_000), b" " * 200_000)).status == 400
        await eventually(lambda: here.connections._body_bytes == 0)
    (line,) = lines_of(caplog)
    assert "bodies that are still arriving hold" in line
