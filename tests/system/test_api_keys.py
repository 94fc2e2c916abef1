"""API keys with several processes: a revoked key is refused by all within a second, and never accepted unchecked."""

import time
from collections.abc import Callable, Sequence

import httpx
import pytest

from kingpost.auth.api_keys.scopes import SCOPES
from tests.servers import PostgreSQLServer
from tests.system.conftest import SECRET_OF_BOTH, Serve
from tests.system.running import PASSWORD, Client, Server, eventually, kingpost

WITHIN = 1.0
"""Seconds within which the end of a key takes effect on every node."""
SETTINGS = {"SECRET": SECRET_OF_BOTH}
KEYS = "/api/v1/api-keys"
ALL_ACCOUNTS = "/api/v1/users"


def administrator(server: Server, database: str, email: str = "root@example.com") -> Client:
    command = ["users", "create-admin", email, "--password-stdin"]
    done = kingpost(server.directory, *command, stdin=PASSWORD, **SETTINGS, DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    return server.client().log_in(email)


def new_key(owner: Client, scopes: Sequence[str] = SCOPES) -> tuple[str, str]:
    """The id and the text of a new key."""
    made = owner.post(KEYS, json={"name": "a machine", "scopes": scopes, "password": PASSWORD})
    assert made.status_code == 201, made.text
    return made.json()["id"], made.json()["key"]


def becomes(status: int, machine: Client, end: Callable[[], httpx.Response], path: str = "/api/v1/users/me") -> None:
    """Check that a machine gets responses until `end`, and this status at most a second later and from then on."""
    assert machine.status(path) == 200
    ended = end()
    assert ended.status_code in (200, 204), ended.text
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline and machine.status(path) != status:
        time.sleep(0.01)
    assert [machine.status(path) for _ in range(5)] == [status] * 5


def test_the_end_of_a_key_on_one_node_takes_effect_on_the_other(
    two: tuple[Server, Server], shared_database: str
) -> None:
    first, second = two
    admin = administrator(first, shared_database)
    owner = first.client().sign_up()
    path = f"/api/v1/users/{owner.tokens['user']['id']}"

    key_id, key = new_key(owner)
    here, there = first.client(key), second.client(key)
    becomes(401, there, lambda: owner.delete(f"{KEYS}/{key_id}"))
    assert here.status() == 401

    there = second.client(new_key(owner)[1])
    assert admin.patch(path, json={"roles": ["user", "admin"]}).status_code == 200
    becomes(403, there, lambda: admin.patch(path, json={"roles": ["user"]}), ALL_ACCOUNTS)
    becomes(401, there, lambda: admin.patch(path, json={"status": "suspended"}))
    assert admin.patch(path, json={"status": "active"}).status_code == 200
    assert eventually(lambda: there.status() == 200, WITHIN)
    becomes(401, there, lambda: admin.delete(path))


def test_the_end_of_a_key_by_an_operator_takes_effect(serve: Serve, database: str) -> None:
    server = serve(settings=SETTINGS | {"DATABASE_URL": database})
    machine = server.client(new_key(server.client().sign_up())[1])
    assert machine.status() == 200
    done = kingpost(server.directory, "users", "suspend", "ada@example.com", **SETTINGS, DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    time.sleep(WITHIN)
    assert machine.status() == 401


@pytest.mark.postgresql
def test_a_key_is_not_accepted_while_the_database_is_down(
    serve: Serve, migrated_postgresql: str, postgresql_server: PostgreSQLServer
) -> None:
    server = serve(DATABASE_URL=migrated_postgresql)
    _, key = new_key(server.client().sign_up())
    machine = server.client(key)
    assert machine.status() == 200
    postgresql_server.stop()
    try:
        time.sleep(WITHIN)
        refused = machine.get("/api/v1/users/me")
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
        assert int(refused.headers["retry-after"]) > 0
        # A malformed key is refused without the database.
        assert server.client(key[:-1]).status() == 401
    finally:
        postgresql_server.start()
    assert eventually(lambda: machine.status() == 200)
