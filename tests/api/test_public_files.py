"""What a browser or a scanner gets from a server: the files that are meant for it, as what they are, and no others."""

from importlib.resources import files

import httpx
import pytest

from kingpost.main import ROUTES
from kingpost.problems import CATALOGUE
from tests.api.stack import Caller, assert_problem

PAGES = ["/docs", "/email/verify", "/password/reset", *(f"/problems/{slug}" for slug in CATALOGUE)]
FILES = {
    "/docs/docs.js": "text/javascript",
    "/docs/swagger-ui-bundle.js": "text/javascript",
    "/docs/swagger-ui.css": "text/css",
    "/mail/page.js": "text/javascript",
    "/mail/page.css": "text/css",
    "/mail/icon.svg": "image/svg+xml",
}
HIDDEN = [
    *("/.git/HEAD", "/.git/config", "/.svn/entries", "/.env", "/.well-known/", "/.venv/bin/python"),
    *("/kingpost.db", "/kingpost.secret", "/kingpost.toml", "/outbox", "/pyproject.toml", "/requirements.txt"),
    *("/docs/docs.html", "/docs/swagger_ui/docs.js", "/docs/NOTICE", "/docs/VERSION", "/docs/routes.py"),
    *("/mail", "/mail/", "/mail/verify.html", "/mail/page.js.map", "/mail/page.js~", "/mail/PAGE.JS", "/docs/"),
    *("/metrics", "/debug", "/admin", "/server-status", "/api/v1/debug", "/swagger.json", "/graphql", "/robots.txt"),
]


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_html_in_utf_8(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.text.startswith("<!doctype html>")


@pytest.mark.parametrize("path", FILES)
async def test_a_file_has_its_media_type_and_charset(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    charset = "; charset=utf-8" if FILES[path].startswith("text/") else ""
    assert (response.status_code, response.headers["content-type"]) == (200, FILES[path] + charset)
    package = "kingpost.http.openapi" if path.startswith("/docs/") else "kingpost.accounts.pages"
    folder = "swagger_ui" if path.startswith("/docs/") else "files"
    assert response.content == files(package).joinpath(folder, path.rpartition("/")[2]).read_bytes()


@pytest.mark.parametrize("path", HIDDEN)
async def test_nothing_else_is_served(alice: Caller, path: str) -> None:
    assert_problem(await alice.http.get(path), 404, "not-found")


@pytest.mark.parametrize("end", ["/x.css", "/nothing.js", ".css", "%2Fx.css", ";x.css", "%00.css", "%3F.css"])
async def test_private_data_cannot_look_like_a_static_file(alice: Caller, end: str) -> None:
    for path in ("/api/v1/users/me", "/api/v1/auth/sessions", "/api/v1/resources"):
        response = await alice.http.get(path + end)
        assert response.status_code in (400, 404, 405)
        assert response.headers["cache-control"] == "no-store"


async def test_only_what_is_the_same_for_everyone_may_be_cached_by_others(alice: Caller) -> None:
    paths = [route.path for route in ROUTES if route.method == "GET" and "{" not in route.path]
    public = {path for path in paths if "public" in (await alice.http.get(path)).headers.get("cache-control", "")}
    assert public == {"/openapi.json", "/docs", "/.well-known/jwks.json"}
