"""The server behaves as its OpenAPI document states: requests generated from the document are sent to the server."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import allow_header_conformance, positive_data_acceptance, unsupported_method

from kingpost.http.openapi import document as openapi
from kingpost.main import ROUTES
from tests.servers import free_port, wait_for_port

type Case = schemathesis.Case

pytestmark = pytest.mark.slow

KINGPOST = Path(sys.executable).with_name("kingpost")
ADMIN = "admin@example.com"
PASSWORD = "staple battery horse"  # Not the password in the examples of the document.
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

REFUSALS = ["400", "401", "403", "404", "406", "409", "412", "413", "415", "429", "431"]
CONFIG = schemathesis.Config.from_dict(
    {
        "generation": {"max-examples": 8, "deterministic": True, "allow-x00": False, "with-security-parameters": False},
        # A wrong version may be reported before a fault in the body.
        "checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}},
    }
)
SCHEMA = schemathesis.pytest.from_fixture("schema")
"""Loaded only when the test runs: its preparation takes seconds, and runs of other tests should not wait for it."""
EXCLUDED_CHECKS: list[Any] = [positive_data_acceptance]
"""A schema cannot express every rule (no common passwords, signed cursors, integers within ±2^53), so the server may
refuse data that is valid by the schema."""


@pytest.fixture(scope="module")
def schema() -> Any:
    # As clients read it: Schemathesis cannot compare tuples that hold objects.
    document = msgspec.json.decode(msgspec.json.encode(openapi.document(ROUTES, "http://127.0.0.1:8000")))
    return schemathesis.openapi.from_dict(document, config=CONFIG)


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


COLLECTIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "resources": ("?owner=me&limit=1", {"type": "note", "data": {}}),
    "api-keys": ("", {"name": "A key", "scopes": ["users:read"], "password": PASSWORD}),
}
"""Collections of an account: the query for its own objects, and the body that creates one."""


class ApiUser:
    """A logged-in user, who owns an object for every id in a path."""

    def __init__(self, origin: str, email: str) -> None:
        self.session = requests.Session()
        self._client = httpx.Client(base_url=origin)
        self._credentials = {"email": email, "password": PASSWORD}
        self._user_id = ""

    def close(self) -> None:
        self.session.close()
        self._client.close()

    def headers(self) -> dict[str, str]:
        """A header with an access token: a new token if a test has logged out or deleted the account."""
        if self._client.get("/api/v1/users/me").status_code != 200:
            self._client.headers.pop("Authorization", None)
            login = self._client.post("/api/v1/auth/login", json=self._credentials)
            if login.status_code == 401:
                self._client.post("/api/v1/users", json=self._credentials).raise_for_status()
                login = self._client.post("/api/v1/auth/login", json=self._credentials)
            self._client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
            self._user_id = login.json()["user"]["id"]
        return {"Authorization": self._client.headers["Authorization"]}

    def existing_id(self, path: str) -> str:
        """The id of an existing object that the user may change."""
        for collection, (query, body) in COLLECTIONS.items():
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
def _set_node_id(request: pytest.FixtureRequest) -> None:
    # Schemathesis 4.32 uses an attribute that pytest 9.2 no longer has.
    request.node._nodeid = request.node.nodeid


@pytest.fixture
def user(server: str) -> Generator[ApiUser]:
    api_user = ApiUser(server, "guest@example.com")
    yield api_user
    api_user.close()


@pytest.fixture
def admin(server: str) -> Generator[ApiUser]:
    api_user = ApiUser(server, ADMIN)
    yield api_user
    api_user.close()


def check(case: Case, api_user: ApiUser, server: str) -> None:
    headers = api_user.headers()
    if UUID.fullmatch(str(case.path_parameters.get("id", ""))):
        case.path_parameters["id"] = api_user.existing_id(case.path)
    excluded = EXCLUDED_CHECKS
    if case.path == "/api/v1/users/me":
        # It has all methods of /users/{id}, for which `me` stands in the documentation.
        excluded = [*excluded, unsupported_method, allow_header_conformance]
    case.call_and_validate(server, api_user.session, headers, excluded_checks=excluded)


@pytest.mark.timeout(900)
@SCHEMA.parametrize()
@settings(suppress_health_check=list(HealthCheck))
def test_the_server_behaves_as_documented_for_a_user(case: Case, user: ApiUser, server: str) -> None:
    check(case, user, server)


@pytest.mark.timeout(900)
@SCHEMA.parametrize()
@settings(suppress_health_check=list(HealthCheck))
def test_the_server_behaves_as_documented_for_an_administrator(case: Case, admin: ApiUser, server: str) -> None:
    check(case, admin, server)
