"""`kingpost serve`."""

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Callable

import click

from kingpost import __version__, settings
from kingpost.cli.common import load, log, one_sentence, run, running
from kingpost.http.server.supervisor import Supervisor
from kingpost.settings import Settings

BACKLOG = 2048
M_MMAP_THRESHOLD = -3
"""glibc's name for the size from which on a block of memory is mapped by itself (mallopt(3))."""
LARGE_BLOCK = 1024 * 1024


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="How many processes serve.")
def serve(host: str, port: int, workers: int) -> None:
    """Serve the API."""
    with one_sentence():
        log()
        listener = _listen(host, port)
        loaded = load(host=host, port=listener.getsockname()[1], workers=workers)
        for name in settings.unknown_variables(os.environ):
            click.echo(f"{name} is not a setting of this release.", err=True)
        _serve(loaded, listener)


def _serve(loaded: Settings, listener: socket.socket) -> None:
    if loaded.workers == 1:
        work(loaded, listener, lambda: _greet(loaded))
        return
    # What fails is told once, before there are workers that would all fail alike.
    run(_check(loaded))
    _start_listening(listener)
    _greet(loaded)
    Supervisor(loaded, listener, work).run()


def work(loaded: Settings, listener: socket.socket, when_ready: Callable[[], None] = lambda: None) -> None:
    """Serve in this process until told to stop by a signal."""
    from kingpost.http.server import server  # noqa: PLC0415 - uvicorn, which a supervisor does without

    async def serving() -> None:
        async with running(loaded) as kingpost:
            _start_listening(listener)
            app = kingpost.application
            await server.serve(app, kingpost.readiness, loaded, listener, when_ready)

    log()
    _return_memory()
    with one_sentence():
        run(serving())


async def _check(loaded: Settings) -> None:
    async with running(loaded, background=False):
        pass


def _greet(loaded: Settings) -> None:
    program, shown = os.path.relpath(sys.argv[0]), settings.masked(loaded)
    click.echo(
        f"Kingpost {__version__} serves {loaded.public_url}\n"
        f"  Documentation   {loaded.public_url}/docs\n"
        f"  Database        {shown['database_url']}\n"
        f"  Mail            {shown['mail_url']}\n"
        f"  Make an admin   echo 'a long password' | {program} users create-admin you@example.com --password-stdin"
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise click.ClickException(f"Cannot listen on {host} port {port}: {error.strerror}.") from error
    return listener


def _start_listening(listener: socket.socket) -> None:
    try:
        listener.listen(BACKLOG)
    except OSError as error:  # Another server that started at the same moment was faster.
        host, port = listener.getsockname()[:2]
        raise click.ClickException(f"Cannot listen on {host} port {port}: {error.strerror}.") from error


def _return_memory() -> None:
    """Have glibc give large blocks back at once: after the first logins it would keep 20 MB for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
