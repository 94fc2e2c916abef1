"""The command line: parse, call, print. Exit code 0 on success, 2 on wrong usage, 1 otherwise.

Modules are imported where they are used: a command that says what is wrong should not take a second for it.
"""

import click

from kingpost import __version__
from kingpost.cli import keys, serve, users
from kingpost.cli.serve import work

__all__ = ["main", "work"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def main() -> None:
    """Kingpost: accounts, sign-in and your own resources behind a secure, documented REST API."""


for command in (serve.serve, serve.migrate, users.users, keys.keys, serve.openapi, serve.config):
    main.add_command(command)
