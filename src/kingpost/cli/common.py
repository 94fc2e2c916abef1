"""What all commands do: read the configuration, run, and tell in one sentence what went wrong."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kingpost import settings
from kingpost.auth.signing_keys.ring import SigningKeyError
from kingpost.problems import Problem
from kingpost.secret import SecretFileError
from kingpost.settings import InvalidSettings, Settings
from kingpost.storage import CannotOpen

if sys.platform != "win32":
    import uvloop

if TYPE_CHECKING:
    from kingpost.main import Running


def load(**flags: Any) -> Settings:
    """The configuration in force here.

    Raises:
        InvalidSettings: with all the faults found.
    """
    return settings.load(os.environ, Path.cwd(), **flags)


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    if sys.platform == "win32":
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def log() -> None:
    """Have servers log."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """What an operator can mend is told in a plain sentence on standard error, with exit code 1."""
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


@contextlib.asynccontextmanager
async def running(loaded: Settings, *, background: bool = True) -> AsyncIterator["Running"]:
    """Run all services until the end of the block. Raises as `kingpost.main.running` does."""
    # This import takes more than half a second, which `--help` and a wrong option need not wait for.
    from kingpost import main  # noqa: PLC0415

    async with main.running(loaded, background=background) as kingpost:
        yield kingpost


@one_sentence()
def with_kingpost[T](work: "Callable[[Running], Awaitable[T]]") -> T:
    """Run work with all services, beside the servers that may be running, and return its result."""

    async def work_in_place() -> T:
        async with running(load(), background=False) as kingpost:
            return await work(kingpost)

    return run(work_in_place())
