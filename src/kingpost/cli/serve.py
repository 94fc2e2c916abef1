"""`kingpost serve`."""

import contextlib
import ctypes
import logging
import os
import socket
import sys
from collections.abc import Callable

import click

from kingpost import __version__
from kingpost.cli.common import load_settings, reported_errors, run, running
from kingpost.cli.log_lines import LogLines
from kingpost.http.server.supervisor import Supervisor
from kingpost.settings import Settings, masked, unknown_variables

BACKLOG = 2048
M_MMAP_THRESHOLD = -3
"""The parameter of glibc that sets the size from which a block is mapped separately (mallopt(3))."""
LARGE_BLOCK = 1024 * 1024
"""Bytes."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Listen on this port, or on a free one if 0.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Run this many processes.")
def serve(host: str, port: int, workers: int) -> None:
    """Serve the API."""
    with reported_errors():
        _configure_logging()
        listener = _bind(host, port)
        settings = load_settings(host=host, port=listener.getsockname()[1], workers=workers)
        for name in unknown_variables(os.environ):
            click.echo(f"{name} is an unknown setting and is ignored.", err=True)
        _serve(settings, listener)


def _serve(settings: Settings, listener: socket.socket) -> None:
    if settings.workers == 1:
        work(settings, listener, lambda: _greet(settings))
        return
    # An error is reported once here, and not by every worker.
    run(_check(settings))
    _start_listening(listener)
    _greet(settings)
    Supervisor(settings, listener, work).run()


def work(settings: Settings, listener: socket.socket, when_ready: Callable[[], None] = lambda: None) -> None:
    """Serve in this process until a signal stops it. Workers import this function by its name."""
    from kingpost.http.server import server  # noqa: PLC0415 - a supervisor does not need it

    async def serving() -> None:
        async with running(settings) as kingpost:
            _start_listening(listener)
            app = kingpost.application
            await server.serve(app, kingpost.readiness, settings, listener, when_ready)

    _configure_logging()
    _return_memory()
    with reported_errors():
        run(serving())


def _configure_logging() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)


async def _check(settings: Settings) -> None:
    """Open and close all services, so that their errors are raised."""
    async with running(settings, background=False):
        pass


def _greet(settings: Settings) -> None:
    program, shown = os.path.relpath(sys.argv[0]), masked(settings)
    click.echo(
        f"Kingpost {__version__} serves {settings.public_url}\n"
        f"  Documentation   {settings.public_url}/docs\n"
        f"  Database        {shown['database_url']}\n"
        f"  Mail            {shown['mail_url']}\n"
        f"  Add an admin    echo 'a long password' | {program} users create-admin you@example.com --password-stdin"
    )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` also accepts IPv4, on any system.
    try:
        listener.bind((host, port))
    except OSError as error:
        raise click.ClickException(f"Cannot listen on {host} port {port}: {error.strerror}.") from error
    return listener


def _start_listening(listener: socket.socket) -> None:
    try:
        listener.listen(BACKLOG)
    except OSError as error:  # Another server has started to listen since `_bind`.
        host, port = listener.getsockname()[:2]
        raise click.ClickException(f"Cannot listen on {host} port {port}: {error.strerror}.") from error


def _return_memory() -> None:
    """Let glibc return large blocks at once. Otherwise each thread that has hashed a password keeps 20 MB."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
