"""What the code of the server never does: it runs no code and no command, unpickles nothing, and calls nobody else."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/kingpost").rglob("*.py"))

CODE = {"eval", "exec", "compile", "__import__", "importlib.import_module"}
COMMANDS = {"os.system", "os.popen", "os.fork", "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"}
COMMANDS |= {
    f"os.{kind}{end}" for kind in ("exec", "spawn") for end in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")
}
CONNECTIONS = {"asyncio.open_connection", "socket.create_connection", "urllib.request.urlopen"}
CALLS = CODE | COMMANDS | CONNECTIONS
METHODS = {"create_connection", "create_datagram_endpoint", "subprocess_exec", "subprocess_shell"}
"""Methods of event loops."""
MODULES = {"code", "dill", "marshal", "pickle", "pty", "shelve", "subprocess"}
MODULES |= {"html.parser", "lxml", "plistlib", "xml", "yaml", "tarfile", "zipfile"}
MODULES |= {
    "aiohttp",
    "ftplib",
    "http.client",
    "httpx",
    "imaplib",
    "requests",
    "smtplib",
    "telnetlib",
    "urllib.request",
}

ALLOWED = {
    "cli/lazy.py": {"importlib.import_module"},  # The module of a command. Its name comes from the table of commands.
}
CLIENTS = {
    "asyncpg": "storage/postgresql/",
    "redis": "auth/throttling/valkey.py",
    "aiosmtplib": "mail/smtp.py",
}
"""The libraries that connect to other servers, and where each is used: for PostgreSQL, Valkey and the mail server."""


def place(path: Path) -> str:
    return path.relative_to(ROOT / "src/kingpost").as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names_of_imports(tree: ast.AST) -> dict[str, str]:
    """Return what each imported name stands for: `import_module` for `importlib.import_module`."""
    froms = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module)
    return {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in froms for alias in node.names}


def dangers(source: str) -> set[str]:
    """Return the dangerous calls and modules in a source text."""
    tree = ast.parse(source)
    known = names_of_imports(tree)
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)}
    calls = {known.get(name, name) for name in used} & CALLS
    methods = {name for name in used if name.rpartition(".")[2] in METHODS and "." in name}
    modules = {name for name in imports(tree) if any(f"{name}.".startswith(f"{module}.") for module in MODULES)}
    return calls | methods | modules


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_no_module_does_anything_dangerous(path: Path) -> None:
    assert dangers(path.read_text()) == ALLOWED.get(place(path), set())


@pytest.mark.parametrize(
    "source",
    [
        *("eval(text)", "run = exec", "import pickle", "from pickle import loads", "import os\nos.system('ls')"),
        *("from os import system as run\nrun('ls')", "from subprocess import run", "import xml.etree.ElementTree as x"),
        *("from importlib import import_module\nimport_module(name)", "loop.create_connection(made, host)"),
        *("from urllib import request", "from urllib.request import urlopen", "import http.client"),
    ],
)
def test_the_search_finds_every_spelling(source: str) -> None:
    assert dangers(source)


@pytest.mark.parametrize("library", CLIENTS)
def test_a_library_that_connects_is_used_in_one_place(library: str) -> None:
    using = {
        place(path)
        for path in SOURCES
        if library in {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
    }
    assert using
    assert all(name.startswith(CLIENTS[library]) for name in using)


def test_the_server_imports_only_its_declared_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[^a-z0-9_-]", dependency)[0] for dependency in project["dependencies"]}
    distributions = importlib.metadata.packages_distributions()
    roots = {name.split(".")[0] for path in SOURCES for name in imports(ast.parse(path.read_text()))}
    others = roots - sys.stdlib_module_names - {"kingpost"}
    used = {name.lower().replace("_", "-") for root in others for name in distributions[root]}
    assert used <= declared
