"""Servers to measure: each a process of its own, on its own cores."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.machine import Cores
from tests.servers import free_port

PATIENCE = 30.0
ROOT = Path(__file__).resolve().parent.parent
EMAIL, PASSWORD = "bench@example.com", "a long and unusual sentence"


class Server:
    """A server that is started and stopped, any number of times, on one port."""

    def __init__(
        self, name: str, command: Sequence[str], directory: Path, cores: Cores, environment: Mapping[str, str]
    ) -> None:
        """`{port}` in the command becomes the port."""
        self.name = name
        self.port = free_port()
        self._command = [part.format(port=self.port) for part in command]
        self._directory = directory
        self._cores = cores
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Start it, and tell after how many milliseconds it first says that it is ready."""
        pinned = ["taskset", "--cpu-list", ",".join(map(str, sorted(self._cores))), *self._command]
        with (self._directory / f"{self.name}.log").open("ab") as log:
            began = time.perf_counter()
            self._process = subprocess.Popen(
                pinned, cwd=self._directory, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() - began > PATIENCE:
                raise RuntimeError(f"{self.name} does not start: see {log.name}")
            time.sleep(0.002)
        return (time.perf_counter() - began) * 1000

    def stop(self) -> None:
        """Stop it, if it runs, with all its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(PATIENCE)
            self._process = None

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one request, and return status and document."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            content = None if body is None else msgspec.json.encode(body)
            connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
            response = connection.getresponse()
            return response.status, msgspec.json.decode(response.read())
        finally:
            connection.close()

    def _is_ready(self) -> bool:
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False


def kingpost(url: str, directory: Path, cores: Cores, workers: int) -> Server:
    """Kingpost as anyone starts it, over a database that it has migrated itself."""
    program = str(Path(sys.executable).with_name("kingpost"))
    environment = {"KINGPOST_DATABASE_URL": url, "KINGPOST_DRAIN_SECONDS": "0", "KINGPOST_RATE_LIMIT_LOGIN": "off"}
    subprocess.run([program, "migrate"], check=True, cwd=directory, env={**os.environ, **environment}, stdout=-3)
    return Server(
        "kingpost", [program, "serve", "--port={port}", f"--workers={workers}"], directory, cores, environment
    )


def floor(url: str, owner_id: str, directory: Path, cores: Cores, workers: int) -> Server:
    """The floor over the same database."""
    command = [sys.executable, "-m", "bench.floor", url, owner_id, "{port}", str(workers)]
    return Server("floor", command, directory, cores, {"PYTHONPATH": str(ROOT)})


def sign_up(server: Server) -> str:
    """Make the account that all is measured with, and return its id."""
    status, user = server.ask("POST", "/api/v1/users", {"email": EMAIL, "password": PASSWORD})
    assert status == 201, user
    return str(user["id"])


def log_in(server: Server) -> str:
    """A new access token."""
    status, grant = server.ask("POST", "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD})
    assert status == 200, grant
    return str(grant["access_token"])
