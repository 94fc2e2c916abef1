"""Exports over real sockets: chunked, at the speed of the reader, and never truncated without an error."""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from kingpost import clock
from kingpost.accounts.users.store import UserChange
from kingpost.model import AuditEntry
from tests.nodes import open_node
from tests.storage.samples import raw
from tests.system.certificates import make_certificate
from tests.system.conftest import Serve, factory
from tests.system.running import TIMEOUT, Client, Server, eventually

ENTRIES = 40_000
"""More than the buffers of two sockets can store."""
EMAIL = "ada@example.com"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


@pytest.fixture(scope="module")
def serve_here(home: Path) -> Generator[Serve]:
    yield from factory(home)


@pytest.fixture(scope="module")
def server(serve_here: Serve, home: Path) -> Server:
    """A server with a long audit log and an administrator."""
    server = serve_here()
    server.client().sign_up(EMAIL)
    asyncio.run(fill(home))
    return server


@pytest.fixture
def admin(server: Server) -> Client:
    return server.client().log_in(EMAIL)


async def fill(home: Path) -> None:
    storage = await open_node(f"sqlite:///{home}/kingpost.db")
    found = await storage.credentials.find_credentials(EMAIL)
    assert found is not None
    await storage.users.change(found.user.id, UserChange(roles=("user", "admin")), clock.now(), None)
    entries = []
    for n in range(ENTRIES):
        entry_id, now = clock.new_id()
        details = raw({"n": n, "padding": "x" * 100})
        entries.append(AuditEntry(entry_id, now, "system", None, "user.changed", "user", None, None, "bulk", details))
    for start in range(0, ENTRIES, 10_000):
        await storage.audit.add(*entries[start : start + 10_000])
    await storage.close()


class Reader:
    """A connection that requested an export, and reads at the speed of the test."""

    def __init__(self, server: Server, admin: Client, version: str = "1.1") -> None:
        bare = socket.socket()
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        bare.settimeout(TIMEOUT)
        bare.connect(("127.0.0.1", server.port))
        self.socket: socket.socket = bare
        if server.url.startswith("https:"):
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(bare)
        self.received = b""
        token = admin.tokens["access_token"]
        self.ask(f"GET /api/v1/audit/export HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")

    def close(self) -> None:
        self.socket.close()

    def ask(self, request: str) -> None:
        self.socket.sendall(request.encode())

    def read(self, size: int) -> None:
        while len(self.received) < size and (part := self.socket.recv(65536)):
            self.received += part

    def until(self, mark: bytes) -> None:
        while not self.received.endswith(mark) and (part := self.socket.recv(65536)):
            self.received += part

    def to_the_end(self) -> None:
        while part := self.socket.recv(65536):
            self.received += part

    @property
    def head(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[0]

    def body(self) -> bytes:
        """Read the body of a complete chunked response (RFC 9112, section 7.1)."""
        rest, body = self.received.partition(b"\r\n\r\n")[2], b""
        while True:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            body, end, rest = body + rest[:length], rest[length : length + 2], rest[length + 2 :]
            assert end == b"\r\n"
            if length == 0:
                assert rest == b""
                return body


type Ask = Callable[..., Reader]


@pytest.fixture
def ask() -> Generator[Ask]:
    """Requests exports: `ask(server, admin, "1.0")`."""
    readers: list[Reader] = []

    def reader(server: Server, admin: Client, version: str = "1.1") -> Reader:
        readers.append(Reader(server, admin, version))
        return readers[-1]

    yield reader
    for opened in readers:
        opened.close()


def count(body: bytes) -> int:
    lines = body.splitlines()
    assert all(json.loads(line)["id"] for line in (lines[0], lines[-1]))
    return sum(b'"request_id":"bulk"' in line for line in lines)


def test_an_export_is_chunked_and_its_connection_stays_open(ask: Ask, server: Server, admin: Client) -> None:
    reader = ask(server, admin)
    for _ in range(2):
        reader.until(b"\r\n0\r\n\r\n")
        assert reader.head.startswith(b"HTTP/1.1 200 ")
        assert b"transfer-encoding: chunked" in reader.head
        assert b"content-length" not in reader.head
        assert b"connection: close" not in reader.head
        assert count(reader.body()) == ENTRIES
        reader.received = b""
        token = admin.tokens["access_token"]
        reader.ask(f"GET /api/v1/audit/export HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")


def test_the_connection_stays_usable_after_a_head_request_of_an_export(admin: Client) -> None:
    for _ in range(3):
        assert admin.head("/api/v1/audit/export").status_code == 200
        assert admin.get("/livez").json() == {"status": "ok"}


def test_an_http_1_0_client_gets_an_unchunked_export(ask: Ask, server: Server, admin: Client) -> None:
    reader = ask(server, admin, "1.0")
    reader.to_the_end()
    assert b"transfer-encoding" not in reader.head
    assert b"connection: close" in reader.head
    assert count(reader.received.partition(b"\r\n\r\n")[2]) == ENTRIES


def test_a_stalled_reader_blocks_no_other_request_and_can_continue_later(
    ask: Ask, server: Server, admin: Client
) -> None:
    readers = [ask(server, admin) for _ in range(5)]
    for reader in readers:
        reader.read(1000)
    for _ in range(20):
        admin.create(title="meanwhile")
        assert admin.status() == 200
    readers[0].until(b"\r\n0\r\n\r\n")
    assert count(readers[0].body()) == ENTRIES
    for reader in readers[1:]:
        reader.close()
    assert admin.status() == 200


def test_a_reader_that_disconnects_is_not_an_error(ask: Ask, server: Server, admin: Client) -> None:
    for _ in range(5):
        reader = ask(server, admin)
        reader.read(1000)
        reader.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        reader.close()
    assert admin.status() == 200
    assert "Exception" not in server.log


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_export_is_aborted_when_the_database_fails(
    ask: Ask, server: Server, admin: Client, home: Path, version: str
) -> None:
    assert_export_is_aborted(ask, server, admin, home, version)


def assert_export_is_aborted(ask: Ask, server: Server, admin: Client, home: Path, version: str) -> None:
    reader = ask(server, admin, version)
    reader.read(1000)
    (home / "kingpost.db").rename(home / "moved.db")
    try:
        eventually(lambda: server.client().status("/readyz") == 503)
        # A reset is an error in every version of HTTP; without it, the export would look complete in HTTP 1.0.
        with pytest.raises(OSError):  # noqa: PT011
            reader.to_the_end()
    finally:
        (home / "moved.db").rename(home / "kingpost.db")
    assert not reader.received.endswith(b"\r\n0\r\n\r\n")
    assert reader.received.count(b'"bulk"') < ENTRIES
    assert "aborted: The database is not available" in server.log
    eventually(lambda: server.client().status("/readyz") == 200)


def test_an_export_over_tls_is_aborted_too(ask: Ask, serve: Serve, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    server = serve(TLS_CERT=str(made.cert), TLS_KEY=str(made.key))
    server.client().sign_up(EMAIL)
    asyncio.run(fill(tmp_path))
    assert_export_is_aborted(ask, server, server.client().log_in(EMAIL), tmp_path, "1.1")
