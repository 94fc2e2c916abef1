"""Kingpost as its users run it: processes, sockets, files, signals."""

import atexit
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.servers import free_port
from tests.system.forking import Forker

KINGPOST = Path(sys.executable).with_name("kingpost")
PASSWORD = "correct horse battery"
TIMEOUT = 40.0
"""Seconds after which a test stops waiting. No call should take nearly as long."""


def eventually[T](what: Callable[[], T], timeout: float = TIMEOUT) -> T:
    """Repeat a check until its result is true, and return the result. It must be true after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        asked_at = time.monotonic()
        answer = what()
        if answer:
            return answer
        if asked_at > deadline:
            raise AssertionError(f"not within {timeout} seconds; the last answer was {answer!r}")
        time.sleep(0.02)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this process without a developer's Kingpost settings, and with `variables`.

    Names are written without `KINGPOST_`. Draining and limits on guessing are off, unless a test sets
    them. Modules are compiled once, not by every process, as in any installation.
    """
    defaults = {"DRAIN_SECONDS": "0", "RATE_LIMIT_LOGIN": "off"}
    left_out = re.compile(r"KINGPOST_|PYTHONDONTWRITEBYTECODE$")
    inherited = {name: value for name, value in os.environ.items() if not left_out.match(name)}
    return inherited | {f"KINGPOST_{name}": value for name, value in (defaults | dict(variables)).items()}


def kingpost(
    directory: Path, *arguments: str, stdin: str | bytes = b"", prefix: Sequence[str] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a directory. `prefix` is an optional program that runs it."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    if arguments[:1] == ("serve",) or prefix:
        return _start_and_run(directory, [*prefix, str(KINGPOST), *arguments], environment(variables), data)
    return _forker().run(directory, [str(KINGPOST), *arguments], environment(variables), data, TIMEOUT)


@cache
def _forker() -> Forker:
    forker = Forker()
    atexit.register(forker.close)
    return forker


def _start_and_run(
    directory: Path, command: Sequence[str], environment: Mapping[str, str], stdin: bytes
) -> subprocess.CompletedProcess[str]:
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(stdin, TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out.decode(), err.decode())


class Server:
    """One `kingpost serve` process. It starts when created; `ready` waits until it serves."""

    def __init__(self, directory: Path, *arguments: str, port: int | None, settings: Mapping[str, str]) -> None:
        self.directory = directory
        self.port = port or free_port()
        scheme = "https" if "TLS_CERT" in settings else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._open: list[Client | Wire] = []
        self._stdout = directory / f"stdout.{self.port}"
        self._stderr = directory / f"stderr.{self.port}"
        with self._stdout.open("ab") as stdout, self._stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                [KINGPOST, "serve", "--port", str(self.port), *arguments],
                cwd=directory,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._stdout.read_text()

    @property
    def log(self) -> str:
        return self._stderr.read_text()

    def ready(self) -> "Server":
        def answers() -> bool:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.log}"
            with suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/readyz", verify=False, timeout=5).status_code == 200
            return False

        eventually(answers)
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end, and return the exit code."""
        return self.process.wait(TIMEOUT)

    def stop(self) -> int:
        """Stop it as an orchestrator does, and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill it and its workers, like a power cut."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def client(self, token: str | None = None, **options: Any) -> "Client":
        """A client of the API of this server, with an optional token."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = Client(base_url=self.url, headers=headers, verify=False, timeout=30, **options)
        self._open.append(client)
        return client

    def connect(self) -> "Wire":
        """A bare connection."""
        wire = Wire(socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT))
        self._open.append(wire)
        return wire

    def disconnect(self) -> None:
        """Close all clients and connections."""
        for connection in self._open:
            connection.close()


def workers_of(server: Server) -> list[int]:
    """The ids of the worker processes that serve."""
    workers = []
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()) and handles_sigterm(child.pid):
                workers.append(child.pid)
    return workers


def handles_sigterm(pid: int) -> bool:
    """Return whether a process handles SIGTERM: a server does as soon as it serves."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def fresh_email() -> str:
    return f"{secrets.token_hex(8)}@example.com"


class Client(httpx.Client):
    """An HTTP client with the calls that every test needs."""

    tokens: Mapping[str, Any] = {}
    """What the last login or refresh answered."""

    def sign_up(self, email: str = "ada@example.com", password: str = PASSWORD) -> "Client":
        """Create an account and log in to it."""
        created = self.post("/api/v1/users", json={"email": email, "password": password})
        assert created.status_code == 201, created.text
        return self.log_in(email, password)

    def log_in(self, email: str = "ada@example.com", password: str = PASSWORD) -> "Client":
        return self._take(self.post("/api/v1/auth/login", json={"email": email, "password": password}))

    def refresh(self, refresh_token: str | None = None) -> "Client":
        token = refresh_token or self.tokens["refresh_token"]
        return self._take(self.post("/api/v1/auth/refresh", json={"refresh_token": token}))

    def _take(self, answer: httpx.Response) -> "Client":
        assert answer.status_code == 200, answer.text
        self.tokens = answer.json()
        self.headers["Authorization"] = f"Bearer {self.tokens['access_token']}"
        return self

    def create(self, **data: Any) -> dict[str, Any]:
        created = self.post("/api/v1/resources", json={"type": "note", "data": data})
        assert created.status_code == 201, created.text
        resource: dict[str, Any] = created.json()
        return resource

    def status(self, path: str = "/api/v1/users/me") -> int:
        """The status of a GET."""
        return self.get(path).status_code


class Wire:
    """A connection that can send any bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._received = b""

    def send(self, *parts: bytes) -> "Wire":
        for part in parts:
            self._socket.sendall(part)
        return self

    def end_sending(self) -> "Wire":
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def close(self) -> None:
        self._socket.close()

    def until(self, mark: bytes) -> bytes:
        """Receive up to and including a mark, and return everything received since the last return."""
        while mark not in self._received:
            data = self._socket.recv(65536)
            assert data, f"the connection was closed after {self._received!r}"
            self._received += data
        end = self._received.index(mark) + len(mark)
        taken, self._received = self._received[:end], self._received[end:]
        return taken

    def answer(self) -> "WireAnswer":
        """The next response."""
        head = self.until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
        status = int(first.split()[1])
        size = int(headers.get("content-length", "0"))
        while len(self._received) < size:
            data = self._socket.recv(65536)
            assert data, "the connection was closed in the middle of a body"
            self._received += data
        body, self._received = self._received[:size], self._received[size:]
        return WireAnswer(status, headers, body)

    def is_closed_by_server(self) -> bool:
        """Wait until the server closes the connection, and return whether it sent nothing before."""
        with suppress(ConnectionError):
            return self._received == b"" and self._socket.recv(1) == b""
        return True


class WireAnswer:
    """A response as received on the connection."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"{self.status} {dict(self.headers)} {self.body[:300]!r}"


def sentences(text: str) -> Sequence[str]:
    """Return the lines that a command wrote to standard error."""
    return text.strip().splitlines()
