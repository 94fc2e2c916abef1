"""Servers for the system tests: real processes, each in a directory of its own."""

import shutil
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.system.running import Server


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
    """The body of a fixture that starts servers, and at the end stops those that still run.

    Whatever a test did to it, a server ends with code 0, and no traceback ever stands in its log.
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


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(request.getfixturevalue('migrated_sqlite'), tmp_path)}"
    url: str = request.getfixturevalue("migrated_postgresql")
    return url
