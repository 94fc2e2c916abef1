"""The documentation matches the code: settings, modules, routes, files."""

import re
from pathlib import Path

import pytest

import kingpost
from kingpost.cli import routes
from kingpost.settings import DERIVED, PREFIX, SETTINGS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
ROW = re.compile(r"^\| (`KINGPOST_[^|]*) \| ([^|]*) \| (?:[^|]*) \|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# The page describes these defaults in words.
IN_WORDS = {"secret", *(name for name, setting in SETTINGS.items() if setting.default is DERIVED)}


def table() -> dict[str, str]:
    """Return the defaults in the table of settings, by setting. One row may have several settings, in order."""
    defaults: dict[str, str] = {}
    for names, default in ROW.findall((ROOT / "docs" / "configuration.md").read_text()):
        settings = [name.removeprefix(PREFIX).lower() for name in CODE.findall(names)]
        values = CODE.findall(default)
        for place, name in enumerate(settings):
            assert name not in defaults, f"{name} is listed twice"
            defaults[name] = values[place] if place < len(values) else default
    return defaults


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_has_exactly_the_settings() -> None:
    assert table().keys() == SETTINGS.keys()


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - IN_WORDS))
def test_the_table_has_the_default(name: str) -> None:
    default = SETTINGS[name].default
    if default in (None, (), frozenset()):
        assert table()[name] == "none"
    else:
        assert table()[name] == (f"{default:g}" if isinstance(default, float) else str(default))
        assert SETTINGS[name].parse(table()[name]) == default


def test_the_architecture_lists_every_package_and_module() -> None:
    package = Path(kingpost.__file__).parent
    page_text = (ROOT / "docs" / "architecture.md").read_text().partition("```")[2].partition("```")[0]
    names = {path.name for path in package.glob("*.py") if path.name != "__init__.py"}
    names |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert not {name for name in names if not re.search(rf"(?<![\w/]){re.escape(name)}", page_text)}
    assert set(re.findall(r"\w+\.py", page_text)) <= names


def test_the_page_of_routes_matches_the_code() -> None:
    remade = "If the routes are meant to change: `python3 dev.py kingpost routes --markdown > docs/routes.md`."
    assert (ROOT / "docs" / "routes.md").read_text() == routes.markdown(), remade


def test_the_index_lists_every_decision() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = LINK.findall((folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_has_a_target(page: Path) -> None:
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
