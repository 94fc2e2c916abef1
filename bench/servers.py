"""The servers to measure. Each one runs in its own process on its own cores."""

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

TIMEOUT = 30.0
"""Seconds to wait for a server to start, to stop or to respond."""
ROOT = Path(__file__).resolve().parent.parent
EMAIL, PASSWORD = "bench@example.com", "a long and unusual sentence"


class Server:
    """A server on a fixed port that can be started and stopped repeatedly."""

    def __init__(
        self, name: str, command: Sequence[str], directory: Path, cores: Cores, environment: Mapping[str, str]
    ) -> None:
        """Choose a free port. It replaces `{port}` in the command."""
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
        """Start the server, and return the milliseconds until it is ready."""
        pinned = ["taskset", "--cpu-list", ",".join(map(str, sorted(self._cores))), *self._command]
        with (self._directory / f"{self.name}.log").open("ab") as log:
            began = time.perf_counter()
            self._process = subprocess.Popen(
                pinned, cwd=self._directory, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() - began > TIMEOUT:
                raise RuntimeError(f"{self.name} did not start: see {log.name}")
            time.sleep(0.002)
        return (time.perf_counter() - began) * 1000

    def stop(self) -> None:
        """Stop the server and its workers if it is running."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(TIMEOUT)
            self._process = None

    def send(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one request, and return the status and the decoded body of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            content = None if body is None else msgspec.json.encode(body)
            connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
            response = connection.getresponse()
            return response.status, msgspec.json.decode(response.read())
        finally:
            connection.close()

    def _is_ready(self) -> bool:
        try:
            return self.send("GET", "/readyz")[0] == 200
        except OSError:
            return False


def kingpost(url: str, directory: Path, cores: Cores, workers: int) -> Server:
    """Migrate the database, and return a Kingpost server on it with the default configuration."""
    program = str(Path(sys.executable).with_name("kingpost"))
    environment = {"KINGPOST_DATABASE_URL": url, "KINGPOST_DRAIN_SECONDS": "0", "KINGPOST_RATE_LIMIT_LOGIN": "off"}
    subprocess.run([program, "migrate"], check=True, cwd=directory, env={**os.environ, **environment}, stdout=-3)
    return Server(
        "kingpost", [program, "serve", "--port={port}", f"--workers={workers}"], directory, cores, environment
    )


def floor(url: str, owner_id: str, directory: Path, cores: Cores, workers: int) -> Server:
    """Return a floor server on a database that has been migrated."""
    command = [sys.executable, "-m", "bench.floor", url, owner_id, "{port}", str(workers)]
    return Server("floor", command, directory, cores, {"PYTHONPATH": str(ROOT)})


def sign_up(server: Server) -> str:
    """Create the account for all measurements, and return its id."""
    status, user = server.send("POST", "/api/v1/users", {"email": EMAIL, "password": PASSWORD})
    assert status == 201, user
    return str(user["id"])


def log_in(server: Server) -> str:
    """Log in, and return a new access token."""
    status, grant = server.send("POST", "/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD})
    assert status == 200, grant
    return str(grant["access_token"])
