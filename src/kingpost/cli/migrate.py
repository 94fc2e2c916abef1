"""`kingpost migrate`."""

import click

from kingpost.cli.common import load_settings, reported_errors, run
from kingpost.storage import opening


@click.command()
def migrate() -> None:
    """Bring the database schema up to date.

    Several nodes can run this at the same time.
    """
    with reported_errors():
        run(opening.migrate(load_settings().database_url))
        click.echo("The database is up to date.")
