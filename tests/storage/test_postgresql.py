"""Tests for PostgreSQL only: servers that hang, stop, refuse or close connections."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from kingpost.problems import Unavailable
from kingpost.storage import CannotOpen
from kingpost.storage.database import Query, Script
from kingpost.storage.postgresql import connect as postgresql_connect
from kingpost.storage.postgresql.database import PostgreSQLDatabase
from tests.servers import PostgreSQLServer, execute, free_port, fresh_database
from tests.storage.notes import Notes

QUERY_TIMEOUT = 1.0
IN_TIME = 10 * QUERY_TIMEOUT
"""Seconds that a call with `QUERY_TIMEOUT` may take on a busy machine. Without the time-out it takes a minute."""

type Attempt = Callable[[], Coroutine[Any, Any, Any]]


@pytest.fixture
async def notes(fresh_postgresql_url: str) -> AsyncGenerator[Notes]:
    database = await PostgreSQLDatabase.open(fresh_postgresql_url, connections=4, query_timeout=QUERY_TIMEOUT)
    yield await Notes(database).prepare()
    await database.close()


def attempts(notes: Notes) -> list[Attempt]:
    """One call of every kind."""
    return [
        notes.add,
        notes.count,
        notes.database.ping,
        lambda: notes.find(notes.owner),
        lambda: notes.database.write(notes.query()),
        lambda: notes.database.transact(notes.adding("a")),
    ]


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_hanging_server_times_out_and_then_recovers(notes: Notes, postgresql_server: PostgreSQLServer) -> None:
    await asyncio.gather(*[notes.add() for _ in range(50)])
    with postgresql_server.frozen():
        started = now()
        calls = [attempt() for _ in range(30) for attempt in attempts(notes)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
        assert now() - started < IN_TIME
        with pytest.raises(Unavailable):  # Opening a new connection does not take longer either.
            await notes.add()
        assert now() - started < 2 * IN_TIME
    await asyncio.gather(*[attempt() for attempt in attempts(notes)])


async def test_the_database_recovers_after_a_server_restart(notes: Notes, postgresql_server: PostgreSQLServer) -> None:
    await asyncio.gather(*[notes.add() for _ in range(50)])
    await asyncio.to_thread(postgresql_server.stop)
    try:
        for attempt in attempts(notes):
            with pytest.raises(Unavailable):
                await attempt()
    finally:
        await asyncio.to_thread(postgresql_server.start)
    await asyncio.gather(*[attempt() for attempt in attempts(notes)])


async def test_killed_connections_are_replaced(notes: Notes, postgresql_url: str) -> None:
    await asyncio.gather(*[notes.database.ping() for _ in range(4)])
    await execute(
        postgresql_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kingpost'"
    )
    await until(postgresql_url, "application_name = 'kingpost'", is_there=False)
    await asyncio.sleep(0.05)  # The event loop notices it.
    await asyncio.gather(*[attempt() for attempt in attempts(notes)])


async def until(url: str, condition: str, *, is_there: bool) -> None:
    """Wait until the server has a connection that meets the condition, or no longer has one."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(20):
            query = f"SELECT 1 FROM pg_stat_activity WHERE {condition}"
            while bool(await connection.fetch(query)) != is_there:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        await connection.close()


async def test_a_connection_killed_during_a_query_fails_that_query_only(notes: Notes, postgresql_url: str) -> None:
    sleeping = asyncio.create_task(notes.database.read(Query("SELECT pg_sleep(60)", ())))
    sleepers = "application_name = 'kingpost' AND query LIKE '%sleep(60%'"
    await until(postgresql_url, sleepers, is_there=True)
    await execute(postgresql_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {sleepers}")
    with pytest.raises(Unavailable):
        await sleeping
    await asyncio.gather(*[attempt() for attempt in attempts(notes)])


async def test_a_slow_statement_times_out(notes: Notes) -> None:
    for call in (notes.database.read, notes.database.scan, notes.database.write):
        started = now()
        with pytest.raises(Unavailable):
            await call(Query("SELECT pg_sleep(60)", ()))
        assert now() - started < IN_TIME
    assert notes.database._pool.busy == 0  # type: ignore[attr-defined]


async def test_only_scripts_that_request_it_run_without_a_timeout(notes: Notes) -> None:
    def script() -> Script[str]:
        yield Query(f"SELECT pg_sleep({QUERY_TIMEOUT + 0.3})", ())
        return "done"

    assert await notes.database.transact(script, time_limit=None) == "done"


async def test_a_call_cancelled_while_running_leaks_no_connection(notes: Notes) -> None:
    tasks = [asyncio.create_task(notes.database.read(Query("SELECT pg_sleep(5)", ()))) for _ in range(10)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert notes.database._pool.busy == 0  # type: ignore[attr-defined]
    await asyncio.gather(*[attempt() for attempt in attempts(notes)])


async def test_scans_leave_connections_for_other_calls(fresh_postgresql_url: str) -> None:
    database = await PostgreSQLDatabase.open(fresh_postgresql_url)
    notes = await Notes(database).prepare()
    scans = [asyncio.create_task(database.scan(Query("SELECT pg_sleep(60)", ()))) for _ in range(20)]
    await asyncio.sleep(0.05)
    await notes.find(await notes.add())  # Without a free connection this would be unavailable.
    for scan in scans:
        scan.cancel()
    await asyncio.gather(*scans, return_exceptions=True)
    await database.close()


async def test_one_of_two_deadlocked_scripts_is_unavailable(fresh_postgresql_url: str) -> None:
    database = await PostgreSQLDatabase.open(fresh_postgresql_url)

    def script(mine: int, theirs: int) -> Script[str]:
        yield Query(f"SELECT pg_advisory_xact_lock({mine})::text", ())
        is_free = f"NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {theirs})"
        yield Query(f"DO $$ BEGIN WHILE {is_free} LOOP PERFORM pg_sleep(0.01); END LOOP; END $$", ())
        yield Query(f"SELECT pg_advisory_xact_lock({theirs})::text", ())
        return "done"

    outcomes = await asyncio.gather(
        database.transact(lambda: script(1, 2)), database.transact(lambda: script(2, 1)), return_exceptions=True
    )
    assert sorted(str(outcome) for outcome in outcomes) == ["The database is not available right now", "done"]
    await database.close()


async def test_a_read_only_server_is_unavailable_for_writers(postgresql_server: PostgreSQLServer) -> None:
    async with fresh_database(postgresql_server) as name:
        database = await PostgreSQLDatabase.open(postgresql_server.url(name))
        notes = await Notes(database).prepare()
        await database.close()
        await execute(postgresql_server.url(), f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        database = await PostgreSQLDatabase.open(postgresql_server.url(name))
        notes.use(database)
        for attempt in (notes.add, database.ping):
            with pytest.raises(Unavailable):
                await attempt()
        assert await notes.count() == 0
        await database.close()


async def test_connections_are_set_up(notes: Notes) -> None:
    names = ("application_name", "statement_timeout", "jit", "idle_in_transaction_session_timeout")
    rows = await notes.database.read(Query(f"SELECT {', '.join(f"current_setting('{name}')" for name in names)}", ()))
    assert tuple(rows[0]) == ("kingpost", "9s", "off", "15s")


async def test_every_call_is_unavailable_after_close(notes: Notes) -> None:
    await notes.database.close()
    for attempt in attempts(notes):
        with pytest.raises(Unavailable):
            await attempt()


async def test_open_reports_its_failure_in_one_sentence(
    postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_connect, "CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reasons = {
            f"postgresql://kingpost:geheim@127.0.0.1:{free_port()}/x": "cannot be reached: the connection is refused",
            f"postgresql://kingpost:geheim@127.0.0.1:{silent.getsockname()[1]}/x": "does not answer",
            "postgresql://kingpost:geheim@no-such-host.invalid/x": "cannot be reached",
            "postgresql://kingpost:geheim@localhost:port/x": "is not a valid",
            postgresql_server.url("no_such_database"): "does not exist",
            postgresql_server.url().replace("postgres@", "nobody:geheim@"): "refuses the user or the password",
        }
        for url, reason in reasons.items():
            with pytest.raises(CannotOpen, match=reason) as raised:
                await PostgreSQLDatabase.open(url)
            assert "\n" not in str(raised.value)
            assert "geheim" not in str(raised.value)
