"""The whole application on its own database, and callers that send HTTP requests to it."""

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from email import message_from_string, policy
from email.message import EmailMessage
from email.parser import HeaderParser
from functools import cache
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import httpx

from kingpost import main, settings
from kingpost.accounts.registration.service import NewAccount
from kingpost.auth.passwords.hashing import HashingCost
from kingpost.emails import address
from kingpost.http.app.application import Application
from kingpost.main import Running
from kingpost.model import ADMIN, DEFAULT_ROLES, OPERATOR
from kingpost.settings import Settings

ORIGIN = "http://127.0.0.1:8000"
ADDRESS = "192.0.2.7"
PASSWORD = "correct horse battery"
SECRET = "the master secret of the tests, long enough"
UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
"""A valid id that no object has."""
MINIMAL_COST = HashingCost(memory_kib=8, passes=1)
"""The lowest cost of Argon2: most tests create accounts, and few test their hashes."""
TIMEOUT = 30.0
"""Seconds to wait for mail, far more than it normally takes."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A user with an account and a session. `http` sends the access token with every request."""

    id: str
    email: str
    password: str
    grant: dict[str, Any]
    http: httpx.AsyncClient

    @property
    def access_token(self) -> str:
        return str(self.grant["access_token"])

    @property
    def refresh_token(self) -> str:
        return str(self.grant["refresh_token"])

    @property
    def session_id(self) -> str:
        return str(self.grant["session_id"])


@dataclass(frozen=True, slots=True)
class Stack:
    """A running application: real middleware, tokens, hashes and database."""

    app: Application
    kingpost: Running

    def client(
        self, token: str | None = None, origin: str = ORIGIN, address: str = ADDRESS, **headers: str
    ) -> httpx.AsyncClient:
        """An HTTP client that checks every response for what the contract guarantees of all responses."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        app: Any = self.app
        transport = httpx.ASGITransport(app, client=(address, 50000))
        hooks = {"response": [assert_common_guarantees]}
        return httpx.AsyncClient(transport=transport, base_url=origin, headers=headers, event_hooks=hooks)

    async def sign_up(self, email: str | None = None, password: str = PASSWORD, **fields: Any) -> Caller:
        """A new account that is logged in."""
        email = email or f"{secrets.token_hex(8)}@example.com"
        body = {"email": email, "password": password, **fields}
        response = await self.client().post("/api/v1/users", json=body)
        assert response.status_code == 201, response.text
        return await self.log_in(email, password)

    async def log_in(self, email: str, password: str = PASSWORD) -> Caller:
        """A new session of an account."""
        response = await self.client().post("/api/v1/auth/login", json={"email": email, "password": password})
        assert response.status_code == 200, response.text
        grant = response.json()
        return Caller(grant["user"]["id"], email, password, grant, self.client(grant["access_token"]))

    async def sign_up_admin(self) -> Caller:
        """An administrator, created as the command line creates one."""
        email = f"{secrets.token_hex(8)}@example.com"
        new, roles = NewAccount(email, PASSWORD), (*DEFAULT_ROLES, ADMIN)
        await self.kingpost.accounts.registration.create(OPERATOR, new, roles, email_verified=True)
        return await self.log_in(email)

    async def mails(self, to: str) -> list[EmailMessage]:
        """Wait until all queued mail has been sent; return all messages to an address, oldest first."""
        deadline = time.monotonic() + TIMEOUT
        async with self._database() as execute:
            while await execute("SELECT id FROM jobs WHERE due_at IS NOT NULL"):
                assert time.monotonic() < deadline, "jobs are still waiting"
                await asyncio.sleep(0.01)
        outbox = Path(self.kingpost.settings.mail_url.removeprefix("file:"))
        files = sorted(outbox.glob("*.eml"))  # Named by ids, which carry the time.
        wanted = f"{to.rpartition('@')[0]}@{address(to).key.rpartition('@')[2]}"
        found = [file.read_text() for file in files if recipient(file) == wanted]
        return [message_from_string(text, policy=policy.default) for text in found]

    async def mail(self, to: str) -> EmailMessage:
        """The newest message to an address."""
        messages = await self.mails(to)
        assert messages, f"there is no message to {to}"
        return messages[-1]

    async def execute(self, statement: str) -> Sequence[Any]:
        """Run a statement directly on the database, without the application; return the rows."""
        async with self._database() as execute:
            return await execute(statement)

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncIterator[Callable[[str], Awaitable[Sequence[Any]]]]:
        url = self.kingpost.settings.database_url
        if url.startswith("sqlite:///"):
            # Python's sqlite3 is a second copy of SQLite; two copies in one process release each other's file locks.
            with contextlib.closing(apsw.Connection(url.removeprefix("sqlite:///"))) as file:
                file.set_busy_timeout(5000)

                async def execute(statement: str) -> Sequence[Any]:
                    return list(file.execute(statement))

                yield execute
        else:
            connection = await asyncpg.connect(url)
            try:
                yield connection.fetch
            finally:
                await connection.close()


@cache
def recipient(file: Path) -> str:
    """Return the recipient of a message in a file. Cached: the outbox of a test run holds thousands of messages."""
    message = HeaderParser(policy=policy.default).parsestr(file.read_text())
    return str(message["To"].addresses[0].addr_spec)


type MakeUser = Callable[..., Awaitable[Caller]]
type Serve = Callable[..., Awaitable[Stack]]


@contextlib.asynccontextmanager
async def running(
    directory: Path, *, hashing_cost: HashingCost = MINIMAL_COST, **variables: str
) -> AsyncIterator[Stack]:
    """A stack with these `KINGPOST_*` variables, by default on SQLite in the directory."""
    async with main.running(load(directory, **variables), hashing_cost=hashing_cost) as kingpost:
        yield Stack(kingpost.application, kingpost)


def load(directory: Path, **variables: str) -> Settings:
    """Return settings with these `KINGPOST_*` variables, by default for SQLite in the directory.

    All tests share an IP address and many use wrong passwords, so by default logins are not rate-limited.
    """
    defaults = {
        "DATABASE_URL": f"sqlite:///{directory}/kingpost.db",
        "SECRET": SECRET,
        "RATE_LIMIT_LOGIN": "off",
        "MAIL_URL": f"file:{directory}/outbox",
    }
    given = defaults | variables
    return settings.load({f"KINGPOST_{name}": value for name, value in given.items()}, directory)


async def assert_common_guarantees(response: httpx.Response) -> None:
    """Check what is guaranteed of every response (section 1 of the contract)."""
    headers, request = response.headers, response.request
    assert 1 <= len(headers["x-request-id"]) <= 128
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert ("strict-transport-security" in headers) == (request.url.scheme == "https")
    if "authorization" in request.headers and request.url.path.startswith("/api/"):
        assert headers["cache-control"].startswith(("private", "no-store"))
    assert response.status_code != 500
    assert "server" not in headers
    if response.status_code in (204, 304):
        assert "content-type" not in headers
    else:
        assert "content-type" in headers


def assert_problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """Check that a response is a complete problem document of this kind, and return the document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem: dict[str, Any] = response.json()
    required = {"type", "title", "status", "detail", "instance", "request_id"}
    assert required <= problem.keys() <= required | {"errors", "more", "current"}
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["instance"] == response.request.url.raw_path.decode().partition("?")[0]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["title"]
    assert problem["detail"]
    if status == 401:
        assert response.headers["www-authenticate"].startswith("Bearer")
    for fault in problem.get("errors", ()):
        assert len(fault.keys() & {"pointer", "parameter", "header"}) == 1
        assert fault["detail"]
        assert fault["code"]
    return problem


def faults_of(response: httpx.Response) -> list[str]:
    """The sorted locations of all faults in the input, as the response names them; one per fault."""
    problem = assert_problem(response, 400, "invalid-request")
    return sorted(fault.get("pointer", fault.get("parameter", fault.get("header"))) for fault in problem["errors"])


def token_in(message: EmailMessage) -> str:
    """The token in the link of a message. Both parts of the message must contain the same one."""
    tokens = set()
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        assert part is not None
        tokens |= set(re.findall(r"\?token=([\w.~-]+)", part.get_content()))
    (token,) = tokens
    return str(token)


def next_link(response: httpx.Response) -> str | None:
    """The target of the link to the next page (RFC 8288)."""
    return response.links.get("next", {}).get("url")
