"""docs/security.md: every requirement has an answer, and every test that it names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text()
REFERENCES = sorted(set(re.findall(r"tests/[\w/]+\.py(?:::\w+)?", TEXT)))
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| \d+\.\d", line)]
FIRST_OF_LEVEL_3 = {
    **{"1.1": 3, "1.2": 10, "1.3": 12, "1.4": 4, "1.5": 3},
    **{"2.1": 4, "2.2": 4, "2.3": 5, "2.4": 2},
    **{"4.1": 4, "4.2": 2, "4.3": 3, "4.4": 5},
    **{"6.1": 4, "6.2": 13, "6.3": 5, "6.4": 5, "6.5": 6, "6.6": 4, "6.8": 5},
    **{"7.1": 4, "7.2": 5, "7.3": 3, "7.4": 6, "7.5": 3, "7.6": 3},
    **{"8.1": 3, "8.2": 4, "8.3": 2, "8.4": 2},
    **{"9.1": 4, "9.2": 5},
    **{"12.1": 4, "12.2": 3, "12.3": 5},
    **{"13.1": 2, "13.2": 6, "13.3": 3, "13.4": 6},
    **{"14.1": 3, "14.2": 5, "14.3": 4},
    **{"15.1": 4, "15.2": 4, "15.3": 8},
    **{"16.1": 2, "16.2": 6, "16.3": 5, "16.4": 4, "16.5": 4},
}
"""The sections of ASVS 5.0.0. In each, the requirements of levels 1 and 2 come first."""


def numbers_of(row: str) -> list[str]:
    """Return the requirements of a row. It begins with one number, or with a range in one section."""
    first, last = re.findall(r"^\| ([\d.]+)(?:–([\d.]+))?", row)[0]
    section, _, number = first.rpartition(".")
    end = int(last.rpartition(".")[2] or number)
    return [f"{section}.{n}" for n in range(int(number), end + 1)]


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
    has_test = "tests/" in shown_by
    if answer.startswith("yes") or answer == "**in part**":
        assert has_test
    elif answer == "n/a":
        assert not has_test


def test_every_requirement_of_levels_1_and_2_is_listed_in_order() -> None:
    expected = [f"{section}.{n}" for section, end in FIRST_OF_LEVEL_3.items() for n in range(1, end)]
    assert [number for row in ROWS for number in numbers_of(row)] == expected
