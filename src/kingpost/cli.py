"""The command line: parse, call, print. Exit code 0 on success, 2 on wrong usage, 1 otherwise."""

import asyncio
import contextlib
import ctypes
import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from kingpost import __version__, settings
from kingpost.settings import InvalidSettings, Settings

BACKLOG = 2048
M_MMAP_THRESHOLD = -3
"""glibc's name for the size from which on a block of memory is mapped by itself (mallopt(3))."""
LARGE_BLOCK = 1024 * 1024


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def main() -> None:
    """Kingpost: accounts, sign-in and your own resources behind a secure, documented REST API."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="How many processes serve.")
def serve(host: str, port: int, workers: int) -> None:
    """Serve the API."""
    with _one_sentence():
        _log()
        listener = _listen(host, port)
        loaded = _load(host=host, port=listener.getsockname()[1], workers=workers)
        for name in settings.unknown_variables(os.environ):
            click.echo(f"{name} means nothing to this release.", err=True)
        _serve(loaded, listener)


@main.command()
def migrate() -> None:
    """Bring the database's schema up to date. Safe from many nodes at once."""
    from kingpost.storage.sql import storage  # noqa: PLC0415

    with _one_sentence():
        _run(storage.migrate(_load().database_url))
        click.echo("The database is up to date.")


@main.group()
def users() -> None:
    """Administer accounts."""


@users.command("create-admin")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, required=True, help="Read the password from standard input.")
def create_admin(email: str, password_stdin: bool) -> None:
    """Create an account that may do everything."""
    from kingpost import main as composition  # noqa: PLC0415
    from kingpost.accounts import NewAccount  # noqa: PLC0415
    from kingpost.model import ADMIN, DEFAULT_ROLES, Origin  # noqa: PLC0415

    try:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        raise click.ClickException("The password on standard input is not UTF-8.") from error

    async def create() -> str:
        async with composition.running(_load()) as features:
            user = await features.accounts.create(
                NewAccount(email, password), (*DEFAULT_ROLES, ADMIN), "operator", Origin()
            )
            return user.id

    with _one_sentence():
        click.echo(f"{email} is an administrator now, with the id {_run(create())}.")


@main.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from kingpost.http import openapi as document  # noqa: PLC0415
    from kingpost.http.routes import ROUTES  # noqa: PLC0415

    with _one_sentence():
        content = msgspec.json.encode(document.document(ROUTES, _load().public_url))
        click.echo(msgspec.json.format(content, indent=2))


@main.command()
def config() -> None:
    """Print the configuration in force, with secrets masked, and all that is wrong with it."""
    with _one_sentence():
        for name, value in settings.masked(_load()).items():
            click.echo(f"{name} = {msgspec.json.encode(value).decode()}")


def _serve(loaded: Settings, listener: socket.socket) -> None:
    from kingpost.supervisor import Supervisor  # noqa: PLC0415

    if loaded.workers == 1:
        work(loaded, listener, lambda: _greet(loaded))
        return
    # What fails is told once, before there are workers that would all fail alike.
    _run(_check(loaded))
    _start_listening(listener)
    _greet(loaded)
    Supervisor(loaded, listener, work).run()


def work(loaded: Settings, listener: socket.socket, when_ready: Callable[[], None] = lambda: None) -> None:
    """Serve in this process until told to stop by a signal."""
    from kingpost import main as composition  # noqa: PLC0415
    from kingpost.http import server  # noqa: PLC0415

    async def run() -> None:
        async with composition.running(loaded) as features:
            _start_listening(listener)
            when_ready()
            await server.serve(composition.application(features), features.health, loaded, listener)

    _log()
    _return_memory()
    with _one_sentence():
        _run(run())


async def _check(loaded: Settings) -> None:
    from kingpost import main as composition  # noqa: PLC0415

    async with composition.running(loaded):
        pass


def _greet(loaded: Settings) -> None:
    program = os.path.relpath(sys.argv[0])
    click.echo(
        f"Kingpost {__version__} serves {loaded.public_url}\n"
        f"  Documentation   {loaded.public_url}/docs\n"
        f"  Database        {settings.masked(loaded)['database_url']}\n"
        f"  Make an admin   echo 'a long password' | {program} users create-admin you@example.com --password-stdin"
    )


def _load(**flags: Any) -> Settings:
    return settings.load(os.environ, Path.cwd(), **flags)


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


def _run[T](work: Coroutine[Any, Any, T]) -> T:
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop  # noqa: PLC0415

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _return_memory() -> None:
    """Have glibc give large blocks back at once: after the first logins it would keep 20 MB for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def _log() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """What an operator can mend is told in a plain sentence on standard error, with exit code 1."""
    from kingpost.problems import Problem  # noqa: PLC0415
    from kingpost.secret import SecretFileError  # noqa: PLC0415
    from kingpost.signing import SigningKeyError  # noqa: PLC0415
    from kingpost.storage import CannotOpen  # noqa: PLC0415

    try:
        yield
    except InvalidSettings as error:
        for fault in error.faults:
            click.echo(fault, err=True)
    except Problem as error:
        for detail in [fault.detail for fault in error.faults] or [error.detail]:
            click.echo(f"{detail}.", err=True)
    except (CannotOpen, SecretFileError, SigningKeyError) as error:
        click.echo(f"{str(error).removesuffix('.')}.", err=True)
    else:
        return
    sys.exit(1)
