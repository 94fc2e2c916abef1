"""The contract of `Database`, the same for every driver and for PostgreSQL behind a pooler."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from kingpost.clock import new_id
from kingpost.problems import Conflict
from kingpost.storage.database import Database, ForeignKeyViolation, Query, UniqueViolation
from kingpost.storage.postgresql.database import PostgreSQLDatabase
from kingpost.storage.sqlite.database import SQLiteDatabase
from tests.servers import PgBouncer, PostgreSQLServer, fresh_database
from tests.storage.notes import Notes

WRITERS = 64


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
async def notes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Notes]:
    database: Database
    if request.param == "sqlite":
        database = await SQLiteDatabase.open(str(tmp_path / "test.db"))
        yield await Notes(database).prepare()
        await database.close()
        return
    server: PostgreSQLServer = request.getfixturevalue("postgresql_server")
    pooler: PgBouncer | None = None
    if request.param == "pgbouncer":
        pooler = request.getfixturevalue("pgbouncer")
    async with fresh_database(server) as name:
        database = await PostgreSQLDatabase.open(pooler.url(name) if pooler else server.url(name))
        yield await Notes(database).prepare()
        await database.close()


async def test_an_inserted_row_is_found(notes: Notes) -> None:
    identifier = await notes.add(name="Zoë 😀", data='{"a": [1, null]}', at="2026-11-22T10:15:30.123Z")
    found = (identifier, notes.owner, "Zoë 😀", '{"a": [1, null]}', "2026-11-22T10:15:30.123Z")
    assert await notes.find(identifier) == found


@pytest.mark.parametrize("at", ["1970-01-01T00:00:00.000Z", "1999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"])
async def test_times_are_read_as_they_were_stored(notes: Notes, at: str) -> None:
    found = await notes.find(await notes.add(at=at))
    assert found is not None
    assert found[4] == at


async def test_an_unknown_row_is_none(notes: Notes) -> None:
    assert await notes.find(new_id()[0]) is None


async def test_parallel_lookups_get_their_own_rows(notes: Notes) -> None:
    added = await asyncio.gather(*[notes.add(name=str(n)) for n in range(WRITERS)])
    wanted_ids = [*added, new_id()[0], *added]
    found = await asyncio.gather(*[notes.find(identifier) for identifier in wanted_ids])
    assert [row and row[2] for row in found] == [*map(str, range(WRITERS)), None, *map(str, range(WRITERS))]


async def test_parallel_inserts_are_all_stored(notes: Notes) -> None:
    await asyncio.gather(*[notes.add() for _ in range(5 * WRITERS)])
    assert await notes.count() == 5 * WRITERS


async def test_a_failing_insert_does_not_affect_other_inserts(notes: Notes) -> None:
    await notes.add(name="taken")
    bad = [notes.add(name="taken"), notes.add(owner_id=new_id()[0])]
    outcomes = await asyncio.gather(
        *[notes.add() for _ in range(20)], *bad, *[notes.add() for _ in range(20)], return_exceptions=True
    )
    assert [type(o) for o in outcomes] == [str] * 20 + [UniqueViolation, ForeignKeyViolation] + [str] * 20
    assert await notes.count() == 41


async def test_exactly_one_of_many_parallel_inserts_with_one_name_succeeds(notes: Notes) -> None:
    outcomes = await asyncio.gather(*[notes.add(name="one") for _ in range(WRITERS)], return_exceptions=True)
    assert sorted(type(o).__name__ for o in outcomes) == ["UniqueViolation"] * (WRITERS - 1) + ["str"]


async def test_writes_return_rows_and_errors_name_the_constraint(notes: Notes) -> None:
    query = notes.query(name="first")
    rows = await notes.database.write(Query(query.text + " RETURNING name", query.parameters))
    assert [tuple(row) for row in rows] == [("first",)]
    with pytest.raises(UniqueViolation):
        await notes.database.write(notes.query(name="first"))
    with pytest.raises(ForeignKeyViolation):
        await notes.database.write(notes.query(owner_id=new_id()[0]))


async def test_a_script_sees_its_own_writes_and_returns_its_result(notes: Notes) -> None:
    assert await notes.database.transact(notes.adding("a", "b")) == 2
    assert await notes.count() == 2


async def test_an_exception_in_a_script_rolls_it_back(notes: Notes) -> None:
    with pytest.raises(Conflict, match="no"):
        await notes.database.transact(notes.adding("a", "b", then=Conflict("no")))
    assert await notes.count() == 0


async def test_a_failing_step_rolls_back_only_its_own_script(notes: Notes) -> None:
    scripts = [notes.adding("a", "b"), notes.adding("c", "c"), notes.adding("d", then=Conflict()), notes.adding("e")]
    outcomes = await asyncio.gather(*map(notes.database.transact, scripts), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, UniqueViolation, Conflict, int]
    names = await notes.database.read(Query("SELECT name FROM notes ORDER BY name", ()))
    assert [name for (name,) in names] == ["a", "b", "e"]


async def test_a_cancelled_call_does_not_affect_other_calls(notes: Notes) -> None:
    tasks = [asyncio.create_task(notes.add()) for _ in range(4 * WRITERS)]
    scripts = [asyncio.create_task(notes.database.transact(notes.adding(str(n)))) for n in range(WRITERS)]
    for turn in range(0, WRITERS, 2):
        await asyncio.sleep(0.0005)
        tasks[turn].cancel()
        scripts[turn].cancel()
    outcomes = await asyncio.gather(*tasks, *scripts, return_exceptions=True)
    failed = [o for o in outcomes if isinstance(o, BaseException)]
    assert all(isinstance(o, asyncio.CancelledError) for o in failed)
    assert len(outcomes) - len(failed) <= await notes.count() <= len(outcomes)
    assert len(await asyncio.gather(*[notes.add() for _ in range(WRITERS)])) == WRITERS


async def test_a_scan_and_reads_run_concurrently(notes: Notes) -> None:
    identifier = await notes.add()
    counts = await asyncio.gather(*[notes.count() for _ in range(10)], *[notes.find(identifier) for _ in range(10)])
    assert counts[:10] == [1] * 10


async def test_an_invalid_statement_is_not_an_outage(notes: Notes) -> None:
    with pytest.raises(Exception, match="nothing") as raised:
        await notes.database.read(Query("SELECT * FROM nothing", ()))
    assert not hasattr(raised.value, "status")
    await notes.add()


async def test_ping(notes: Notes) -> None:
    await notes.database.ping()


async def test_close_finishes_waiting_calls(notes: Notes, request: pytest.FixtureRequest) -> None:
    writes = [asyncio.create_task(notes.add()) for _ in range(WRITERS)]
    await asyncio.sleep(0)
    await notes.database.close()
    assert len(await asyncio.gather(*writes)) == WRITERS
