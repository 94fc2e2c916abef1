"""The contract of `Records`: all that is kept about one account, from whatever table, and nothing secret."""

from collections.abc import AsyncGenerator

import msgspec
import pytest

from kingpost.storage.sql.database import Database
from kingpost.storage.sql.opening import open_database
from tests.nodes import Node
from tests.storage.samples import add_session, add_user, new_job, plain
from tests.storage.traces import leave_traces

NOBODY = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
MARKER = "Mrs. Lovelace"


@pytest.fixture
async def database(migrated_url: str, nodes: list[Node]) -> AsyncGenerator[Database]:
    """The database itself, past the application."""
    database = await open_database(migrated_url)
    yield database
    await database.close()


async def test_there_are_none_of_an_account_that_is_not_there(storage: Node) -> None:
    assert await storage.records.find(NOBODY) is None


async def test_an_account_may_have_nothing_but_itself(storage: Node) -> None:
    user = await add_user(storage, name="Ada", metadata={"n": 1})
    records = await storage.records.find(user.id)
    assert records is not None
    assert plain(records.user) == plain(user)
    assert not any([records.sessions, records.api_keys, records.one_time_tokens, records.jobs])
    assert records.second_factor is None


async def test_each_table_tells_what_it_holds(nodes: list[Node], database: Database) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    await leave_traces(database, user.id, MARKER)
    await leave_traces(database, other.id, "another's")
    records = await nodes[1].records.find(user.id)
    assert records is not None
    (session,), (key,), (token,), (job,) = records.sessions, records.api_keys, records.one_time_tokens, records.jobs
    assert (session.device, session.ended_at) == (f"{MARKER} sessions.device", None)
    assert (key.name, key.scopes, key.hint) == (f"{MARKER} api_keys.name", (MARKER,), f"{MARKER} api_keys.hint")
    assert (token.purpose, token.email) == ("one_time_tokens.purpose", f"{MARKER} one_time_tokens.email")
    assert (job.kind, job.attempts) == ("jobs.kind", 1)
    assert records.second_factor is not None
    assert records.second_factor.confirmed_at is not None
    assert records.second_factor.recovery_codes_left == 1
    text = msgspec.json.encode(records).decode()
    assert "another's" not in text
    assert f"hash of {user.email}" not in text


async def test_sessions_that_have_ended_are_told_without_place_and_device(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    first, second = await add_session(nodes[0], user.id), await add_session(nodes[0], user.id)
    await nodes[0].sessions.end(first.id, None)
    records = await nodes[1].records.find(user.id)
    assert records is not None
    assert [session.id for session in records.sessions] == [first.id, second.id]
    ended, living = records.sessions
    assert (ended.device, ended.address) == (None, None)
    assert ended.ended_at is not None
    assert (living.device, living.address, living.ended_at) == (second.device, second.address, None)


async def test_jobs_stand_in_the_order_of_their_making(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    jobs = [new_job(str(n), user.id) for n in range(3)]
    await nodes[0].jobs.add(*reversed(jobs))
    await nodes[0].jobs.claim(1, 60)
    records = await nodes[1].records.find(user.id)
    assert records is not None
    assert [job.id for job in records.jobs] == [job.id for job in jobs]
    assert sum(job.attempts for job in records.jobs) == 1
