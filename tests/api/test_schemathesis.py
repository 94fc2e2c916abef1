"""The OpenAPI document and the server say the same: requests made from the one, sent to the other."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from kingpost.http.openapi import document as openapi
from kingpost.main import ROUTES
from tests.servers import free_port, wait_for_port

type Case = schemathesis.Case

pytestmark = pytest.mark.slow

KINGPOST = Path(sys.executable).with_name("kingpost")
ADMIN = "admin@example.com"
PASSWORD = "staple battery horse"  # Not the one of the document's examples.
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

REFUSALS = ["400", "401", "403", "404", "406", "409", "412", "413", "415", "429", "431"]
CONFIG = schemathesis.Config.from_dict(
    {
        "generation": {"max-examples": 8, "deterministic": True, "allow-x00": False, "with-security-parameters": False},
        # A wrong version may be told before what is wrong with the body.
        "checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}},
    }
)
SCHEMA = schemathesis.pytest.from_fixture("schema")
"""Made when the test runs: what it prepares takes seconds, which runs of other tests need not wait for."""
RULES: list[Any] = [positive_data_acceptance]
"""A schema cannot state every rule (no common passwords, cursors that are signed, integers within ±2^53), so
what it calls good may still be refused."""


@pytest.fixture(scope="module")
def schema() -> Any:
    return schemathesis.openapi.from_dict(openapi.document(ROUTES, "http://127.0.0.1:8000"), config=CONFIG)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The origin of a server with an administrator."""
    directory, port = tmp_path_factory.mktemp("schemathesis"), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KINGPOST_")}
    environment["KINGPOST_RATE_LIMIT_LOGIN"] = "off"
    create_admin = [str(KINGPOST), "users", "create-admin", ADMIN, "--password-stdin"]
    subprocess.run(create_admin, cwd=directory, env=environment, input=PASSWORD.encode(), check=True)
    process = subprocess.Popen([KINGPOST, "serve", "--port", str(port)], cwd=directory, env=environment)
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


THINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "resources": ("?owner=me&limit=1", {"type": "note", "data": {}}),
    "api-keys": ("", {"name": "A key", "scopes": ["users:read"]}),
}
"""What an account may have many of: the query for its own ones, and the body that makes one."""


class Visitor:
    """Somebody who is signed in, and has things that the ids in paths can name."""

    def __init__(self, origin: str, email: str) -> None:
        self.session = requests.Session()
        self._client = httpx.Client(base_url=origin)
        self._credentials = {"email": email, "password": PASSWORD}
        self._user_id = ""

    def close(self) -> None:
        self.session.close()
        self._client.close()

    def headers(self) -> dict[str, str]:
        """An access token; a new one when a test has logged out or deleted the account."""
        if self._client.get("/api/v1/users/me").status_code != 200:
            self._client.headers.pop("Authorization", None)
            login = self._client.post("/api/v1/auth/login", json=self._credentials)
            if login.status_code == 401:
                self._client.post("/api/v1/users", json=self._credentials).raise_for_status()
                login = self._client.post("/api/v1/auth/login", json=self._credentials)
            self._client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
            self._user_id = login.json()["user"]["id"]
        return {"Authorization": self._client.headers["Authorization"]}

    def something_at(self, path: str) -> str:
        """The id of something that exists and that the visitor may change."""
        for collection, (query, body) in THINGS.items():
            if f"/{collection}/" in path:
                items = self._client.get(f"/api/v1/{collection}{query}").json()["items"]
                return str((items or [self._client.post(f"/api/v1/{collection}", json=body).json()])[0]["id"])
        if "/sessions/" in path:
            items = self._client.get("/api/v1/auth/sessions").json()["items"]
            return str(min(items, key=lambda item: bool(item["current"]))["id"])
        if self._credentials["email"] != ADMIN:
            return self._user_id
        items = self._client.get("/api/v1/users?sort=-created_at&limit=1").json()["items"]
        if items[0]["email"] != ADMIN:
            return str(items[0]["id"])
        victim = {"email": "victim@example.com", "password": PASSWORD}
        return str(self._client.post("/api/v1/users", json=victim).json()["id"])


@pytest.fixture(autouse=True)
def _known_to_schemathesis(request: pytest.FixtureRequest) -> None:
    # Schemathesis 4.32 asks for a name that pytest 9.2 no longer has.
    request.node._nodeid = request.node.nodeid


@pytest.fixture
def user(server: str) -> Generator[Visitor]:
    visitor = Visitor(server, "guest@example.com")
    yield visitor
    visitor.close()


@pytest.fixture
def admin(server: str) -> Generator[Visitor]:
    visitor = Visitor(server, ADMIN)
    yield visitor
    visitor.close()


def check(case: Case, visitor: Visitor, server: str) -> None:
    headers = visitor.headers()
    if UUID.fullmatch(str(case.path_parameters.get("id", ""))):
        case.path_parameters["id"] = visitor.something_at(case.path)
    case.call_and_validate(server, visitor.session, headers, excluded_checks=RULES)


@pytest.mark.timeout(300)
@SCHEMA.parametrize()
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_does_for_a_user_what_its_document_says(case: Case, user: Visitor, server: str) -> None:
    check(case, user, server)


@pytest.mark.timeout(300)
@SCHEMA.parametrize()
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_does_for_an_administrator_what_its_document_says(case: Case, admin: Visitor, server: str) -> None:
    check(case, admin, server)
