"""docs/security.md: every test that it names must exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text()
REFERENCES = sorted(set(re.findall(r"tests/[\w/]+\.py(?:::\w+)?", TEXT)))
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| \d\.\d", line)]


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_named_test_exists(reference: str) -> None:
    path, _, name = reference.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not name or name in tests


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split()[1])
def test_every_requirement_has_an_answer_and_every_met_requirement_a_test(row: str) -> None:
    _, requirement, answer, how, shown_by, _ = re.split(r" ?\| ?", row)
    assert requirement
    assert how
    assert re.match(r"yes\b|n/a$|\*\*no\*\*$|\*\*in part\*\*$", answer), answer
    assert bool(re.search(r"tests/", shown_by)) is (answer != "n/a")
