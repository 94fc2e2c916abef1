"""A group of commands whose modules are imported when they are needed."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that imports the module of a command when the command is called.

    `--help`, `--version` and the suggestions for a misspelt name read only the table of help lines.
    """

    def __init__(self, name: str | None, *, package: str, help_lines: Mapping[str, str], **options: Any) -> None:
        """Create the group.

        Args:
            name, options: passed to `click.Group`.
            package: the package in which each command has a module of its own name, and in it a function of that name.
            help_lines: what the group's help says about each command, by name.
        """
        placeholders = {name: click.Command(name, short_help=line) for name, line in help_lines.items()}
        super().__init__(name, commands=placeholders, **options)
        self._package = package

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the name and the command that `args` begin with, and the remaining arguments.

        Raises:
            UsageError: there is no such command.
        """
        name, placeholder, rest = super().resolve_command(ctx, args)
        if name is None or placeholder is None:  # Shell completion asks for names that do not exist.
            return name, placeholder, rest
        command: click.Command = getattr(import_module(f"{self._package}.{name}"), name)
        return name, command, rest
