"""Servers for the system tests: real processes, each in its own directory."""

import shutil
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
from playwright.sync_api import Browser, sync_playwright

from tests import servers
from tests.programs import need
from tests.system.running import Server

SECRET_OF_BOTH = "the secret that all nodes share, long enough"
BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]

CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    # No other host can be reached: a request to one fails.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


class Serve(Protocol):
    """Starts `kingpost serve` with arguments and settings, by default in the test's directory."""

    def __call__(
        self,
        *arguments: str,
        directory: Path | None = None,
        port: int | None = None,
        wait: bool = True,
        settings: Mapping[str, str] = {},
        **more_settings: str,
    ) -> Server: ...


def factory(home: Path) -> Generator[Serve]:
    """The body of a fixture that starts servers, and stops all running servers at the end.

    After any test, a server must exit with code 0, and its log must have no traceback.
    """
    started: list[Server] = []

    def serve(
        *arguments: str,
        directory: Path | None = None,
        port: int | None = None,
        wait: bool = True,
        settings: Mapping[str, str] = {},
        **more_settings: str,
    ) -> Server:
        server = Server(directory or home, *arguments, port=port, settings={**settings, **more_settings})
        started.append(server)
        return server.ready() if wait else server

    yield serve
    for server in started:
        server.disconnect()
    codes = [server.stop() for server in started if server.process.poll() is None]
    for server in started:
        server.kill()
        assert "Traceback" not in server.log, server.log
    assert codes == [0] * len(codes)


@pytest.fixture
def serve(tmp_path: Path) -> Generator[Serve]:
    """Starts servers for one test: `serve("--workers", "2", DRAIN_SECONDS="1")`."""
    yield from factory(tmp_path)


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(request.getfixturevalue('migrated_sqlite'), tmp_path)}"
    url: str = request.getfixturevalue("migrated_postgresql")
    return url


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BOTH)
async def shared_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[str]:
    """The URL of a migrated database that the tests of a module share, of each kind in turn."""
    if request.param == "sqlite":
        copy = shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path_factory.mktemp("shared"))
        yield f"sqlite:///{copy}"
    else:
        server: servers.PostgreSQLServer = request.getfixturevalue("postgresql_server")
        async with servers.migrated_database(server) as name:
            yield server.url(name)


@pytest.fixture(scope="module")
def two(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Server, Server]]:
    """Two nodes with one database and one secret, shared by the tests of a module: no test stops or overloads them."""
    homes = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    with contextmanager(factory)(homes[0]) as serve:
        started = [serve(directory=d, wait=False, DATABASE_URL=shared_database, SECRET=SECRET_OF_BOTH) for d in homes]
        first, second = (server.ready() for server in started)
        yield first, second


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """A headless browser."""
    chromium = need("chromium", "apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
