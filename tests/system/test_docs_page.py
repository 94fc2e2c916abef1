"""The documentation page in a real browser: it needs no other host, and a login on it authenticates its next calls."""

import gzip
import json
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import zstandard
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Response

from tests.system.conftest import Serve, factory
from tests.system.running import Server

ASSETS = ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
EMAIL, PASSWORD = "ada@example.com", "correct horse battery"
"""The values of the examples in the document, which the page fills in."""
FOR_MS = 20_000


@pytest.fixture(scope="module")
def serve_here(tmp_path_factory: pytest.TempPathFactory) -> Generator[Serve]:
    yield from factory(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def server(serve_here: Serve) -> Server:
    server = serve_here()
    with httpx.Client(base_url=server.url) as client:
        client.post("/api/v1/users", json={"email": EMAIL, "password": PASSWORD}).raise_for_status()
    return server


@dataclass
class DocsPage:
    """The page as a reader uses it, and all errors that the browser reports."""

    page: Page
    asked: list[str] = field(default_factory=list)
    """The addresses of all requests."""
    errors: list[str] = field(default_factory=list)
    """Errors and warnings on the console."""

    def open(self, origin: str) -> "DocsPage":
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._listen)
        self.page.goto(f"{origin}/docs")
        self.page.wait_for_selector(".opblock")
        return self

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def operation(self, name: str) -> Locator:
        """The block of an operation, expanded."""
        block = self.page.locator(f"[id$='-{name}'].opblock")
        if "is-open" not in (block.get_attribute("class") or ""):
            block.locator(".opblock-summary").click()
        return block

    def execute(self, name: str, body: Any = None) -> Response:
        """Fill in the body, if given; press "Execute"; wait until the response is shown."""
        block = self.operation(name)
        if body is not None:
            block.locator("textarea.body-param__text").fill(json.dumps(body))
        with self.page.expect_response(lambda response: "/api/" in response.url) as answered:
            block.locator("button.execute").click()
        response = answered.value
        block.locator(".live-responses-table .response-col_status", has_text=str(response.status)).wait_for()
        return response

    def stored(self) -> Any:
        """The data that the page stores in the browser."""
        return self.page.evaluate("[Object.keys(localStorage), Object.keys(sessionStorage), document.cookie]")


@pytest.fixture
def docs(server: Server, browser: Browser) -> Generator[DocsPage]:
    with browser.new_context() as context:
        context.set_default_timeout(FOR_MS)
        yield DocsPage(context.new_page()).open(server.url)


def test_the_page_shows_every_operation_and_requests_no_other_host(server: Server, docs: DocsPage) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    tags = docs.page.locator(".opblock-tag").evaluate_all("tags => tags.map(tag => tag.dataset.tag)")
    assert tags == [tag["name"] for tag in document["tags"]]
    assert docs.page.locator(".opblock").count() == sum(len(operations) for operations in document["paths"].values())
    own = {f"{server.url}/docs", f"{server.url}/openapi.json", *(f"{server.url}/docs/{name}" for name in ASSETS)}
    assert {url for url in docs.asked if not url.startswith("data:")} == own
    assert docs.errors == []


def test_a_login_on_the_page_authenticates_its_calls_until_the_logout(docs: DocsPage) -> None:
    login = docs.execute("login")
    assert "authorization" not in login.request.headers
    me = docs.execute("get_me")
    assert (me.status, me.json()["email"]) == (200, EMAIL)
    assert me.request.headers["authorization"] == f"Bearer {login.json()['access_token']}"
    assert docs.errors == []
    assert docs.stored() == [[], [], ""]

    assert docs.execute("logout").status == 204
    after = docs.execute("get_me")
    assert (after.status, "authorization" in after.request.headers) == (401, False)


def test_a_new_account_can_be_created_and_used_on_the_page(docs: DocsPage) -> None:
    account = {"email": "grace@example.com", "password": PASSWORD}
    assert docs.execute("create_user", account).status == 201
    docs.execute("login", account)
    created = docs.execute("create_resource")
    assert created.status == 201
    listed = docs.execute("list_resources")
    assert [item["id"] for item in listed.json()["items"]] == [created.json()["id"]]
    assert docs.errors == []


def test_a_refresh_on_the_page_replaces_the_token(docs: DocsPage) -> None:
    login = docs.execute("login").json()
    refreshed = docs.execute("refresh", {"refresh_token": login["refresh_token"]}).json()
    assert refreshed["access_token"] != login["access_token"]
    sent = docs.execute("get_me").request.headers["authorization"]
    assert sent == f"Bearer {refreshed['access_token']}"


def test_a_failed_login_does_not_authenticate_calls(docs: DocsPage) -> None:
    assert docs.execute("login", {"email": EMAIL, "password": "not the password"}).status == 401
    assert "authorization" not in docs.execute("get_me").request.headers


def test_the_page_calls_its_own_host_even_with_another_public_url(server: Server, browser: Browser) -> None:
    origin = f"http://localhost:{server.port}"
    with browser.new_context() as context:
        docs = DocsPage(context.new_page()).open(origin)
        assert docs.execute("login").url == f"{origin}/api/v1/auth/login"
        assert docs.errors == []


@pytest.mark.parametrize("name", ASSETS)
def test_the_files_of_the_page_are_the_same_in_every_encoding(server: Server, name: str) -> None:
    def fetch(coding: str) -> bytes:
        with httpx.stream("GET", f"{server.url}/docs/{name}", headers={"Accept-Encoding": coding}) as response:
            assert response.status_code == 200
            assert response.headers.get("content-encoding", "identity") == coding
            return b"".join(response.iter_raw())

    plain = fetch("identity")
    for _ in ("made", "kept"):
        assert gzip.decompress(fetch("gzip")) == plain
        assert zstandard.ZstdDecompressor().decompress(fetch("zstd")) == plain
