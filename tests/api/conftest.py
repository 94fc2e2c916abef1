"""The application for the whole suite, on SQLite and on PostgreSQL.

One application serves all tests of a run, so tests create their own accounts if they change them, and
their own resource types if they count resources. Tests that need other settings, or an empty database, use
`serve`.
"""

import shutil
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from kingpost.auth.passwords.hashing import PRODUCTION
from kingpost.http.app.application import Application
from tests import servers
from tests.api import stack as stacks
from tests.api.stack import Caller, MakeUser, Serve, Stack

session_fixture = partial(pytest_asyncio.fixture, scope="session", loop_scope="session")


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Run the tests in the event loop in which the application runs."""
    for item in items:
        if Path(__file__).parent in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@session_fixture(params=DATABASES)
async def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stack]:
    """The application that serves the suite."""
    async with running_on(request, tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@session_fixture(params=DATABASES)
async def strict(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stack]:
    """An application that requires verified addresses."""
    async with running_on(request, tmp_path_factory.mktemp("strict"), SIGNUP="verified") as stack:
        yield stack


@session_fixture(params=DATABASES)
async def production(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stack]:
    """An application that requires verified addresses and hashes passwords at production cost, for tests of timing."""
    directory = tmp_path_factory.mktemp("production")
    async with running_on(request, directory, hashing_cost=PRODUCTION, SIGNUP="verified") as stack:
        yield stack


@asynccontextmanager
async def running_on(request: pytest.FixtureRequest, directory: Path, **options: Any) -> AsyncGenerator[Stack]:
    """An application on the kind of database in the fixture's parameter. `options` are those of `running`."""
    async with AsyncExitStack() as context:
        if request.param == "postgresql":
            server: servers.PostgreSQLServer = request.getfixturevalue("postgresql_server")
            options["DATABASE_URL"] = server.url(await context.enter_async_context(servers.migrated_database(server)))
        yield await context.enter_async_context(stacks.running(directory, **options))


@pytest.fixture
def app(stack: Stack) -> Application:
    """The ASGI application itself."""
    return stack.app


@pytest.fixture
def client(stack: Stack) -> httpx.AsyncClient:
    """A client without credentials."""
    return stack.client()


@pytest.fixture
def make_user(stack: Stack) -> MakeUser:
    """Creates new accounts that are logged in."""
    return stack.sign_up


@pytest.fixture
def login(stack: Stack) -> MakeUser:
    """Starts new sessions of accounts: `await login(email, password)`."""
    return stack.log_in


@session_fixture
async def admin(stack: Stack) -> Caller:
    """An administrator, shared by all tests."""
    return await stack.sign_up_admin()


@session_fixture
async def alice(stack: Stack) -> Caller:
    """An account that all tests share; no test changes it."""
    return await stack.sign_up("alice@example.com")


@session_fixture
async def bob(stack: Stack) -> Caller:
    """Another shared account."""
    return await stack.sign_up("bob@example.com")


@pytest_asyncio.fixture(loop_scope="session")
async def second_node(stack: Stack, tmp_path: Path) -> AsyncGenerator[Stack]:
    """Another node with the same database and the same outbox."""
    settings = stack.kingpost.settings
    async with stacks.running(tmp_path, DATABASE_URL=settings.database_url, MAIL_URL=settings.mail_url) as node:
        yield node


@pytest.fixture
def kind() -> str:
    """A resource type that no other test uses."""
    return f"kind-{uuid.uuid4().hex}"


@pytest_asyncio.fixture(loop_scope="session")
async def serve(tmp_path: Path, migrated_sqlite: Path) -> AsyncGenerator[Serve]:
    """Starts applications on SQLite of their own: `await serve(SIGNUP="closed")`."""
    shutil.copy(migrated_sqlite, tmp_path)
    async with AsyncExitStack() as context:

        async def start(**options: Any) -> Stack:
            return await context.enter_async_context(stacks.running(tmp_path, **options))

        yield start


QUERY_METHODS = ["read", "scan", "lookup", "commit", "write", "transact"]
STATEMENTS: ContextVar[list[str]] = ContextVar("STATEMENTS")
"""The database calls of the requests of a test that counts them. Background work is not counted."""


@pytest.fixture
def queries(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that records the database calls of this test's requests, at the driver."""
    driver = type(stack.kingpost.database)
    queries: list[str] = []
    for name in QUERY_METHODS:
        monkeypatch.setattr(driver, name, _counting(name, getattr(driver, name)))
    STATEMENTS.set(queries)
    return queries


def _counting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any, **named: Any) -> Any:
        STATEMENTS.get([]).append(name)
        return method(*args, **named)

    return counted
