"""Several servers, nodes and workers on one database: they share state within a second."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from kingpost.auth.second_factor.totp import STEP, code_at
from tests.system.conftest import SECRET_OF_BOTH, Serve
from tests.system.running import (
    KINGPOST,
    PASSWORD,
    Client,
    Server,
    environment,
    eventually,
    fresh_email,
    kingpost,
    workers_of,
)

WITHIN = 1.0
"""Seconds within which a logout takes effect on every node."""


def test_concurrent_migrations_all_succeed(tmp_path: Path, serve: Serve, database_of_both_kinds: str) -> None:
    processes = [
        subprocess.Popen(
            [KINGPOST, "migrate"],
            cwd=tmp_path,
            env=environment({"DATABASE_URL": database_of_both_kinds}),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, b"The database is up to date.\n", b"")
    serve(DATABASE_URL=database_of_both_kinds).client().sign_up()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_of_both_kinds(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/kingpost.db"
    url: str = request.getfixturevalue("fresh_postgresql_url")
    return url


def test_servers_started_concurrently_in_an_empty_directory_share_one_secret_and_key(serve: Serve) -> None:
    servers = [serve(wait=False) for _ in range(3)]
    client = servers[0].ready().client().sign_up()
    keys = [server.ready().client().get("/.well-known/jwks.json").json()["keys"] for server in servers]
    assert len(keys[0]) == 1
    assert keys == [keys[0]] * 3
    for server in servers:
        assert server.client(client.tokens["access_token"]).status() == 200


def test_a_write_on_one_node_is_visible_on_the_other_immediately(two: tuple[Server, Server]) -> None:
    first, second = two
    here = first.client().sign_up(fresh_email())
    there = second.client(here.tokens["access_token"])
    assert there.status() == 200
    for number in range(20):
        writer, reader = (here, there) if number % 2 else (there, here)
        note = writer.create(number=number)
        path = f"/api/v1/resources/{note['id']}"
        assert reader.get(path).json() == note
        changed = writer.patch(path, json={"data": {"more": True}})
        assert reader.get(path).json() == changed.json()
        assert writer.delete(path).status_code == 204
        assert reader.status(path) == 404


def test_all_writes_of_parallel_writers_on_two_nodes_succeed(two: tuple[Server, Server]) -> None:
    clients = [two[0].client().sign_up(fresh_email())]
    clients.append(two[1].client(clients[0].tokens["access_token"]))
    counter = clients[0].create()
    path = f"/api/v1/resources/{counter['id']}"

    def write(number: int) -> None:
        client = clients[number % 2]
        client.create(number=number)
        patched = client.patch(path, json={"data": {f"writer {number}": True}})
        assert patched.status_code == 200, patched.text

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(80)))
    for client in clients:
        assert client.get("/api/v1/resources", params={"count": "exact"}).json()["total"] == 81
        assert client.get(path).json()["data"] == {f"writer {number}": True for number in range(80)}


def refused_within(client: Client, end: Callable[[], httpx.Response]) -> None:
    """Check that the token of a client is accepted until `end`, and refused at most a second later."""
    assert client.status() == 200
    ended = end()
    assert ended.status_code in (200, 204), ended.text
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline and client.status() != 401:
        time.sleep(0.01)
    assert [client.status() for _ in range(5)] == [401] * 5


def test_a_logout_on_one_node_takes_effect_on_the_other(two: tuple[Server, Server]) -> None:
    for here, there in (two, two[::-1]):
        client = here.client().sign_up(fresh_email())
        other_client = there.client(client.tokens["access_token"])
        refused_within(other_client, lambda client=client: client.post("/api/v1/auth/logout"))  # type: ignore[misc]
        assert client.status() == 401


def test_every_end_of_a_session_takes_effect_on_the_other_node(
    two: tuple[Server, Server], shared_database: str
) -> None:
    first, second = two
    variables = {"DATABASE_URL": shared_database, "SECRET": SECRET_OF_BOTH}
    command = ["users", "create-admin", "root@example.com", "--password-stdin"]
    assert kingpost(first.directory, *command, stdin=PASSWORD, **variables).returncode == 0
    admin = first.client().log_in("root@example.com")

    def clients_on_both_nodes(email: str, *, is_new: bool = True) -> tuple[Client, Client, str]:
        client = first.client()
        client.sign_up(email) if is_new else client.log_in(email)
        return client, second.client(client.tokens["access_token"]), client.tokens["user"]["id"]

    client, other, user_id = clients_on_both_nodes("everywhere@example.com")
    refused_within(other, lambda: client.post("/api/v1/auth/logout", json={"everywhere": True}))
    _, other, user_id = clients_on_both_nodes("suspended@example.com")
    refused_within(other, lambda: admin.patch(f"/api/v1/users/{user_id}", json={"status": "suspended"}))
    _, other, user_id = clients_on_both_nodes("deleted@example.com")
    refused_within(other, lambda: admin.delete(f"/api/v1/users/{user_id}"))
    client, _, user_id = clients_on_both_nodes("changed@example.com")
    _, other, _ = clients_on_both_nodes("changed@example.com", is_new=False)
    passwords = {"current_password": PASSWORD, "new_password": "another long password"}
    refused_within(other, lambda: client.put(f"/api/v1/users/{user_id}/password", json=passwords))
    assert client.status() == 200
    client, _, _ = clients_on_both_nodes("others@example.com")
    _, other, _ = clients_on_both_nodes("others@example.com", is_new=False)
    refused_within(other, lambda: client.delete("/api/v1/auth/sessions"))
    assert client.status() == 200
    client, other, user_id = clients_on_both_nodes("ended@example.com")
    refused_within(other, lambda: admin.delete(f"/api/v1/auth/sessions/{client.tokens['session_id']}"))
    _, other, user_id = clients_on_both_nodes("all@example.com")
    refused_within(other, lambda: admin.delete(f"/api/v1/users/{user_id}/sessions"))
    assert admin.status() == 200


def test_a_code_used_on_one_node_is_refused_on_the_other(two: tuple[Server, Server]) -> None:
    first, second = two
    email = fresh_email()
    client = first.client().sign_up(email)
    secret = client.post("/api/v1/auth/totp", json={"password": PASSWORD}).json()["secret"]

    def code(off: int = 0) -> str:
        return code_at(secret, int(time.time()) // STEP + off)

    confirmed = client.post("/api/v1/auth/totp/confirm", json={"otp": code()})
    assert confirmed.status_code == 200, confirmed.text
    body = {"email": email, "password": PASSWORD}

    def log_in(server: Server, **otp: str) -> httpx.Response:
        return server.client().post("/api/v1/auth/login", json=body | otp)

    assert log_in(second).json()["type"] == "/problems/mfa-required"
    recovery_codes = confirmed.json()["recovery_codes"]
    for otp in (code(1), recovery_codes[0]):
        assert [log_in(server, otp=otp).status_code for server in (first, second, first)] == [200, 401, 401]
    there = second.client(client.tokens["access_token"])
    assert there.get("/api/v1/auth/totp").json() == {"enabled": True, "recovery_codes_left": 9}
    proof = {"password": PASSWORD, "otp": recovery_codes[1]}
    assert there.request("DELETE", "/api/v1/auth/totp", json=proof).status_code == 204
    assert log_in(first).status_code == 200


def test_a_token_can_be_refreshed_on_either_node_with_the_same_successor(two: tuple[Server, Server]) -> None:
    here = two[0].client().sign_up(fresh_email())
    there = two[1].client()
    for _ in range(3):
        first = there.refresh(here.tokens["refresh_token"]).tokens
        # The response was lost: request it from the other node.
        again = here.refresh().tokens
        assert again["refresh_token"] == first["refresh_token"]
        assert again["session_id"] == first["session_id"]
        assert here.status() == there.status() == 200
    token = here.tokens["refresh_token"]
    clients = [server.client() for server in two for _ in range(6)]
    with ThreadPoolExecutor(len(clients)) as pool:
        refreshed = list(pool.map(lambda client: client.refresh(token).tokens["refresh_token"], clients))
    assert len(set(refreshed)) == 1
    here.refresh(refreshed[0])


def test_a_stolen_refresh_token_ends_the_session_on_every_node(two: tuple[Server, Server]) -> None:
    client = two[0].client().sign_up(fresh_email())
    stolen = client.tokens["refresh_token"]
    client.refresh().refresh()
    body = {"refresh_token": stolen}
    thief = two[1].client()
    assert client.status() == 200
    assert thief.post("/api/v1/auth/refresh", json=body).status_code == 401
    assert eventually(lambda: client.status() == 401, WITHIN)


# --- workers -------------------------------------------------------------------------------------


def both(server: Server) -> list[int]:
    """Wait until both workers serve, and return their ids."""
    workers = workers_of(server)
    return workers if len(workers) == 2 else []


def serves_everywhere(server: Server, token: str, expected: int) -> None:
    """Send requests on so many new connections that every worker answers some."""
    statuses = []
    for _ in range(20):
        with Client(
            base_url=server.url, headers={"Authorization": f"Bearer {token}"}, verify=False, timeout=30
        ) as client:
            statuses.append(client.status())
    assert statuses == [expected] * 20


def test_a_logout_takes_effect_in_every_worker(serve: Serve, database: str) -> None:
    server = serve("--workers", "2", DATABASE_URL=database)
    eventually(lambda: both(server))
    client = server.client().sign_up()
    token = client.tokens["access_token"]
    serves_everywhere(server, token, 200)
    assert client.post("/api/v1/auth/logout").status_code == 204
    time.sleep(WITHIN)
    serves_everywhere(server, token, 401)


def test_a_dead_worker_is_replaced(serve: Serve) -> None:
    server = serve("--workers", "2")
    token = server.client().sign_up().tokens["access_token"]
    victim, survivor = eventually(lambda: both(server))
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: both(server) and victim not in workers_of(server))
    assert survivor in workers_of(server)
    assert f"worker {victim} died" in server.log
    # Also when all die at once.
    for worker in workers_of(server):
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: both(server) and survivor not in workers_of(server))
    serves_everywhere(server, token, 200)


def test_no_worker_outlives_its_supervisor(serve: Serve) -> None:
    server = serve("--workers", "2")
    workers = [psutil.Process(worker) for worker in eventually(lambda: both(server))]
    server.process.kill()
    eventually(lambda: not any(worker.is_running() for worker in workers))
    serve("--workers", "2", port=server.port)
