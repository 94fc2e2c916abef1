"""Databases for the storage port's contract: every test that uses `storage` runs on SQLite and on PostgreSQL."""

import contextlib
import shutil
from collections.abc import AsyncGenerator, Iterable
from functools import partial
from pathlib import Path

import apsw
import pytest
import pytest_asyncio

from kingpost.problems import Unavailable
from kingpost.storage.columns import metadata
from tests import servers
from tests.nodes import Node, open_node
from tests.timing import assert_within

session_fixture = partial(pytest_asyncio.fixture, scope="session", loop_scope="session")

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database without a schema, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/kingpost.db"
    url: str = request.getfixturevalue("fresh_postgresql_url")
    return url


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Run tests of the nodes in the event loop in which those were opened."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "opened_nodes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@session_fixture
async def migrated_postgresql_url(postgresql_server: servers.PostgreSQLServer) -> AsyncGenerator[str]:
    """The URL of a PostgreSQL database with the schema for the whole run. It can hold rows of the previous test."""
    async with servers.migrated_database(postgresql_server) as name:
        yield postgresql_server.url(name)


@pytest.fixture(scope="session", params=BOTH)
def migrated_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database that has the schema; it can still hold rows of the previous test."""
    if request.param == "sqlite":
        copy = shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path_factory.mktemp("storage"))
        return f"sqlite:///{copy}"
    url: str = request.getfixturevalue("migrated_postgresql_url")
    return url


@session_fixture
async def opened_nodes(migrated_url: str) -> AsyncGenerator[list[Node]]:
    """Two nodes for the whole run: opening them for each test would take longer than most tests."""
    nodes = [await open_node(migrated_url) for _ in range(2)]
    yield nodes
    for node in nodes:
        await node.close()


@pytest_asyncio.fixture(loop_scope="session")
async def nodes(migrated_url: str, opened_nodes: list[Node]) -> list[Node]:
    """Two nodes on one empty database: each sees the writes of the other."""
    await empty(migrated_url)
    for node in opened_nodes:
        await assert_within(20, partial(is_up, node))
    return opened_nodes


async def is_up(node: Node) -> bool:
    """Return whether a node has reconnected, because an earlier test may have closed its connections."""
    with contextlib.suppress(Unavailable):
        await node.ping()
        return True
    return False


async def empty(url: str) -> None:
    """Delete all rows. Triggers protect the audit log, so they are disabled meanwhile."""
    deletes = [f"DELETE FROM {table}" for table in metadata.tables]
    if url.startswith("postgresql:"):
        await servers.execute(url, "; ".join(["SET session_replication_role = replica", *deletes]))
        return
    with contextlib.closing(apsw.Connection(url.removeprefix("sqlite:///"))) as file, file:
        triggers = list(file.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
        for statement in (*(f"DROP TRIGGER {name}" for name, _ in triggers), *deletes, *(sql for _, sql in triggers)):
            file.execute(str(statement))


@pytest.fixture
def storage(nodes: list[Node]) -> Node:
    """One of the two nodes."""
    return nodes[0]
