"""The command line: parse, call, print. Exit code 0 on success, 2 on wrong usage, 1 otherwise."""

import click

from kingpost import __version__
from kingpost.cli.lazy import LazyGroup

COMMANDS = {
    "config": "Print the configuration in force, with secrets masked, and all that is wrong with it.",
    "keys": "Look after the keys that sign access tokens.",
    "migrate": "Bring the database's schema up to date. Safe from many nodes at once.",
    "openapi": "Print the OpenAPI document.",
    "routes": "List all routes, with who may call them and the functions that handle them.",
    "serve": "Serve the API.",
    "users": "Administer accounts. WHO is an id or an e-mail address.",
}
"""The help line of each command. Command `x` is the function `x` of the module `kingpost.cli.x`."""


@click.group(
    cls=LazyGroup,
    package=__name__,
    help_lines=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="%(version)s")
def main() -> None:
    """Kingpost: accounts, sign-in and your own resources behind a secure, documented REST API."""
