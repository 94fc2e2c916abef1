"""`kingpost openapi`."""

import click

from kingpost.cli import output
from kingpost.cli.common import load, one_sentence
from kingpost.http.openapi.document import document
from kingpost.main import ROUTES


@click.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    with one_sentence():
        output.echo_json(document(ROUTES, load().public_url))
