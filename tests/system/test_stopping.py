"""Signals: a server drains on SIGTERM, and stops quickly on SIGINT from the keyboard."""

import os
import signal
import time

import httpx
import pytest

from tests.system.conftest import Serve
from tests.system.running import PASSWORD, Client, Server, Wire, eventually, workers_of

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def refuses(server: Server) -> bool:
    """Return whether the server no longer listens: a connection is refused, not accepted without a response."""
    try:
        httpx.get(f"{server.url}/livez", verify=False, timeout=1)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        pass
    return False


def half_a_request(server: Server, client: Client) -> tuple[Wire, bytes]:
    """Send the head and half of the body of a creation; return the other half."""
    body = b'{"type": "note", "data": {"title": "in flight"}}'
    token = client.tokens["access_token"].encode()
    head = b"POST /api/v1/resources HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % token
    kind = b"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body)
    wire = server.connect().send(head, kind)
    # The server asks for the body once it has started the request.
    assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
    return wire.send(body[:10]), body[10:]


@WORKERS
def test_a_draining_server_says_so_and_keeps_serving(serve: Serve, workers: str) -> None:
    server = serve("--workers", workers, DRAIN_SECONDS="5")
    kept = server.client().sign_up()
    signalled_at = time.monotonic()
    server.signal(signal.SIGTERM)
    eventually(lambda: all(httpx.get(f"{server.url}/readyz", verify=False).status_code == 503 for _ in range(5)))
    draining = httpx.get(f"{server.url}/readyz", verify=False)
    assert draining.headers["retry-after"]
    assert draining.json()["type"] == "/problems/unavailable"
    assert httpx.get(f"{server.url}/livez", verify=False).status_code == 200
    kept.create(title="on an old connection")
    server.client().log_in().create(title="on a new connection")
    assert time.monotonic() - signalled_at < 5, "this machine is too slow for this test"
    assert server.wait() == 0
    assert time.monotonic() - signalled_at >= 5
    assert server.log == ""
    assert kept.tokens
    assert len(serve().client().log_in().get("/api/v1/resources").json()["items"]) == 2


@WORKERS
def test_a_request_in_progress_finishes(serve: Serve, workers: str) -> None:
    server = serve("--workers", workers)
    eventually(lambda: workers == "1" or len(workers_of(server)) == 2)
    client = server.client().sign_up()
    wire, rest = half_a_request(server, client)
    server.signal(signal.SIGTERM)
    eventually(lambda: refuses(server))
    assert server.process.poll() is None
    answer = wire.send(rest).answer()
    assert answer.status == 201
    assert wire.is_closed_by_server()
    assert server.wait() == 0
    items = serve().client().log_in().get("/api/v1/resources").json()["items"]
    assert [item["data"] for item in items] == [{"title": "in flight"}]


@WORKERS
def test_a_keyboard_interrupt_stops_the_server_quickly_despite_the_drain_time(serve: Serve, workers: str) -> None:
    server = serve("--workers", workers, DRAIN_SECONDS="60")
    server.client().sign_up()
    server.connect()
    server.connect().send(b"GET /livez HT")
    server.signal(signal.SIGINT)
    assert server.wait() == 0  # It waits for less than a minute.
    assert server.log == ""


def test_a_keyboard_interrupt_from_the_terminal_reaches_workers_directly(serve: Serve) -> None:
    server = serve("--workers", "2", DRAIN_SECONDS="60")
    eventually(lambda: len(workers_of(server)) == 2)
    # A terminal sends it to every process of the group, and the supervisor passes it on once more.
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.wait() == 0
    assert "Traceback" not in server.log


def test_a_second_signal_does_not_wait_for_requests_in_progress(serve: Serve) -> None:
    server = serve()
    wire, _ = half_a_request(server, server.client().sign_up())
    server.signal(signal.SIGINT)
    eventually(lambda: refuses(server))
    assert server.process.poll() is None
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    wire.close()


def test_a_second_signal_ends_the_drain(serve: Serve) -> None:
    server = serve(DRAIN_SECONDS="60")
    server.signal(signal.SIGTERM)
    eventually(lambda: httpx.get(f"{server.url}/readyz", verify=False).status_code == 503)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@WORKERS
def test_a_signal_right_after_the_start_stops_the_server_cleanly(
    serve: Serve, workers: str, number: signal.Signals
) -> None:
    server = serve("--workers", workers, wait=False)
    eventually(lambda: server.output)
    server.signal(number)
    assert server.wait() == 0
    assert server.log == ""


def test_open_connections_are_closed_cleanly(serve: Serve) -> None:
    server = serve()
    wire = server.connect().send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.answer().status == 200
    server.signal(signal.SIGTERM)
    assert wire.is_closed_by_server()
    assert server.wait() == 0
    assert PASSWORD not in server.log
