"""PgBouncer 1.18 in transaction mode, which shares its two server connections among all clients.

It does not support prepared statements: one prepared on a server connection is unknown on the other, and
the statement of another client with the same name can run in its place. The contract in `test_drivers.py`
runs behind it too; these tests use many clients at the same time.
"""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from kingpost.problems import Unavailable
from kingpost.storage.database import Query
from kingpost.storage.postgresql.connect import find_connector
from kingpost.storage.postgresql.database import PostgreSQLDatabase
from tests.servers import PgBouncer, PostgreSQLServer, execute
from tests.storage.notes import Notes


@pytest.fixture
async def clients(pgbouncer: PgBouncer, fresh_postgresql_name: str) -> AsyncGenerator[list[Notes]]:
    """Two nodes, each with its own pool."""
    url = pgbouncer.url(fresh_postgresql_name)
    databases = [await PostgreSQLDatabase.open(url, query_timeout=3) for _ in range(2)]
    nodes = [Notes(database) for database in databases]
    await nodes[0].prepare()
    await nodes[1].database.write(nodes[1].new_owner(nodes[1].owner))
    yield nodes
    for database in databases:
        await database.close()


async def test_a_connection_pooler_is_detected(pgbouncer: PgBouncer, postgresql_server: PostgreSQLServer) -> None:
    assert (await find_connector(pgbouncer.url("postgres"))).pooled
    assert not (await find_connector(postgresql_server.url())).pooled


async def test_two_nodes_run_many_different_statements_concurrently(clients: list[Notes]) -> None:
    async def work(notes: Notes, number: int) -> None:
        name = f"{notes.owner} {number}"
        identifier = await notes.add(name=name, data=f'{{"n": {number}}}')
        assert (await notes.find(identifier) or ())[2] == name
        rows = await notes.database.read(Query(f"SELECT name, {number} FROM notes WHERE id = $1", (identifier,)))
        assert tuple(rows[0]) == (name, number)
        await notes.database.transact(notes.adding(name + " a", name + " b"))
        rows = await notes.database.write(
            Query("UPDATE notes SET data = $1 WHERE id = $2 RETURNING name, data", ("[]", identifier))
        )
        assert tuple(rows[0]) == (name, "[]")

    await asyncio.gather(*[work(notes, number) for number in range(100) for notes in clients])
    assert await clients[0].count() == 600


async def test_other_clients_of_the_pooler_keep_their_settings(
    clients: list[Notes], pgbouncer: PgBouncer, fresh_postgresql_name: str
) -> None:
    rows = await clients[0].database.read(Query("SELECT current_setting('statement_timeout')", ()))
    assert rows[0][0] == "9s"
    check = "DO $$ BEGIN ASSERT current_setting('statement_timeout') = '0'; END $$"
    for _ in range(4):
        await execute(pgbouncer.url(fresh_postgresql_name), check)


async def test_the_pooler_reconnects_to_a_restarted_server(
    clients: list[Notes], postgresql_server: PostgreSQLServer
) -> None:
    await asyncio.to_thread(postgresql_server.stop)
    try:
        with pytest.raises(Unavailable):
            await clients[0].add()
    finally:
        await asyncio.to_thread(postgresql_server.start)
    for _ in range(100):  # PgBouncer waits for a while before it connects again.
        try:
            await clients[0].add()
            break
        except Unavailable:
            await asyncio.sleep(0.2)
    assert await clients[0].count() == 1
