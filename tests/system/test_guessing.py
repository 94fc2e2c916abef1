"""Limits on guessing with real servers: shared, kept after restarts, and active without Valkey."""

import asyncio
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.servers import ValkeyServer
from tests.system.conftest import Serve
from tests.system.running import PASSWORD, Server, eventually, kingpost

EMAIL = "ada@example.com"
SHARED = {"SECRET": "the master secret of two nodes, long enough", "RATE_LIMIT_LOGIN": "10/hour"}
"""Ten failures are free, and no delay ends during the test: the first delay is six minutes."""


@pytest.fixture
def valkey() -> Generator[ValkeyServer]:
    """A Valkey for one test, which may stop it."""
    server = ValkeyServer()
    yield server
    server.remove()


def guess(server: Server, email: str = EMAIL, password: str = "wrong password", **headers: str) -> int:
    """Return the status of a login."""
    body = {"email": email, "password": password}
    with server.client() as client:
        return client.post("/api/v1/auth/login", json=body, headers=headers).status_code


def passing(*servers: Server, email: str = EMAIL, guesses: int = 20, address: str | None = None) -> int:
    """Return how many of many wrong logins, concurrent and spread over the servers, are not limited."""
    headers = {} if address is None else {"X-Forwarded-For": address}
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: guess(servers[n % len(servers)], email, **headers), range(guesses)))
    assert set(found) <= {401, 429}
    return found.count(401)


def undisturbed[T](valkey: ValkeyServer, series: Callable[[], tuple[T, list[Server]]]) -> T:
    """Run a series of guesses, stop its servers, and return the result.

    It is run again, on new servers and an empty Valkey, if a reply of Valkey took longer than the time-out of a server,
    as can happen on a busy machine: the server then correctly counts alone for a while.
    """
    results: list[T] = []

    def was_undisturbed() -> bool:
        asyncio.run(valkey.empty())
        result, servers = series()
        results.append(result)
        assert {server.stop() for server in servers if server.process.poll() is None} <= {0}
        return not any("Valkey cannot be used" in server.log for server in servers)

    eventually(was_undisturbed, timeout=300)
    return results[-1]


@pytest.mark.timeout(400)
def test_nodes_with_valkey_share_the_limit_and_keep_it_after_a_restart(
    serve: Serve, database: str, valkey: ValkeyServer
) -> None:
    settings = {**SHARED, "DATABASE_URL": database, "VALKEY_URL": valkey.url}

    def series() -> tuple[tuple[int, list[int]], list[Server]]:
        nodes = [serve(settings=settings), serve(settings=settings)]
        passed = passing(*nodes, email="bob@example.com", guesses=60)
        for node in nodes:
            assert node.stop() == 0
        again = serve(settings=settings)
        # All clients here have the same address: it is limited for every account.
        return (passed, [guess(again, "bob@example.com"), guess(again, "eve@example.com")]), [*nodes, again]

    assert undisturbed(valkey, series) == (10, [429, 429])


@pytest.mark.timeout(400)
def test_the_workers_of_one_node_share_the_limit_through_valkey(serve: Serve, valkey: ValkeyServer) -> None:
    def series() -> tuple[int, list[Server]]:
        node = serve("--workers", "2", settings=SHARED, VALKEY_URL=valkey.url)
        return passing(node, guesses=60), [node]

    assert undisturbed(valkey, series) == 10


def test_logins_stay_limited_while_valkey_hangs_or_is_down(serve: Serve, tmp_path: Path, valkey: ValkeyServer) -> None:
    settings = {**SHARED, "DATABASE_URL": f"sqlite:///{tmp_path}/kingpost.db", "VALKEY_URL": valkey.url}
    nodes = [serve(settings=settings, TRUSTED_PROXIES="127.0.0.1") for _ in range(2)]
    nodes[0].client().sign_up()
    with valkey.frozen():
        started = time.monotonic()
        assert guess(nodes[0], EMAIL, PASSWORD) == 200
        assert time.monotonic() - started < 10
        assert [passing(node) for node in nodes] == [10, 10]
        assert time.monotonic() - started < 30
    valkey.stop()
    assert [passing(node) for node in nodes] == [0, 0]
    valkey.start()
    series = count()

    def shared() -> bool:
        """Return whether the nodes share the limit of a new account. Each node alone would allow ten guesses."""
        n = next(series)
        return passing(*nodes, email=f"{n}@example.com", address=f"203.0.113.{n}") == 10

    eventually(shared, timeout=60)
    for node in nodes:
        assert 1 <= node.log.count("Valkey cannot be used") <= 2, node.log


def test_a_node_continues_with_its_own_count_when_valkey_freezes(serve: Serve, valkey: ValkeyServer) -> None:
    node = serve(settings=SHARED, VALKEY_URL=valkey.url)
    passed = passing(node, guesses=6)
    with valkey.frozen():
        passed += passing(node, guesses=2)
    passed += passing(node)
    assert passed == 10


def test_a_server_starts_without_its_valkey_and_logs_it_once(serve: Serve, valkey: ValkeyServer) -> None:
    valkey.stop()
    server = serve(settings=SHARED, VALKEY_URL=valkey.url)
    assert passing(server) == 10
    assert server.log.count("Valkey") == 1
    assert "password" not in server.log
    valkey.start()


def test_x_forwarded_for_is_used_from_trusted_proxies_only(serve: Serve, tmp_path: Path) -> None:
    behind, open_to_all = (tmp_path / name for name in ("behind", "open"))
    for directory in (behind, open_to_all):
        directory.mkdir()
    proxied = serve(directory=behind, settings=SHARED, TRUSTED_PROXIES="127.0.0.1")
    exposed = serve(directory=open_to_all, settings=SHARED)
    for n in range(10):
        for server in (proxied, exposed):
            assert guess(server, f"{n}@example.com", **{"X-Forwarded-For": f"203.0.113.{n}"}) == 401
    # Behind a proxy these are ten clients. Without one, any client can send such a header, and they are one client.
    assert guess(proxied, "new@example.com", **{"X-Forwarded-For": "203.0.113.99"}) == 401
    assert guess(exposed, "new@example.com", **{"X-Forwarded-For": "203.0.113.99"}) == 429
    for _ in range(9):
        guess(proxied, "new@example.com", **{"X-Forwarded-For": "198.51.100.1, 203.0.113.99"})
    # The last address that is not a proxy is the client: addresses before it do not count.
    assert guess(proxied, "other@example.com", **{"X-Forwarded-For": "198.51.100.77, 203.0.113.99"}) == 429


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://", "redis://host/name", "redis://[::1", "redis://h?x=1"])
def test_an_invalid_valkey_url_is_reported(tmp_path: Path, url: str) -> None:
    done = kingpost(tmp_path, "config", VALKEY_URL=url, RATE_LIMIT_LOGIN="ten a minute")
    assert done.returncode == 1
    assert "KINGPOST_VALKEY_URL must be redis://" in done.stderr
    assert "KINGPOST_RATE_LIMIT_LOGIN must be a rate such as 10/minute" in done.stderr
