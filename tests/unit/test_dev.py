"""The pinned requirements that `dev.py` installs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ["requirements.txt", "requirements-dev.txt", "examples/movies/requirements.txt"]


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", FILES)
def test_pins_have_hashes_and_name_no_registry(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"://|^\s*-", text.replace("    --hash=sha256:", ""), re.MULTILINE)
    assert all("--hash=sha256:" in block for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:])


@pytest.mark.parametrize("name", FILES)
def test_the_development_requirements_include_the_others(name: str) -> None:
    assert pins(name)
    assert pins(name).items() <= pins("requirements-dev.txt").items()


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^a-z0-9-]", dependency)[0] for dependency in project["dependencies"]}
    assert names <= pins("requirements.txt").keys()


def test_help_lists_the_commands() -> None:
    printed = subprocess.run([sys.executable, ROOT / "dev.py"], check=True, capture_output=True, text=True).stdout
    for command in ("serve", "test", "unit", "api"):
        assert f"python3 dev.py {command} " in printed
