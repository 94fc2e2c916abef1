"""`kingpost config`."""

import click
import msgspec

from kingpost.cli.common import load_settings, reported_errors
from kingpost.settings import masked


@click.command()
def config() -> None:
    """Print the configuration with secrets masked, or all its errors."""
    with reported_errors():
        for name, value in masked(load_settings()).items():
            click.echo(f"{name} = {msgspec.json.encode(value).decode()}")
