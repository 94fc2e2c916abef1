"""`kingpost keys`."""

from typing import TYPE_CHECKING

import click

from kingpost.cli import output
from kingpost.cli.common import printable, with_kingpost
from kingpost.model import OPERATOR

if TYPE_CHECKING:
    from kingpost.auth.signing_keys.rotation import KeyLife

HEADINGS = ("id", "state", "created at", "signs from", "verifies until")


@click.group()
def keys() -> None:
    """Manage the keys that sign access tokens."""


@keys.command("list")
@output.as_json
def list_keys(as_json: bool) -> None:
    """List all keys, oldest first."""
    lives = with_kingpost(lambda kingpost: kingpost.auth.key_rotation.list())
    if as_json:
        output.echo_json({"items": lives})
    else:
        output.echo_table([_cells(life) for life in lives], *HEADINGS)


@keys.command()
@output.as_json
def rotate(as_json: bool) -> None:
    """Create the next key."""
    created = with_kingpost(lambda kingpost: kingpost.auth.key_rotation.rotate(OPERATOR))
    if as_json:
        output.echo_json(created)
    else:
        output.echo(f"Key {created.id} is published now, and signs from {created.signs_from} on.")


@keys.command()
@click.argument("key_id", metavar="ID")
@output.yes
def retire(key_id: str, yes: bool) -> None:
    """Remove a key at once.

    Access tokens that it has signed become invalid. Clients get new ones with their refresh tokens.
    """
    if output.needs_confirmation(yes):
        output.confirm(f"Access tokens signed by {printable(key_id)} become invalid at once. Retire it?")
    signing = with_kingpost(lambda kingpost: kingpost.auth.key_rotation.retire(OPERATOR, key_id))
    output.echo(f"Key {key_id} is retired. Key {signing.id} signs.")


def _cells(life: "KeyLife") -> tuple[str, ...]:
    return life.id, life.state, life.created_at, life.signs_from, life.verifies_until or "-"
