"""Limits on guessing among real servers: shared, kept over restarts, and there when Valkey is not."""

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers import ValkeyServer
from tests.system.conftest import Serve
from tests.system.running import PASSWORD, Server, eventually, kingpost

EMAIL = "ada@example.com"
SHARED = {"SECRET": "the master secret of two nodes, long enough", "RATE_LIMIT_LOGIN": "10/minute"}


@pytest.fixture
def valkey() -> Generator[ValkeyServer]:
    """A Valkey for one test, which may take it down."""
    server = ValkeyServer()
    yield server
    server.remove()


def guess(server: Server, email: str = EMAIL, password: str = "wrong password", **headers: str) -> int:
    """The status of a login."""
    body = {"email": email, "password": password}
    with server.client() as client:
        return client.post("/api/v1/auth/login", json=body, headers=headers).status_code


def passing(*servers: Server, email: str = EMAIL, guesses: int = 20) -> int:
    """How many of many wrong logins, all at once and spread over the servers, are looked at."""
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: guess(servers[n % len(servers)], email), range(guesses)))
    assert set(found) <= {401, 429}
    return found.count(401)


def test_nodes_with_a_valkey_share_the_limit_and_keep_it_over_a_restart(
    serve: Serve, database: str, valkey: ValkeyServer
) -> None:
    settings = {**SHARED, "DATABASE_URL": database, "VALKEY_URL": valkey.url}
    nodes = [serve(settings=settings), serve(settings=settings)]
    nodes[0].client().sign_up()
    assert passing(*nodes, email="bob@example.com", guesses=60) == 10
    for node in nodes:
        assert node.stop() == 0
    (again,) = [serve(settings=settings)]
    # Everybody here has the same address: it is limited, whoever is tried.
    assert guess(again, "bob@example.com") == 429
    assert guess(again, "eve@example.com") == 429
    assert "Valkey" not in again.log


def test_the_workers_of_one_node_share_the_limit_through_valkey(serve: Serve, valkey: ValkeyServer) -> None:
    node = serve("--workers", "2", settings=SHARED, VALKEY_URL=valkey.url)
    assert passing(node, guesses=60) == 10


def test_logins_go_on_limited_when_valkey_hangs_or_dies_and_it_is_used_again_when_it_is_back(
    serve: Serve, tmp_path: Path, valkey: ValkeyServer
) -> None:
    settings = {**SHARED, "DATABASE_URL": f"sqlite:///{tmp_path}/kingpost.db", "VALKEY_URL": valkey.url}
    nodes = [serve(settings=settings), serve(settings=settings)]
    nodes[0].client().sign_up()
    with valkey.frozen():
        started = time.monotonic()
        assert guess(nodes[0], EMAIL, PASSWORD) == 200
        assert time.monotonic() - started < 2
        assert [passing(node) for node in nodes] == [10, 10]
        assert time.monotonic() - started < 15
    valkey.stop()
    assert [passing(node) for node in nodes] == [0, 0]
    valkey.start()
    eventually(lambda: guess(nodes[0], "x@example.com") == 401)
    eventually(lambda: guess(nodes[1], "x@example.com") == 401)
    assert passing(*nodes, email="y@example.com") <= 8
    assert passing(*nodes, email="z@example.com") == 0
    for node in nodes:
        assert 1 <= node.log.count("Valkey cannot be used") <= 2, node.log


def test_a_server_without_its_valkey_starts_and_says_so_once(serve: Serve, valkey: ValkeyServer) -> None:
    valkey.stop()
    server = serve(settings=SHARED, VALKEY_URL=valkey.url)
    assert passing(server) == 10
    assert server.log.count("Valkey") == 1
    assert "password" not in server.log
    valkey.start()


def test_the_address_in_x_forwarded_for_counts_through_trusted_proxies_only(serve: Serve, tmp_path: Path) -> None:
    behind, open_to_all = (tmp_path / name for name in ("behind", "open"))
    for directory in (behind, open_to_all):
        directory.mkdir()
    proxied = serve(directory=behind, settings=SHARED, TRUSTED_PROXIES="127.0.0.1")
    exposed = serve(directory=open_to_all, settings=SHARED)
    for n in range(10):
        for server in (proxied, exposed):
            assert guess(server, f"{n}@example.com", **{"X-Forwarded-For": f"203.0.113.{n}"}) == 401
    # Behind a proxy these were ten clients. Elsewhere anybody may write such a header, and they were one.
    assert guess(proxied, "new@example.com", **{"X-Forwarded-For": "203.0.113.99"}) == 401
    assert guess(exposed, "new@example.com", **{"X-Forwarded-For": "203.0.113.99"}) == 429
    for _ in range(9):
        guess(proxied, "new@example.com", **{"X-Forwarded-For": "198.51.100.1, 203.0.113.99"})
    # The last one that is no proxy is the client: what it writes in front of it does not count.
    assert guess(proxied, "other@example.com", **{"X-Forwarded-For": "198.51.100.77, 203.0.113.99"}) == 429


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://", "redis://host/name", "redis://[::1", "redis://h?x=1"])
def test_a_valkey_url_that_is_none_is_told(tmp_path: Path, url: str) -> None:
    done = kingpost(tmp_path, "config", VALKEY_URL=url, RATE_LIMIT_LOGIN="ten a minute")
    assert done.returncode == 1
    assert "KINGPOST_VALKEY_URL must be redis://" in done.stderr
    assert "KINGPOST_RATE_LIMIT_LOGIN must be a rate such as 10/minute" in done.stderr
