"""The table of commands: it matches the commands, and is read without importing them."""

import subprocess
import sys

import click
import pytest

from kingpost.cli import COMMANDS, main

LISTING = """
import sys
from kingpost.cli import main
main({arguments!r}, standalone_mode=False)
print(*sorted(name for name in sys.modules if name.startswith("kingpost.")), file=sys.stderr)
"""


def imported_by(*arguments: str) -> set[str]:
    """Return the modules of Kingpost that a process has imported after running a command."""
    program = LISTING.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_help_line_is_the_first_line_of_the_help_of_the_command(name: str) -> None:
    context = click.Context(main)
    _, command, rest = main.resolve_command(context, [name, "--help"])
    assert command is not None
    assert command.help is not None
    assert (command.name, rest) == (name, ["--help"])
    assert command.help.partition("\n")[0] == COMMANDS[name]


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_no_command(option: str) -> None:
    assert imported_by(option) == {"kingpost.cli", "kingpost.cli.lazy"}


def test_a_command_imports_no_other_command() -> None:
    modules = imported_by("config", "--help")
    assert "kingpost.cli.config" in modules
    assert not modules & {f"kingpost.cli.{name}" for name in COMMANDS if name != "config"}
    assert "kingpost.main" not in modules
