"""Output and confirmation: tables for people, JSON for scripts."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kingpost.cli.common import printable

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
password_stdin = click.option(
    "--password-stdin", is_flag=True, required=True, help="Read the password from standard input."
)

UNLIMITED_WIDTH = 100_000
"""Columns of a table that is not printed on a terminal."""
STYLES = {"suspended": "yellow", "signing": "green", "next": "cyan"}


def echo_json(value: Any) -> None:
    """Print a value as a JSON document."""
    sys.stdout.flush()
    # With PYTHONUNBUFFERED=1, `sys.stdout.buffer` does not finish a long write that a signal cuts short.
    with open(sys.stdout.fileno(), "wb", closefd=False) as stdout:
        stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def echo_table(rows: Iterable[Sequence[str]], *headings: str) -> None:
    """Print rows in columns. On a terminal, wide cells are folded; elsewhere each row is one line of plain text."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(headings))
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == "id")
    for row in rows:
        table.add_row(*[Text(printable(cell), STYLES.get(cell, ""), overflow="fold") for cell in row])
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else UNLIMITED_WIDTH
    console = Console(file=StringIO(), width=width, force_terminal=is_terminal, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        echo(line.rstrip())


def echo(text: str) -> None:
    """Print a line. Characters that standard output cannot encode are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def needs_confirmation(yes: bool) -> bool:
    """Return whether the user must confirm a command that cannot be undone: True unless `--yes` is given.

    Raises:
        UsageError: confirmation is needed, and standard input is not a terminal.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("This cannot be undone. To confirm it without a terminal, add --yes.")
    return not yes


def confirm(question: str) -> None:
    """Ask a question at the terminal, and abort the command unless the answer is yes."""
    click.confirm(question, abort=True, err=True)


def password() -> str:
    """Return the first line of standard input. On a terminal, ask for it twice and do not show it.

    Raises:
        ClickException: the line is not UTF-8.
    """
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    try:
        return sys.stdin.buffer.readline().rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        raise click.ClickException("The password on standard input is not UTF-8.") from error
