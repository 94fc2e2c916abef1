"""`kingpost routes`: one line for each route, without a configuration or a database."""

import json
from pathlib import Path

from kingpost.main import ROUTES
from tests.system.running import kingpost

COLUMNS = ["method", "path", "who", "scope", "handler"]


def printed(directory: Path, *options: str) -> str:
    """Return the output of `kingpost routes` in a directory where no server could start."""
    done = kingpost(directory, "routes", *options, DATABASE_URL="nonsense")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(directory.iterdir()) == []
    return done.stdout


def test_the_json_has_every_route_including_hidden_routes(tmp_path: Path) -> None:
    items = json.loads(printed(tmp_path, "--json"))["items"]
    assert len(items) == len({(item["method"], item["path"]) for item in items}) == len(ROUTES)
    assert all(list(item) == COLUMNS for item in items)
    by_name = {(item["method"], item["path"]): (item["who"], item["scope"], item["handler"]) for item in items}
    assert by_name["GET", "/docs"] == ("anyone", None, "kingpost.http.openapi.routes.docs")
    assert by_name["POST", "/api/v1/users"][:2] == ("optional", "users:admin")
    assert by_name["PUT", "/api/v1/users/{id}"][:2] == ("caller", "users:write,users:admin")
    assert by_name["GET", "/api/v1/users/me"][:2] == ("caller", "users:read")
    assert by_name["GET", "/api/v1/audit"] == ("admin", "audit:read", "kingpost.audit.routes.list_audit")


def test_the_table_and_the_page_match_the_json(tmp_path: Path) -> None:
    items = json.loads(printed(tmp_path, "--json"))["items"]
    table = [line.split() for line in printed(tmp_path).splitlines()]
    assert table == [COLUMNS, *[[value or "-" for value in item.values()] for item in items]]
    rows = [line.strip("|").split("|") for line in printed(tmp_path, "--markdown").splitlines() if line.startswith("|")]
    cells = [[cell.strip(" `") for cell in row] for row in rows]
    assert cells == [COLUMNS, ["---"] * 5, *[[value or "" for value in item.values()] for item in items]]
