"""The data that the stores export for an account: everything about it, without secrets."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest_asyncio

from kingpost.storage.database import Database
from kingpost.storage.opening import open_database
from tests.nodes import Node
from tests.storage.samples import add_session, add_user, new_job
from tests.storage.traces import leave_traces

UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
MARKER = "Mrs. Lovelace"


@pytest_asyncio.fixture(loop_scope="session")
async def database(migrated_url: str, nodes: list[Node]) -> AsyncGenerator[Database]:
    """Direct access to the database, without the application."""
    database = await open_database(migrated_url)
    yield database
    await database.close()


class Records(NamedTuple):
    """The data that the stores export for one account."""

    sessions: Sequence[Any]
    second_factor: Any
    one_time_tokens: Sequence[Any]
    jobs: Sequence[Any]


async def exported(node: Node, user_id: str) -> Records:
    return Records(
        await node.sessions.export(user_id),
        await node.second_factors.export(user_id),
        await node.one_time_tokens.export(user_id),
        await node.jobs.export(user_id),
    )


async def test_an_unknown_account_has_no_records(storage: Node) -> None:
    assert await exported(storage, UNKNOWN_ID) == Records([], None, [], [])


async def test_a_new_account_has_no_records(storage: Node) -> None:
    user = await add_user(storage, name="Ada", metadata={"n": 1})
    assert await exported(storage, user.id) == Records([], None, [], [])


async def test_the_export_has_the_records_of_each_table(nodes: list[Node], database: Database) -> None:
    user, other = await add_user(nodes[0]), await add_user(nodes[0])
    await leave_traces(database, user.id, MARKER)
    await leave_traces(database, other.id, "another's")
    records = await exported(nodes[1], user.id)
    (session,), (token,), (job,) = records.sessions, records.one_time_tokens, records.jobs
    assert (session.device, session.ended_at) == (f"{MARKER} sessions.device", None)
    assert (token.purpose, token.email) == ("one_time_tokens.purpose", f"{MARKER} one_time_tokens.email")
    assert (job.kind, job.attempts) == ("jobs.kind", 1)
    assert records.second_factor is not None
    assert records.second_factor.confirmed_at is not None
    assert records.second_factor.recovery_codes_left == 1
    text = msgspec.json.encode(records).decode()
    assert "another's" not in text
    assert f"hash of {user.email}" not in text


async def test_ended_sessions_are_exported_without_address_and_device(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    first, second = await add_session(nodes[0], user.id), await add_session(nodes[0], user.id)
    await nodes[0].sessions.end(first.id, None)
    records = await exported(nodes[1], user.id)
    assert [session.id for session in records.sessions] == [first.id, second.id]
    ended, living = records.sessions
    assert (ended.device, ended.address) == (None, None)
    assert ended.ended_at is not None
    assert (living.device, living.address, living.ended_at) == (second.device, second.address, None)


async def test_jobs_are_exported_in_the_order_of_creation(nodes: list[Node]) -> None:
    user = await add_user(nodes[0])
    jobs = [new_job(str(n), user.id) for n in range(3)]
    await nodes[0].jobs.add(*reversed(jobs))
    await nodes[0].jobs.claim(1, 60)
    records = await exported(nodes[1], user.id)
    assert [job.id for job in records.jobs] == [job.id for job in jobs]
    assert sum(job.attempts for job in records.jobs) == 1
