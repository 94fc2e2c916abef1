"""The pages of the links in mail, in a real browser: a token is used only when the button is pressed."""

import re
from collections.abc import Generator
from email import message_from_bytes, policy
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.system.conftest import Serve, factory
from tests.system.running import PASSWORD, Server, eventually
from tests.system.test_docs_page import FOR_MS

NEW_PASSWORD = "staple battery horse"
PAGES = ("/email/verify", "/email/stop", "/password/reset")


@pytest.fixture(scope="module")
def serve_here(tmp_path_factory: pytest.TempPathFactory) -> Generator[Serve]:
    yield from factory(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def server(serve_here: Serve) -> Server:
    return serve_here(SIGNUP="verified")


class Visit:
    """A page, its requests, and the errors that the browser reports."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._listen)

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def says(self, text: str) -> None:
        expect(self.page.get_by_role("status")).to_contain_text(text)


@pytest.fixture
def visit(server: Server, browser: Browser) -> Generator[Visit]:
    with browser.new_context(color_scheme="dark") as context:
        context.set_default_timeout(FOR_MS)
        yield Visit(context.new_page())


def link_to(server: Server, address: str, page: str) -> str:
    """Return the link to a page in the newest message to an address."""

    def newest() -> str:
        for file in sorted((server.directory / "outbox").glob("*.eml"), reverse=True):
            message = message_from_bytes(file.read_bytes(), policy=policy.default)
            text = message.get_body(("plain",))
            assert text is not None
            link = re.search(rf"{re.escape(server.url)}{page}\?token=\S+", text.get_content())
            if message["To"] == address and link is not None:
                return link[0]
        return ""

    return eventually(newest)


def sign_up(server: Server, address: str) -> str:
    """Sign up, and return the link that confirms the address."""
    answer = httpx.post(f"{server.url}/api/v1/users", json={"email": address, "password": PASSWORD})
    assert answer.status_code == 202, answer.text
    return link_to(server, address, "/email/verify")


def login(server: Server, address: str, password: str = PASSWORD) -> int:
    return httpx.post(f"{server.url}/api/v1/auth/login", json={"email": address, "password": password}).status_code


def reset_link(server: Server, address: str) -> str:
    answer = httpx.post(f"{server.url}/api/v1/auth/password/forgot", json={"email": address})
    assert answer.status_code == 202
    return link_to(server, address, "/password/reset")


def test_pressing_the_button_confirms_an_address(server: Server, visit: Visit) -> None:
    link = sign_up(server, "ada@example.com")
    # Mail filters do this: they fetch the link, and even render the page.
    assert httpx.get(link).status_code == 200
    visit.page.goto(link)
    visit.page.wait_for_load_state("networkidle")
    assert login(server, "ada@example.com") != 200
    assert visit.page.url == f"{server.url}/email/verify"
    assert visit.page.get_by_role("button").count() == 1
    expect(visit.page.locator("dl")).to_contain_text("127.0.0.1")
    expect(visit.page.locator("dl")).to_contain_text("python-httpx")
    visit.page.get_by_role("button", name="Confirm").click()
    visit.says("was confirmed")
    assert visit.page.get_by_role("button").count() == 0
    assert login(server, "ada@example.com") == 200
    assert {url for url in visit.asked if not url.startswith(server.url)} == set()
    assert visit.errors == []

    visit.page.goto(link)
    visit.page.get_by_role("button", name="Confirm").click()
    visit.says("is no longer valid")


def test_the_page_says_what_a_confirmation_removes_before_the_button_is_pressed(server: Server, visit: Visit) -> None:
    visit.page.goto(sign_up(server, "mary@example.com"))
    text = visit.page.inner_text("form")
    for word in ("never confirmed before", "second factor", "API keys", "ends all its sessions", "in the app"):
        assert word in text
    assert text.index("second factor") < text.index("Confirm")


def test_pressing_the_button_stops_a_change_of_address(server: Server, visit: Visit) -> None:
    old, new = "ida@example.com", "countess@example.com"
    token = sign_up(server, old).partition("?token=")[2]
    httpx.post(f"{server.url}/api/v1/auth/email/verify", json={"token": token}).raise_for_status()
    client = server.client().log_in(old)
    change = {"email": new, "current_password": PASSWORD}
    path = f"/api/v1/users/{client.tokens['user']['id']}"
    assert client.patch(path, json=change).json()["pending_email"] == new
    link = link_to(server, old, "/email/stop")
    assert httpx.get(link).status_code == 200
    visit.page.goto(link)
    visit.page.wait_for_load_state("networkidle")
    assert client.get(path).json()["pending_email"] == new
    assert "choose a new password" in visit.page.inner_text("form")
    visit.page.get_by_role("button", name="Stop the change").click()
    visit.says("was stopped")
    assert "choose a new password" in visit.page.get_by_role("status").inner_text()
    assert client.get(path).json()["pending_email"] is None
    assert visit.errors == []

    visit.page.goto(link)
    visit.page.get_by_role("button").click()
    visit.says("the change was stopped, withdrawn or confirmed before")


def test_a_new_password_can_be_set_with_the_keyboard_alone(server: Server, visit: Visit) -> None:
    confirm = sign_up(server, "grace@example.com")
    token = confirm.partition("?token=")[2]
    httpx.post(f"{server.url}/api/v1/auth/email/verify", json={"token": token}).raise_for_status()
    visit.page.goto(reset_link(server, "grace@example.com"))
    visit.page.keyboard.press("Tab")
    expect(visit.page.get_by_label("New password")).to_be_focused()
    visit.page.keyboard.type("1234567")
    visit.page.keyboard.press("Enter")
    # The page shows the message of the server and focuses the field; the link is still valid.
    expect(visit.page.get_by_role("status")).to_have_class("fault")
    expect(visit.page.get_by_role("status")).to_contain_text(re.compile("password|characters|length", re.IGNORECASE))
    expect(visit.page.get_by_label("New password")).to_be_focused()
    assert visit.page.get_by_label("New password").get_attribute("aria-invalid") == "true"
    visit.page.keyboard.press("Control+A")
    visit.page.keyboard.type(NEW_PASSWORD)
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Enter")
    visit.says("Your password was changed")
    assert login(server, "grace@example.com") == 401
    assert login(server, "grace@example.com", NEW_PASSWORD) == 200


@pytest.mark.parametrize("path", PAGES)
def test_a_truncated_link_is_reported_without_a_request(server: Server, visit: Visit, path: str) -> None:
    for query in ("", "?token="):
        visit.page.goto(f"{server.url}{path}{query}")
        visit.says("is incomplete")
        assert visit.page.get_by_role("button").count() == 0
    assert not [url for url in visit.asked if "/api/" in url]
    assert visit.errors == []


def test_an_unreachable_server_is_reported_and_the_button_stays(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    server = serve()
    visit.page.goto(f"{server.url}/email/verify?token=x")
    server.kill()
    visit.page.get_by_role("button").click()
    visit.says("cannot be reached")
    expect(visit.page.get_by_role("button")).to_be_focused()


@pytest.mark.parametrize("path", PAGES)
def test_the_page_explains_that_it_needs_scripts(server: Server, browser: Browser, path: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{server.url}{path}?token=x")
        assert "requires JavaScript" in page.inner_text("main")
        assert not page.get_by_role("button").is_visible()


@pytest.mark.parametrize("path", PAGES)
def test_the_pages_are_not_cached_and_load_only_their_own_files(server: Server, path: str) -> None:
    for query in ("", "?token=x", "?token="):
        answer = httpx.get(f"{server.url}{path}{query}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        rules = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
        assert rules == {
            "default-src": "'none'",
            **dict.fromkeys(("script-src", "style-src", "img-src", "connect-src"), "'self'"),
            **dict.fromkeys(("form-action", "base-uri", "frame-ancestors"), "'none'"),
        }
        assert "style=" not in answer.text
        assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=", answer.text)
    assert httpx.get(f"{server.url}/mail/secret.txt").status_code == 404
