"""Databases for the storage port's contract: every test that uses `storage` runs on SQLite and on PostgreSQL."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from kingpost.storage.columns import metadata
from tests import servers
from tests.nodes import Node, open_node

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database without a schema, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/kingpost.db"
    url: str = request.getfixturevalue("fresh_postgresql_url")
    return url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated_postgresql_url(postgresql_server: servers.PostgreSQLServer) -> AsyncGenerator[str]:
    """A database with a schema for the whole run: making one for each test would take longer than the test."""
    async with servers.migrated_database(postgresql_server) as name:
        yield postgresql_server.url(name)


@pytest.fixture(params=BOTH)
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that has the schema; it may hold rows of the test before."""
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(request.getfixturevalue('migrated_sqlite'), tmp_path)}"
    url: str = request.getfixturevalue("migrated_postgresql_url")
    return url


@pytest.fixture
async def nodes(migrated_url: str) -> AsyncGenerator[list[Node]]:
    """Two nodes on one empty database: what one has written, the other sees."""
    if migrated_url.startswith("postgresql:"):
        # The audit log lets itself be emptied by nobody, but for those who may turn triggers off.
        emptied = [f"DELETE FROM {table}" for table in metadata.tables]  # Quicker than TRUNCATE while they are small.
        await servers.execute(migrated_url, "; ".join(["SET session_replication_role = replica", *emptied]))
    async with AsyncExitStack() as stack:
        opened: list[Node] = []
        for _ in range(2):
            node = await open_node(migrated_url)
            stack.push_async_callback(node.close)
            opened.append(node)
        yield opened


@pytest.fixture
def storage(nodes: list[Node]) -> Node:
    """One of the two nodes."""
    return nodes[0]
