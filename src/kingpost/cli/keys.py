"""`kingpost keys`: the keys that sign access tokens."""

from typing import TYPE_CHECKING

import click

from kingpost.cli import output
from kingpost.cli.common import with_kingpost
from kingpost.model import OPERATOR

if TYPE_CHECKING:
    from kingpost.auth.signing_keys.rotation import KeyLife

HEADINGS = ("id", "state", "created at", "signs from", "verifies until")


@click.group()
def keys() -> None:
    """Look after the keys that sign access tokens."""


@keys.command("list")
@output.as_json
def list_keys(as_json: bool) -> None:
    """Show all keys, oldest first."""
    lives = with_kingpost(lambda kingpost: kingpost.auth.key_rotation.list())
    if as_json:
        output.echo_json({"items": lives})
    else:
        output.echo_table([_row(life) for life in lives], *HEADINGS)


@keys.command()
@output.as_json
def rotate(as_json: bool) -> None:
    """Make the next key."""
    made = with_kingpost(lambda kingpost: kingpost.auth.key_rotation.rotate(OPERATOR))
    if as_json:
        output.echo_json(made)
    else:
        output.echo(f"Key {made.id} is published now, and signs from {made.signs_from} on.")


@keys.command()
@click.argument("key_id", metavar="ID")
@output.yes
def retire(key_id: str, yes: bool) -> None:
    """Remove a key at once. What it has signed stops working: clients refresh, and go on."""
    if output.must_ask(yes):
        output.ask(f"All access tokens that {output.printable(key_id)} has signed stop working at once. Retire it?")
    signing = with_kingpost(lambda kingpost: kingpost.auth.key_rotation.retire(OPERATOR, key_id))
    output.echo(f"Key {key_id} is retired. Key {signing.id} signs.")


def _row(life: "KeyLife") -> tuple[str, ...]:
    return life.id, life.state, life.created_at, life.signs_from, life.verifies_until or "-"
