"""Outages: the database stops, hangs and recovers; the power fails."""

import shutil
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import httpx
import pytest

from tests.servers import PostgreSQLServer
from tests.system.conftest import Serve
from tests.system.running import PASSWORD, Client, Server, eventually, kingpost, sentences

HANG = 25.0
"""Seconds within which a hanging database must lead to a 503."""


def request_everything(client: Client, path: str) -> dict[str, httpx.Response]:
    """Send a request of every kind concurrently, and return the responses."""
    refresh_token = client.tokens["refresh_token"]
    login = {"email": "ada@example.com", "password": PASSWORD}
    calls: dict[str, Callable[[], httpx.Response]] = {
        "read": lambda: client.get(path),
        "list": lambda: client.get("/api/v1/resources"),
        "create": lambda: client.post("/api/v1/resources", json={"type": "note", "data": {}}),
        "change": lambda: client.patch(path, json={"data": {"a": 1}}),
        "me": lambda: client.get("/api/v1/users/me"),
        "sessions": lambda: client.get("/api/v1/auth/sessions"),
        "login": lambda: client.post("/api/v1/auth/login", json=login),
        "refresh": lambda: client.post("/api/v1/auth/refresh", json={"refresh_token": refresh_token}),
        "logout": lambda: client.post("/api/v1/auth/logout", json={"refresh_token": refresh_token}),
        "sign up": lambda: client.post("/api/v1/users", json=login | {"email": "bob@example.com"}),
        "readyz": lambda: client.get("/readyz"),
    }
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = {name: pool.submit(call) for name, call in calls.items()}
        return {name: future.result() for name, future in futures.items()}


def all_unavailable(answers: dict[str, httpx.Response]) -> None:
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 503)
    for answer in answers.values():
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["type"] == "/problems/unavailable"


def recovers(server: Server, client: Client, path: str) -> None:
    eventually(lambda: server.client().status("/readyz") == 200)
    eventually(lambda: client.status(path) == 200)
    client.create(title="after")
    server.client().log_in().refresh()


@contextmanager
def stopped(postgresql: PostgreSQLServer) -> Generator[None]:
    postgresql.stop()
    try:
        yield
    finally:
        postgresql.start()


@pytest.mark.postgresql
def test_postgresql_stops_while_serving(
    serve: Serve, migrated_postgresql: str, postgresql_server: PostgreSQLServer
) -> None:
    server = serve(DATABASE_URL=migrated_postgresql)
    client = server.client().sign_up()
    path = f"/api/v1/resources/{client.create()['id']}"
    with stopped(postgresql_server):
        # For a second, the cached list of ended sessions is recent enough to authenticate a client.
        time.sleep(1.0)
        all_unavailable(request_everything(client, path))
        assert client.status("/livez") == 200
        # A forged token is refused without the database; a valid one is not accepted unchecked.
        assert client.get("/api/v1/users/me", headers={"Authorization": "Bearer x.y.z"}).status_code == 401
    recovers(server, client, path)


@pytest.mark.postgresql
def test_postgresql_hangs_while_serving(
    serve: Serve, migrated_postgresql: str, postgresql_server: PostgreSQLServer
) -> None:
    server = serve(DATABASE_URL=migrated_postgresql)
    client = server.client().sign_up()
    path = f"/api/v1/resources/{client.create()['id']}"
    with postgresql_server.frozen():
        began = time.monotonic()
        answers = request_everything(client, path)
        assert time.monotonic() - began < HANG
        all_unavailable(answers)
        assert client.status("/livez") == 200
    recovers(server, client, path)


@pytest.mark.postgresql
def test_a_logout_during_an_outage_takes_effect_on_the_other_node_afterwards(
    serve: Serve, migrated_postgresql: str, postgresql_server: PostgreSQLServer, tmp_path: Path
) -> None:
    shared = {"DATABASE_URL": migrated_postgresql, "SECRET": "the secret that all nodes share, long enough"}
    (tmp_path / "other").mkdir()
    here, there = serve(settings=shared), serve(directory=tmp_path / "other", settings=shared)
    client = here.client().sign_up()
    other_client = there.client(client.tokens["access_token"])
    assert other_client.status() == 200
    assert client.post("/api/v1/auth/logout").status_code == 204
    with stopped(postgresql_server):
        # Within the second until the node knows of the logout, the token might still be accepted.
        time.sleep(1.0)
        assert other_client.status() in (401, 503)
    eventually(lambda: other_client.status("/readyz") == 200)
    assert other_client.status() == 401


def test_an_admin_command_without_a_database_fails_in_one_sentence(tmp_path: Path) -> None:
    command = ["users", "create-admin", "root@example.com", "--password-stdin"]
    done = kingpost(tmp_path, *command, stdin=PASSWORD, DATABASE_URL="postgresql://127.0.0.1:1/kingpost")
    assert (done.returncode, len(sentences(done.stderr))) == (1, 1)


# --- SQLite --------------------------------------------------------------------------------------


def test_the_sqlite_file_is_moved_away_and_back(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    client = server.client().sign_up()
    path = f"/api/v1/resources/{client.create(title='before')['id']}"
    file = tmp_path / "kingpost.db"
    away = tmp_path / "away.db"
    file.rename(away)
    answers = request_everything(client, path)
    all_unavailable({name: answers[name] for name in ("create", "change", "login", "refresh", "sign up", "readyz")})
    assert client.status("/livez") == 200
    assert not file.exists(), "no data may be written to a new file in its place"
    away.rename(file)
    recovers(server, client, path)


def test_the_sqlite_file_is_deleted_and_restored_from_a_copy(serve: Serve, tmp_path: Path) -> None:
    first = serve()
    client = first.client().sign_up()
    path = f"/api/v1/resources/{client.create(title='before')['id']}"
    assert first.stop() == 0
    file = tmp_path / "kingpost.db"
    shutil.copy(file, tmp_path / "copy.db")
    server = serve(port=first.port)
    assert client.status(path) == 200
    for each in tmp_path.glob("kingpost.db*"):
        each.unlink()
    all_unavailable(
        {"readyz": client.get("/readyz"), "create": client.post("/api/v1/resources", json={"type": "note", "data": {}})}
    )
    assert client.status("/livez") == 200
    # Data read from a deleted file would be visible to no other process.
    eventually(lambda: client.status(path) == 503)
    (tmp_path / "copy.db").rename(file)
    recovers(server, client, path)


# --- power cuts ----------------------------------------------------------------------------------


def creates_until_it_dies(server: Server, token: str, acknowledged: list[str]) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with (
        suppress(httpx.TransportError),
        Client(base_url=server.url, headers=headers, verify=False, timeout=30) as writer,
    ):
        while True:
            acknowledged.append(writer.create(text="x" * 500)["id"])


def test_every_acknowledged_creation_survives_a_power_cut(serve: Serve, database: str) -> None:
    acknowledged: list[str] = []
    server = serve(DATABASE_URL=database)
    client = server.client().sign_up()
    for _ in range(2):
        enough = len(acknowledged) + 300
        arguments = (server, client.tokens["access_token"], acknowledged)
        writers = [Thread(target=creates_until_it_dies, args=arguments) for _ in range(8)]
        for writer in writers:
            writer.start()
        eventually(lambda enough=enough: len(acknowledged) > enough)  # type: ignore[misc]
        server.kill()
        for writer in writers:
            writer.join()
        server = serve(DATABASE_URL=database)
        client = server.client().log_in()
        paths = [f"/api/v1/resources/{resource_id}" for resource_id in acknowledged]
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(client.status, paths)) == {200}
