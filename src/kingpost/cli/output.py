"""How commands talk: tables for people, JSON for scripts, a question before what cannot be undone."""

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

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for scripts.")
yes = click.option("--yes", is_flag=True, help="Do not ask.")
password_stdin = click.option(
    "--password-stdin", is_flag=True, required=True, help="Read the password from standard input."
)

UNLIMITED = 100_000
"""Columns, where nobody looks at a screen."""
STYLES = {"suspended": "yellow", "signing": "green", "next": "cyan"}


def echo_json(value: Any) -> None:
    """Print a value as one JSON document."""
    sys.stdout.flush()
    # With PYTHONUNBUFFERED=1, `sys.stdout.buffer` does not finish a long write that a signal cuts short.
    with open(sys.stdout.fileno(), "wb", closefd=False) as stdout:
        stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def echo_table(rows: Iterable[Sequence[str]], *headings: str) -> None:
    """Print rows in columns. On a terminal what is too wide is folded; elsewhere a row is a line, in plain text."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(headings))
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == "id")
    for row in rows:
        table.add_row(*[Text(printable(cell), STYLES.get(cell, ""), overflow="fold") for cell in row])
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else UNLIMITED
    console = Console(file=StringIO(), width=width, force_terminal=is_terminal, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        echo(line.rstrip())


def echo(text: str) -> None:
    """Print a line. What standard output cannot encode is escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def printable(text: str) -> str:
    """A text that strangers chose, with all escaped that could steer a terminal or hide something."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def must_ask(yes: bool) -> bool:
    """Whether a person has to agree first.

    Raises:
        UsageError: one has to, and nobody is there.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("This cannot be undone, and nobody can be asked here: add --yes.")
    return not yes


def ask(question: str) -> None:
    """Go on only if the person at the terminal agrees."""
    click.confirm(question, abort=True, err=True)


def password() -> str:
    """The first line of standard input; at a terminal it is not shown."""
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    try:
        return sys.stdin.buffer.readline().rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        raise click.ClickException("The password on standard input is not UTF-8.") from error
