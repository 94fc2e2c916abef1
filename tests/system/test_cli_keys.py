"""`kingpost keys` with running nodes: keys are created, sign and are removed without a failed request."""

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from kingpost import base64url
from tests import servers
from tests.system.conftest import Serve
from tests.system.running import Client, Server, eventually, kingpost, sentences

SECRET = "the secret that all nodes share, long enough"
WITHIN = 1.0
"""Seconds within which every node knows of a new or retired key."""
PUBLISHED = 10 * 60
KEPT = 15 * 60


class Cluster:
    """Two nodes on one database, and the commands of the operator."""

    def __init__(self, serve: Serve, database: str, home: Path) -> None:
        self._serve = serve
        self._home = home
        self.database = database
        self.nodes = (self.start("a"), self.start("b"))

    def start(self, name: str) -> Server:
        directory = self._home / name
        directory.mkdir()
        return self._serve(directory=directory, DATABASE_URL=self.database, SECRET=SECRET)

    def command(self, *arguments: str, code: int = 0) -> str:
        """Run `kingpost keys`, and return what it printed (to standard error, if it failed)."""
        done = kingpost(self._home, "keys", *arguments, DATABASE_URL=self.database, SECRET=SECRET)
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done.stderr if code else done.stdout

    def listed(self) -> list[dict[str, Any]]:
        """The keys, oldest first, as `list --json` prints them."""
        items: list[dict[str, Any]] = json.loads(self.command("list", "--json"))["items"]
        return items

    def states(self) -> list[str]:
        return [key["state"] for key in self.listed()]

    def pass_time(self, seconds: int) -> None:
        """Make all keys older, directly in the database."""
        if self.database.startswith("sqlite:///"):
            earlier = f"strftime('%Y-%m-%dT%H:%M:%fZ', created_at, '-{seconds} seconds')"
            with closing(sqlite3.connect(self.database.removeprefix("sqlite:///"), timeout=10)) as file, file:
                file.execute(f"UPDATE signing_keys SET created_at = {earlier}")
        else:
            earlier = f"created_at - interval '{seconds} seconds'"
            asyncio.run(servers.execute(self.database, f"UPDATE signing_keys SET created_at = {earlier}"))

    def published(self) -> list[list[str]]:
        """The ids of the keys that each node publishes."""
        answers = [node.client().get("/.well-known/jwks.json").json() for node in self.nodes]
        return [[key["kid"] for key in answer["keys"]] for answer in answers]


@pytest.fixture
def cluster(serve: Serve, database: str, tmp_path: Path) -> Cluster:
    return Cluster(serve, database, tmp_path)


def key_of(client: Client) -> str:
    """The id of the key that signed a client's token."""
    header = json.loads(base64url.decode(client.tokens["access_token"].split(".")[0]))
    return str(header["kid"])


@contextmanager
def traffic(cluster: Cluster) -> Iterator[None]:
    """Clients that send requests and refresh on both nodes all the time. None of their requests may fail."""
    failures: list[str] = []
    is_over = threading.Event()
    answered = 0

    def work(number: int) -> None:
        nonlocal answered
        clients = [node.client() for node in cluster.nodes]
        tokens = clients[0].sign_up(f"client{number}@example.com").tokens
        turn = number
        while not is_over.is_set():
            turn += 1
            client = clients[turn % 2]
            if turn % 5 == 0:
                tokens = client.refresh(tokens["refresh_token"]).tokens
            client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            answer = client.get("/api/v1/users/me")
            answered += 1
            if answer.status_code != 200:
                failures.append(answer.text)
            time.sleep(0.005)

    def run(number: int) -> None:
        try:
            work(number)
        except Exception as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: answered > 20 or failures)
        yield
        before = answered
        eventually(lambda: answered > before + 40 or failures)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert failures == []


def within(seconds: float, what: Callable[[], bool]) -> bool:
    """Return whether a check becomes true in time, and stays true."""
    return eventually(what, seconds) and what()


# --- with running servers --------------------------------------------------------------------------


def test_keys_rotate_without_a_failed_request(cluster: Cluster) -> None:
    client = cluster.nodes[0].client().sign_up()
    other_client = cluster.nodes[1].client(client.tokens["access_token"])
    old = key_of(client)
    with traffic(cluster):
        assert "published now, and signs from" in cluster.command("rotate")
        eventually(lambda: all(len(ids) == 2 for ids in cluster.published()))
        (_, new) = cluster.published()[0]
        assert cluster.states() == ["signing", "next"]
        assert key_of(client.refresh()) == old

        cluster.pass_time(PUBLISHED + 1)
        assert cluster.states() == ["verifying", "signing"]
        for node in cluster.nodes:
            eventually(lambda node=node: key_of(node.client().log_in()) == new)  # type: ignore[misc]
        assert [client.status(), other_client.status()] == [200, 200]

        # By now every client in the traffic has refreshed; its tokens of the old key would have expired.
        time.sleep(WITHIN)
        cluster.pass_time(KEPT)
        third = cluster.start("c")
        eventually(lambda: [key["id"] for key in cluster.listed()] == [new])
        eventually(lambda: cluster.published() == [[new], [new]])
        assert "removed signing key" in third.log
    assert [client.status(), other_client.status()] == [401, 401]
    assert client.refresh().status() == 200


def test_a_retired_key_is_refused_on_every_node_within_a_second(cluster: Cluster) -> None:
    client = cluster.nodes[0].client().sign_up()
    both = client, cluster.nodes[1].client(client.tokens["access_token"])
    leaked = key_of(client)
    cluster.command("rotate")
    eventually(lambda: all(len(ids) == 2 for ids in cluster.published()))
    (following,) = (key["id"] for key in cluster.listed() if key["state"] == "next")
    assert [one.status() for one in both] == [200, 200]
    out = cluster.command("retire", leaked, "--yes")
    assert out == f"Key {leaked} is retired. Key {following} signs.\n"
    assert within(WITHIN, lambda: [one.status() for one in both] == [401, 401])
    eventually(lambda: cluster.published() == [[following], [following]])
    for node in cluster.nodes:
        refreshed = node.client().refresh(client.tokens["refresh_token"])
        assert key_of(refreshed) == following
        for other in cluster.nodes:
            assert other.client(refreshed.tokens["access_token"]).status() == 200


def test_two_concurrent_rotations_create_at_least_one_key(cluster: Cluster) -> None:
    outcomes: list[int] = []

    def rotate(name: str) -> None:
        done = kingpost(cluster.nodes[0].directory, "keys", "rotate", DATABASE_URL=cluster.database, SECRET=SECRET)
        outcomes.append(done.returncode)
        assert done.returncode == 0 or "at the same time" in done.stderr, name

    threads = [threading.Thread(target=rotate, args=(f"operator {number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cluster.listed()) == 1 + outcomes.count(0)
    assert outcomes.count(0) >= 1


# --- the commands themselves -----------------------------------------------------------------------


def keys(directory: Path, *arguments: str, code: int = 0, **variables: str) -> tuple[str, Sequence[str]]:
    done = kingpost(directory, "keys", *arguments, **variables)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stdout, sentences(done.stderr)


def test_the_table_has_a_line_for_each_key_and_matches_the_json(tmp_path: Path, database: str) -> None:
    made = json.loads(keys(tmp_path, "rotate", "--json", DATABASE_URL=database)[0])
    assert made.keys() == {"id", "created_at", "state", "signs_from", "verifies_until"}
    assert (made["state"], made["verifies_until"]) == ("next", None)
    listed = json.loads(keys(tmp_path, "list", "--json", DATABASE_URL=database)[0])["items"]
    assert listed[1] == made
    out, err = keys(tmp_path, "list", DATABASE_URL=database)
    heading, *lines = out.splitlines()
    assert (heading.split()[:2], err) == (["id", "state"], [])
    assert "\x1b" not in out
    assert [line.split() for line in lines] == [
        [key["id"], key["state"], key["created_at"], key["signs_from"], key["verifies_until"] or "-"] for key in listed
    ]


def test_the_only_key_cannot_be_removed(tmp_path: Path, database: str) -> None:
    listed = json.loads(keys(tmp_path, "list", "--json", DATABASE_URL=database)[0])["items"]
    out, err = keys(tmp_path, "retire", listed[0]["id"], "--yes", code=1, DATABASE_URL=database)
    assert (out, err) == ("", ["This is the only signing key: rotate first."])
    assert json.loads(keys(tmp_path, "list", "--json", DATABASE_URL=database)[0])["items"] == listed


def test_wrong_usage_is_reported(tmp_path: Path) -> None:
    keys(tmp_path, "rotate")
    (first, _) = json.loads(keys(tmp_path, "list", "--json")[0])["items"]
    assert "add --yes" in keys(tmp_path, "retire", first["id"], code=2)[1][-1]
    assert "Missing argument" in keys(tmp_path, "retire", code=2)[1][-1]
    assert keys(tmp_path, "retire", "nothing", "--yes", code=1)[1] == ["No signing key has this id."]
    assert keys(tmp_path, "list", code=1, SECRET="another secret, which is long enough")[1] == [
        "KINGPOST_SECRET cannot decrypt the signing keys in this database."
    ]
    assert len(json.loads(keys(tmp_path, "list", "--json")[0])["items"]) == 2


def test_the_rotation_interval_is_a_setting(tmp_path: Path) -> None:
    for wrong in ("-1", "often", "1.5"):
        assert "KINGPOST_KEY_ROTATION_DAYS" in keys(tmp_path, "list", code=1, KEY_ROTATION_DAYS=wrong)[1][0]
    for right in ("0", "1", "999999999999"):
        keys(tmp_path, "list", KEY_ROTATION_DAYS=right)
