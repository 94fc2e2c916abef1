"""Shared parts of the commands: loading the configuration, running services, reporting errors."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kingpost.problems import OperatorError, Problem
from kingpost.settings import InvalidSettings, Settings, load

if sys.platform != "win32":
    import uvloop

if TYPE_CHECKING:
    from kingpost.main import Running


def load_settings(**flags: Any) -> Settings:
    """Load the settings from flags, the environment and the working directory.

    Raises:
        InvalidSettings: with all errors found.
    """
    return load(os.environ, Path.cwd(), **flags)


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new event loop and return its result."""
    if sys.platform == "win32":
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@contextlib.contextmanager
def reported_errors() -> Iterator[None]:
    """Print an error that an operator can fix as a sentence on standard error, and exit with code 1."""
    try:
        yield
    except InvalidSettings as error:
        for fault in error.faults:
            click.echo(fault, err=True)
    except Problem as error:
        for detail in [fault.detail for fault in error.faults] or [error.detail]:
            click.echo(f"{detail}.", err=True)
    except OperatorError as error:
        click.echo(f"{str(error).removesuffix('.')}.", err=True)
    else:
        return
    sys.exit(1)


@contextlib.asynccontextmanager
async def running(settings: Settings, *, background: bool = True) -> AsyncIterator["Running"]:
    """Run all services until the end of the block. Raises the errors of `kingpost.main.running`."""
    # This import takes more than half a second. `--help` and a wrong option need not wait for it.
    from kingpost import main  # noqa: PLC0415

    async with main.running(settings, background=background) as kingpost:
        yield kingpost


@reported_errors()
def with_kingpost[T](work: "Callable[[Running], Awaitable[T]]") -> T:
    """Run work with all services and return its result. Servers may run at the same time."""

    async def open_and_work() -> T:
        async with running(load_settings(), background=False) as kingpost:
            return await work(kingpost)

    return run(open_and_work())


def printable(text: str) -> str:
    """Escape the characters of an untrusted text that control a terminal or are invisible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
