"""The command line. The exit code is 0 on success, 2 on wrong usage and 1 on any other failure."""

import click

from kingpost import __version__
from kingpost.cli.lazy import LazyGroup

COMMANDS = {
    "config": "Print the configuration with secrets masked, or all its errors.",
    "keys": "Manage the keys that sign access tokens.",
    "migrate": "Bring the database schema up to date.",
    "openapi": "Print the OpenAPI document.",
    "routes": "List all routes with their callers, scopes and handlers.",
    "serve": "Serve the API.",
    "users": "Manage accounts.",
}
"""The help line of each command. The command `x` is the function `x` in the module `kingpost.cli.x`."""


@click.group(
    cls=LazyGroup,
    package=__name__,
    help_lines=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="%(version)s")
def main() -> None:
    """Kingpost: accounts, sign-in and your own resources behind a secure, documented REST API."""
