"""The whole application on a database of its own, and callers that speak HTTP with it."""

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
NOBODY = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
"""An id that names nothing."""
QUICK = HashingCost(memory_kib=8, passes=1)
"""The least that Argon2 can do: most tests make accounts, and few are about their hashes."""
PATIENCE = 30.0
"""Seconds to wait for mail. It never takes nearly as long."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with an account and a session. `http` sends the access token with every request."""

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
        """An HTTP client that checks, of every response, what the contract promises of every response."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        app: Any = self.app
        transport = httpx.ASGITransport(app, client=(address, 50000))
        hooks = {"response": [assert_common_promises]}
        return httpx.AsyncClient(transport=transport, base_url=origin, headers=headers, event_hooks=hooks)

    async def sign_up(self, email: str | None = None, password: str = PASSWORD, **members: Any) -> Caller:
        """A new account that is signed in."""
        email = email or f"{secrets.token_hex(8)}@example.com"
        body = {"email": email, "password": password, **members}
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
        """An administrator, made as the command line makes one."""
        email = f"{secrets.token_hex(8)}@example.com"
        new, roles = NewAccount(email, PASSWORD), (*DEFAULT_ROLES, ADMIN)
        await self.kingpost.accounts.registration.create(OPERATOR, new, roles, email_verified=True)
        return await self.log_in(email)

    async def mails(self, to: str) -> list[EmailMessage]:
        """Return all messages to an address, oldest first, once everything that waited to be sent has been."""
        deadline = time.monotonic() + PATIENCE
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
        """Ask or change the database behind the application's back; return the rows that come back."""
        async with self._database() as execute:
            return await execute(statement)

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncIterator[Callable[[str], Awaitable[Sequence[Any]]]]:
        url = self.kingpost.settings.database_url
        if url.startswith("sqlite:///"):
            # Python's sqlite3 is another copy of SQLite; two in one process undo each other's file locks.
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
    """Return the address that a message in a file is for. The outbox of a run holds thousands."""
    message = HeaderParser(policy=policy.default).parsestr(file.read_text())
    return str(message["To"].addresses[0].addr_spec)


type MakeUser = Callable[..., Awaitable[Caller]]
type Serve = Callable[..., Awaitable[Stack]]


@contextlib.asynccontextmanager
async def running(directory: Path, *, hashing_cost: HashingCost = QUICK, **variables: str) -> AsyncIterator[Stack]:
    """A stack with these `KINGPOST_*` variables, on SQLite in a directory unless they say otherwise."""
    async with main.running(load(directory, **variables), hashing_cost=hashing_cost) as kingpost:
        yield Stack(kingpost.application, kingpost)


def load(directory: Path, **variables: str) -> Settings:
    """Return settings with these `KINGPOST_*` variables, on SQLite in a directory unless they say otherwise.

    All tests share an address and many guess wrong, so logins are not limited, unless a test says so.
    """
    defaults = {
        "DATABASE_URL": f"sqlite:///{directory}/kingpost.db",
        "SECRET": SECRET,
        "RATE_LIMIT_LOGIN": "off",
        "MAIL_URL": f"file:{directory}/outbox",
    }
    given = defaults | variables
    return settings.load({f"KINGPOST_{name}": value for name, value in given.items()}, directory)


async def assert_common_promises(response: httpx.Response) -> None:
    """What holds of every response (section 1 of the contract)."""
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
    """Check that a response is a problem of this kind, in its whole shape, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem: dict[str, Any] = response.json()
    required = {"type", "title", "status", "detail", "instance", "request_id"}
    assert required <= problem.keys() <= required | {"errors", "current"}
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["instance"] == response.request.url.path
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
    """Where the faults of invalid input are, as the response names them, sorted; each place once a fault."""
    problem = assert_problem(response, 400, "invalid-request")
    return sorted(fault.get("pointer", fault.get("parameter", fault.get("header"))) for fault in problem["errors"])


def token_in(message: EmailMessage) -> str:
    """The token of a message's link, which both its parts name."""
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
