"""Fixtures that every suite may use: real databases."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings

from kingpost.storage.opening import migrate
from tests import servers
from tests.programs import need

# How long one example takes depends on the other load of the machine. Tests of speed compare two sizes instead.
settings.register_profile("kingpost", deadline=None)
settings.load_profile("kingpost")


@pytest.fixture(scope="session")
def postgresql_server() -> Generator[servers.PostgreSQLServer]:
    """A PostgreSQL for the whole run. A test that stops it must start it again."""
    yield from servers.postgresql_server()


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: servers.PostgreSQLServer) -> str:
    """The URL of the server's maintenance database."""
    return postgresql_server.url()


@pytest.fixture
async def fresh_postgresql_name(postgresql_server: servers.PostgreSQLServer) -> AsyncGenerator[str]:
    """The name of an empty database for one test."""
    async with servers.fresh_database(postgresql_server) as name:
        yield name


@pytest.fixture
def fresh_postgresql_url(postgresql_server: servers.PostgreSQLServer, fresh_postgresql_name: str) -> str:
    """The URL of an empty database for one test."""
    return postgresql_server.url(fresh_postgresql_name)


@pytest.fixture
async def migrated_postgresql(postgresql_server: servers.PostgreSQLServer) -> AsyncGenerator[str]:
    """The URL of a database with today's schema for one test."""
    async with servers.migrated_database(postgresql_server) as name:
        yield postgresql_server.url(name)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with today's schema. Tests copy it."""
    path = tmp_path_factory.mktemp("migrated") / "kingpost.db"
    # Some tests request this while an event loop runs in their thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, migrate(f"sqlite:///{path}")).result()
    return path


@pytest.fixture(scope="session")
def valkey_server() -> Generator[servers.ValkeyServer]:
    """A Valkey for the whole run. A test that stops it must start it again."""
    server = servers.ValkeyServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def pgbouncer(postgresql_server: servers.PostgreSQLServer) -> Generator[servers.PgBouncer]:
    """A PgBouncer in transaction mode with two connections to the server."""
    binary = need("pgbouncer", "apt install pgbouncer")
    pooler = servers.PgBouncer(binary, postgresql_server.port, pool_size=2)
    yield pooler
    pooler.remove()
