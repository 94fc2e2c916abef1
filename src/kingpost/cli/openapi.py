"""`kingpost openapi`."""

import click

from kingpost.cli import output
from kingpost.cli.common import load_settings, reported_errors
from kingpost.http.openapi.document import document
from kingpost.main import ROUTES


@click.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    with reported_errors():
        output.echo_json(document(ROUTES, load_settings().public_url))
