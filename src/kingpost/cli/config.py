"""`kingpost config`."""

import click
import msgspec

from kingpost import settings
from kingpost.cli.common import load, one_sentence


@click.command()
def config() -> None:
    """Print the configuration in force, with secrets masked, and all that is wrong with it."""
    with one_sentence():
        for name, value in settings.masked(load()).items():
            click.echo(f"{name} = {msgspec.json.encode(value).decode()}")
