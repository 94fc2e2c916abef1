"""What all commands do: read the configuration, run, and tell in one sentence what went wrong."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kingpost import settings
from kingpost.settings import InvalidSettings, Settings

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
    import uvloop  # noqa: PLC0415

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
    from kingpost.auth.signing_keys.ring import SigningKeyError  # noqa: PLC0415
    from kingpost.problems import Problem  # noqa: PLC0415
    from kingpost.secret import SecretFileError  # noqa: PLC0415
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


@one_sentence()
def with_kingpost[T](work: "Callable[[Running], Awaitable[T]]") -> T:
    """Run work with all services, beside the servers that may be running, and return its result."""
    from kingpost import main as composition  # noqa: PLC0415

    async def work_in_place() -> T:
        async with composition.running(load(), background=False) as kingpost:
            return await work(kingpost)

    return run(work_in_place())
