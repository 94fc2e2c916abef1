"""Run commands of Kingpost in separate processes, forked from a process that has imported it.

Starting Python and importing takes longer than most commands do. Everything else works as for users: arguments,
environment, directory, streams, signals and exit code. The start of a program is tested with `kingpost serve`.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

LONGEST = 200_000
"""Bytes of a request: arguments and environment."""
PRELOADED = (
    "kingpost.cli",
    "kingpost.main",
    "kingpost.storage.postgresql.database",
    "kingpost.storage.sqlite.database",
    "alembic.command",
    "alembic.config",
    "rich.table",
)


class Forker:
    """Runs commands, also several at once. It ends with the process that created it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, __file__, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def run(
        self, directory: Path, arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in a directory; `arguments` begin with the program's path.

        Raises:
            subprocess.TimeoutExpired: the command took longer, and was killed with its children.
        """
        request = json.dumps([str(directory), arguments, dict(environment)]).encode()
        assert len(request) < LONGEST
        with contextlib.ExitStack() as stack:
            given, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            given.write(stdin)
            given.seek(0)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(ours)
            with theirs:
                socket.send_fds(self._socket, [request], [file.fileno() for file in (given, out, err, theirs)])
            code = _outcome(ours, arguments, seconds)
            return subprocess.CompletedProcess(arguments, code, _content(out), _content(err))


def _outcome(connection: socket.socket, arguments: Sequence[str], seconds: float) -> int:
    """Return the exit code of a command, which follows the id of its process."""
    connection.settimeout(seconds)
    pid = int(connection.recv(100))
    try:
        return int(connection.recv(100))
    except TimeoutError:
        os.killpg(pid, signal.SIGKILL)
        raise subprocess.TimeoutExpired(arguments, seconds) from None


def _content(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


# --- the process that forks ----------------------------------------------------------------------


def fork_for_each_request(requests: socket.socket) -> None:
    """Return in a new process for each request, set up as the request says."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # No process waits for the watching processes.
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, LONGEST, 4)
        if not request:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            *streams, connection = descriptors
            _fork_and_watch(connection)
            _become(streams, *json.loads(request))
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _fork_and_watch(descriptor: int) -> None:
    """Return in a new process; the old one reports its id and then its exit code."""
    connection = socket.socket(fileno=descriptor)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        connection.close()
        return
    connection.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(streams: Sequence[int], directory: str, arguments: list[str], environment: Mapping[str, str]) -> None:
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = arguments


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # Otherwise the garbage collector would make every process copy this memory.
    fork_for_each_request(socket.socket(fileno=int(sys.argv[1])))
    from kingpost.cli import main

    sys.exit(main())
