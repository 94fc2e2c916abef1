"""The schema: migrations create what the code expects, on both databases, even from many nodes at once."""

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from kingpost.accounts.users.sql import SQLUsers
from kingpost.auth.signing_keys.store import SealedKey
from kingpost.main import KINDS
from kingpost.model import Position, Resource, Session, SortKey, User
from kingpost.resources.sql import SQLResources
from kingpost.resources.store import ResourceListing
from kingpost.storage import CannotOpen, migration
from kingpost.storage.database import Database, Query, Row
from kingpost.storage.listing import Listing
from kingpost.storage.opening import migrate, open_database
from kingpost.storage.writes import Writes
from tests.nodes import open_node
from tests.storage.samples import (
    LONG_AGO,
    add_admin,
    add_user,
    create_resource,
    effects_of,
    entries_of,
    new_entry,
    new_job,
    new_resource,
    plain,
    race,
    raw,
    tally,
)

NODES = 8


# --- the schema ----------------------------------------------------------------------------------


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migration.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [migration.HEAD]


def test_revision_ids_increase_so_that_newer_ones_can_be_recognized() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migration.__file__).parent / "migrations"))
    newest_first = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert newest_first == sorted(newest_first, reverse=True)


def test_an_up_to_date_schema_needs_no_migration() -> None:
    assert list(migration.statements("sqlite", migration.HEAD)) == []


# --- many nodes ----------------------------------------------------------------------------------


async def version(url: str, change: str | None = None) -> Sequence[Row]:
    """Return the rows of Alembic's table, after an optional change to them."""
    database = await open_database(url)
    try:
        if change is not None:
            await database.write(Query(change, ()))
        return [tuple(row) for row in await database.read(Query(migration.VERSION, ()))]
    finally:
        await database.close()


async def test_concurrent_migrations_create_the_schema_once(database_url: str) -> None:
    outcomes = await race(*[migrate(database_url) for _ in range(NODES)])
    assert outcomes == [None] * NODES
    assert await version(database_url) == [(migration.HEAD,)]


async def test_many_servers_can_open_an_empty_sqlite_file_concurrently(tmp_path: Path) -> None:
    for attempt in range(5):
        url = f"sqlite:///{tmp_path}/{attempt}.db"
        outcomes = await race(*[open_node(url) for _ in range(NODES)])
        assert tally(outcomes) == {"won": NODES}, outcomes
        await asyncio.gather(*[storage.close() for storage in outcomes])


async def test_a_second_migration_changes_no_data(database_url: str) -> None:
    await migrate(database_url)
    storage = await open_node(database_url)
    user = await add_user(storage)
    await migrate(database_url)
    assert await storage.users.find(user.id) is not None
    await storage.close()


async def test_a_new_database_has_no_account(database_url: str) -> None:
    await migrate(database_url)
    database = await open_database(database_url)
    assert await database.read(Query("SELECT id FROM users", ())) == []
    await database.close()


FIRST_RELEASE = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6"
LATER = "2099-12-31T23:59:59.000Z"


async def execute(url: str, *statements: str) -> None:
    """Run statements as an older release would: the stores of this one know only the newest schema."""
    database = await open_database(url)
    try:
        for statement in statements:
            await database.write(Query(statement, ()))
    finally:
        await database.close()


async def store_data_of_the_first_release(url: str) -> None:
    user_id, session_id, resource_id, key_id = (f"{FIRST_RELEASE}{digit}" for digit in "abcd")
    sealed = "'\\x00ff'" if url.startswith("postgresql:") else "x'00ff'"
    await execute(
        url,
        "INSERT INTO users (id, email, email_verified, name, metadata, roles, status, version, created_at, updated_at, "
        f"email_key, password_hash) VALUES ('{user_id}', 'Ada@example.com', TRUE, 'Ada', '{{\"n\": 1}}', "
        f"'[\"user\", \"admin\"]', 'active', 3, '{LONG_AGO}', '{LONG_AGO}', 'ada@example.com', 'a hash')",
        "INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at, token_hash) VALUES "
        f"('{session_id}', '{user_id}', '{LONG_AGO}', '{LATER}', '{LATER}', {sealed})",
        "INSERT INTO resources (id, type, owner_id, data, version, created_at, updated_at) VALUES "
        f"('{resource_id}', 'note', '{user_id}', '{{\"k\": \"v\"}}', 2, '{LONG_AGO}', '{LONG_AGO}')",
        f"INSERT INTO signing_keys (id, algorithm, sealed, created_at) VALUES ('{key_id}', 'ES256', {sealed}, "
        f"'{LONG_AGO}')",
    )


async def test_a_database_of_the_first_release_keeps_all_its_data(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as first_release:
        first_release.setattr(migration, "HEAD", "0001")
        await migrate(database_url)
        await store_data_of_the_first_release(database_url)
    assert await version(database_url) == [("0001",)]

    assert await race(*[migrate(database_url) for _ in range(NODES)]) == [None] * NODES
    assert await version(database_url) == [(migration.HEAD,)]
    storage = await open_node(database_url)
    user_id, session_id, resource_id, key_id = (f"{FIRST_RELEASE}{digit}" for digit in "abcd")
    user = User(
        user_id, "Ada@example.com", True, "Ada", raw({"n": 1}), ("user", "admin"), "active", 3, LONG_AGO, LONG_AGO
    )
    assert plain(await storage.users.find(user_id)) == plain(user)
    credentials = await storage.credentials.find_credentials("ada@example.com")
    assert credentials is not None
    assert credentials.password_hash == "a hash"
    assert await storage.sessions.list(user_id, LONG_AGO, LONG_AGO) == [
        Session(session_id, user_id, None, None, LONG_AGO, LATER, LATER)
    ]
    resource = Resource(resource_id, "note", user_id, raw({"k": "v"}), 2, LONG_AGO, LONG_AGO)
    assert plain(await storage.resources.find(resource_id)) == plain(resource)
    assert await storage.signing_keys.list() == [SealedKey(key_id, "ES256", b"\x00\xff", LONG_AGO)]
    assert await entries_of(storage) == []
    # The features of later releases work on the data of the first.
    await add_admin(storage)
    await storage.jobs.add(new_job(user_id=user_id))
    await storage.users.delete(user_id, None, effects_of((new_entry("user.deleted", target_id=user_id),)))
    assert list(await storage.jobs.claim(1, 60)) == []
    assert [entry.target_id for entry in await entries_of(storage)] == [user_id]
    await storage.close()


async def test_changes_of_address_that_were_asked_for_in_the_second_release_are_pending(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id, other_id = f"{FIRST_RELEASE}a", f"{FIRST_RELEASE}b"
    columns = "user_id, purpose, token_hash, email, email_key, created_at, expires_at"
    token = f"'c@example.com', 'c@example.com', '{LONG_AGO}', '{LATER}'"
    hashes = [f"'\\x0{n}'" if database_url.startswith("postgresql:") else f"x'0{n}'" for n in (1, 2)]
    with monkeypatch.context() as second_release:
        second_release.setattr(migration, "HEAD", "0002")
        await migrate(database_url)
        await store_data_of_the_first_release(database_url)
        await execute(
            database_url,
            f"INSERT INTO users (id, email, email_verified, metadata, roles, status, version, created_at, updated_at, "
            f"email_key, password_hash) VALUES ('{other_id}', 'b@example.com', TRUE, '{{}}', '[]', 'active', 1, "
            f"'{LONG_AGO}', '{LONG_AGO}', 'b@example.com', 'a hash')",
            f"INSERT INTO one_time_tokens ({columns}) VALUES ('{user_id}', 'change-email', {hashes[0]}, {token})",
            f"INSERT INTO one_time_tokens ({columns}) VALUES ('{other_id}', 'verify-email', {hashes[1]}, {token})",
        )
    await migrate(database_url)
    storage = await open_node(database_url)
    user, other = await storage.users.find(user_id), await storage.users.find(other_id)
    assert user is not None
    assert other is not None
    assert (user.pending_email, user.pending_email_expires_at, user.version) == ("c@example.com", LATER, 4)
    assert (other.pending_email, other.pending_email_expires_at, other.version) == (None, None, 1)
    await storage.close()


# --- messages of a server ------------------------------------------------------------------------


async def sentence_of(opening: Callable[[str], Awaitable[Any]], url: str) -> str:
    with pytest.raises(CannotOpen) as caught:
        await opening(url)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.mark.postgresql
async def test_a_server_requires_the_migration_of_an_empty_postgresql(fresh_postgresql_url: str) -> None:
    assert await sentence_of(open_node, fresh_postgresql_url) == "The database is empty: run `kingpost migrate`."


@pytest.mark.postgresql
async def test_a_server_requires_the_migration_of_an_older_postgresql(fresh_postgresql_url: str) -> None:
    await migrate(fresh_postgresql_url)
    await version(fresh_postgresql_url, "UPDATE alembic_version SET version_num = '0000'")
    sentence = await sentence_of(open_node, fresh_postgresql_url)
    assert sentence == (
        f"The database has schema 0000, this release needs schema {migration.HEAD}: run `kingpost migrate`."
    )


async def test_a_newer_schema_is_refused_and_not_changed(database_url: str) -> None:
    await migrate(database_url)
    await version(database_url, "UPDATE alembic_version SET version_num = '9999'")
    for opening in (open_node, migrate):
        assert "newer" in await sentence_of(opening, database_url)
    assert await version(database_url) == [("9999",)]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://localhost/kingpost",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:////nowhere/at/all/kingpost.db",
        "postgresql://localhost:1/kingpost",
        "postgresql://localhost:port/kingpost",
    ],
)
async def test_an_unreachable_url_is_reported_in_one_sentence(url: str) -> None:
    await sentence_of(open_node, url)


# --- the cost of a page --------------------------------------------------------------------------

ROWS = 5_700
LIMIT = 5
PAGES = 1_000


class Recorder:
    """A database that records its last query."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.dialect = database.dialect
        self.asked = Query("", ())
        self.scanned = False

    async def read(self, query: Query) -> Sequence[Row]:
        self.asked, self.scanned = query, False
        return await self._database.read(query)

    async def scan(self, query: Query) -> Sequence[Row]:
        self.asked, self.scanned = query, True
        return await self._database.scan(query)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def sqlite_plan(path: str, query: Query) -> tuple[str, int]:
    """How SQLite runs a query, and how many steps of its virtual machine that takes."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    plan = " / ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {query.text}", query.parameters))
    steps: list[int] = []

    def trace(event: dict[str, Any]) -> None:
        steps.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

    connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, trace)
    connection.execute(*query).fetchall()
    connection.trace_v2(0, None)
    connection.close()
    return plan, steps[-1]


async def postgresql_plan(database: Database, query: Query) -> tuple[str, int]:
    """How PostgreSQL runs a query, and how many blocks it touches."""
    rows = await database.read(Query(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {query.text}", query.parameters))
    plan = "\n".join(str(row[0]) for row in rows)
    run = plan.partition("Planning")[0]
    # The numbers of the first plan node include those of the nodes below it.
    buffers = next(line for line in run.splitlines() if "Buffers:" in line)
    return run, sum(int(number) for number in re.findall(r"(?:hit|read)=(\d+)", buffers))


async def plan_and_cost(url: str, database: Database, query: Query) -> tuple[str, int]:
    if url.startswith("sqlite:///"):
        return sqlite_plan(url.removeprefix("sqlite:///"), query)
    return await postgresql_plan(database, query)


async def analyse_as_autovacuum_does(database: Database) -> None:
    """Analyze the tables of PostgreSQL, as its autovacuum soon would. SQLite has no autovacuum that does it."""
    if database.dialect.name == "postgresql":
        await database.write(Query("ANALYZE", ()))


SORTS = [(SortKey(field, down),) for field in ("created_at", "updated_at", "id") for down in (True, False)]


@pytest.mark.timeout(300)
async def test_the_thousandth_page_costs_as_much_as_the_first(database_url: str) -> None:
    await migrate(database_url)
    storage = await open_node(database_url)
    owner, other = (await add_user(storage)).id, (await add_user(storage)).id
    # Every tenth row has another type and another owner.
    rows = [new_resource(other, type="other") if n % 10 == 5 else new_resource(owner) for n in range(ROWS)]
    for start in range(0, ROWS, 1_000):
        await asyncio.gather(*[create_resource(storage, row) for row in rows[start : start + 1_000]])
    await storage.close()
    database = await open_database(database_url)
    await analyse_as_autovacuum_does(database)
    recorder = Recorder(database)
    resources = SQLResources(recorder, Writes(recorder, KINDS))

    async def position_after(listing: ResourceListing) -> Position:
        position = (await resources.list(listing)).next
        assert position is not None
        return position

    async def cost_of(listing: ResourceListing) -> tuple[str, int]:
        page = await resources.list(listing)
        assert len(page.items) == LIMIT
        assert not recorder.scanned
        return await plan_and_cost(database_url, database, recorder.asked)

    for sort, type_name, owner_id in itertools.product(SORTS, (None, "note"), (None, owner)):
        listing = ResourceListing(sort, LIMIT, type=type_name, owner_id=owner_id)
        if type_name is not None and sort[0].field == "updated_at":
            # No index supports this query, so it must not run on the connections for short reads.
            await resources.list(listing)
            assert recorder.scanned
            continue
        second_after = await position_after(listing)
        # The position before the thousandth page, without reading the pages before it.
        skipping = msgspec.structs.replace(listing, limit=1, offset=(PAGES - 1) * LIMIT - 1)
        thousandth_after = await position_after(skipping)
        _, first = await cost_of(listing)
        _, second = await cost_of(msgspec.structs.replace(listing, after=second_after))
        plan, thousandth = await cost_of(msgspec.structs.replace(listing, after=thousandth_after))
        report = f"{listing}\nfirst {first}, second {second}, thousandth {thousandth}\n{plan}"
        assert thousandth <= 1.5 * max(first, second) + 20, report
        assert not re.search(r"TEMP B-TREE|Sort  |Seq Scan|\bSCAN \w+$", plan), report
    await database.close()


@pytest.mark.parametrize("field", ["created_at", "updated_at", "email", "id"])
async def test_pages_of_accounts_are_read_through_an_index(database_url: str, field: str) -> None:
    await migrate(database_url)
    storage = await open_node(database_url)
    await asyncio.gather(*[add_user(storage) for _ in range(300)])
    await storage.close()
    database = await open_database(database_url)
    await analyse_as_autovacuum_does(database)
    recorder = Recorder(database)
    for down in (False, True):
        users = SQLUsers(recorder, Writes(recorder, KINDS), ())
        page = await users.list(Listing((SortKey(field, down),), LIMIT))
        await users.list(Listing((SortKey(field, down),), LIMIT, after=page.next))
        plan, _ = await plan_and_cost(database_url, database, recorder.asked)
        assert re.search(r"SEARCH users USING|Index Scan", plan), plan
        # An address is unique, so the second sort key, the id, has only one row to sort.
        assert not re.search(r"TEMP B-TREE|(?<!Incremental )Sort  |Seq Scan", plan), plan
    await database.close()
