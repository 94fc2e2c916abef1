"""`kingpost migrate`."""

import click

from kingpost.cli.common import load, one_sentence, run
from kingpost.storage import opening


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date. Safe from many nodes at once."""
    with one_sentence():
        run(opening.migrate(load().database_url))
        click.echo("The database is up to date.")
