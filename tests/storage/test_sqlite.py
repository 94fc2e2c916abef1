"""Tests for SQLite only: grouped commits, and other processes on the same file."""

import asyncio
import contextlib
import functools
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from kingpost.problems import Conflict, Unavailable
from kingpost.storage.database import Query, Script, UniqueViolation
from kingpost.storage.opening import migrate, open_database, open_migrated
from kingpost.storage.sqlite import database as sqlite_module
from kingpost.storage.sqlite import file as sqlite_file
from kingpost.storage.sqlite import writer as sqlite_writer
from kingpost.storage.sqlite.database import SQLiteDatabase
from tests.storage.notes import Notes

OTHER_PROCESS = """
import asyncio, sys
from kingpost.storage.database import Query
from kingpost.storage.sqlite.database import SQLiteDatabase

async def main():
    database = await SQLiteDatabase.open(sys.argv[1])
    await database.write(Query("CREATE TABLE IF NOT EXISTS counted (n INTEGER)", ()))
    for n in range(100):
        await database.write(Query("INSERT INTO counted VALUES (?)", (n,)))
        await database.read(Query("SELECT count(*) FROM counted", ()))
    await database.close()

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
async def notes(path: Path) -> AsyncGenerator[Notes]:
    database = await SQLiteDatabase.open(str(path))
    yield await Notes(database).prepare()
    await database.close()


def commits(path: Path) -> int:
    """Return the number of frames in the journal: each commit adds some."""
    return os.stat(f"{path}-wal").st_size


async def test_waiting_writes_share_a_commit(notes: Notes, path: Path) -> None:
    before = commits(path)
    await notes.add()
    alone = commits(path) - before
    before = commits(path)
    await asyncio.gather(*[notes.add() for _ in range(50)])
    # Fifty commits would have written at least fifty times the pages of one.
    assert commits(path) - before < 20 * alone


async def test_a_failing_commit_fails_the_whole_group(notes: Notes) -> None:
    def script() -> Script[None]:
        yield Query("PRAGMA defer_foreign_keys = ON", ())
        yield notes.query(owner_id="nobody")

    outcomes = await asyncio.gather(notes.add(), notes.database.transact(script), notes.add(), return_exceptions=True)
    assert any(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert await notes.count() == sum(isinstance(outcome, str) for outcome in outcomes)
    await notes.add()


async def grouped(notes: Notes, path: Path, *scripts: Callable[[], Script[Any]], size: int = 1) -> list[Any]:
    """Run scripts that all wait while another process locks the file, queued behind a first task."""
    async with locked(path):
        first = asyncio.create_task(notes.add())
        await asyncio.sleep(0.05)
        writer = notes.database._writer  # type: ignore[attr-defined]
        rest = [writer.submit(script, 10, size=size) for script in scripts]
    await first
    return await asyncio.gather(*rest, return_exceptions=True)


async def test_a_group_is_run_again_only_if_a_failed_script_left_changes(notes: Notes, path: Path) -> None:
    played: list[str] = []

    def script(name: str, *steps: Query | Exception) -> Script[str]:
        played.append(name)
        for step in steps:
            if isinstance(step, Exception):
                raise step
            yield step
        return name

    def harmless() -> Script[str]:
        return script("harmless", Query("SELECT count(*) FROM notes", ()), Conflict())

    def good() -> Script[str]:
        return script("good", notes.query(name="good"))

    def left_changes() -> Script[str]:
        return script("left changes", notes.query(name="bad"), Conflict())

    def changed_tables() -> Script[str]:
        return script("changed tables", Query("CREATE TABLE half_done (n)", ()), Conflict())

    outcomes = await grouped(notes, path, good, harmless, good)
    assert [type(outcome) for outcome in outcomes] == [str, Conflict, UniqueViolation]
    assert played == ["good", "harmless", "good"]
    for failing in (left_changes, changed_tables):
        await notes.database.write(Query("DELETE FROM notes", ()))
        outcomes = await grouped(notes, path, good, failing, harmless)
        assert [type(outcome) for outcome in outcomes] == [str, Conflict, Conflict]
        assert await notes.count() == 2
        with pytest.raises(Exception, match="half_done"):
            await notes.database.read(Query("SELECT * FROM half_done", ()))
    assert played.count("left changes") == 2
    assert played.count("changed tables") == 2


@pytest.mark.parametrize(("size", "groups"), [(1, 1), (100, 5), (1000, 10)])
async def test_a_group_is_bounded_by_its_writes(
    notes: Notes, path: Path, size: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    commit = sqlite_writer._commit

    def counting(connection: apsw.Connection, group: Sequence[sqlite_writer.Task]) -> Sequence[sqlite_writer.Outcome]:
        sizes.append(len(group))
        return commit(connection, group)

    monkeypatch.setattr(sqlite_writer, "_commit", counting)
    outcomes = await grouped(notes, path, *[notes.adding(f"{n}") for n in range(10)], size=size)
    assert outcomes == list(range(2, 12))
    assert len(sizes) == 1 + groups
    assert sum(sizes) == 11


async def test_a_full_disk_is_unavailable_until_there_is_space(notes: Notes) -> None:
    rows = await notes.database.read(Query("PRAGMA page_count", ()))
    await notes.database.write(Query(f"PRAGMA max_page_count = {rows[0][0]}", ()))
    with pytest.raises(Unavailable):
        await notes.add(data="x" * 100_000)
    await notes.database.write(Query("PRAGMA max_page_count = 1000000", ()))
    await notes.add(data="x" * 100_000)
    assert await notes.count() == 1


async def test_writes_over_the_queue_limit_are_rejected(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "MAX_WAITING", 5)
    outcomes = await asyncio.gather(*[notes.add() for _ in range(100)], return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {str, Unavailable}
    assert await notes.count() == sum(isinstance(outcome, str) for outcome in outcomes)


ENDLESS = Query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n", ())


@pytest.mark.parametrize("method", ["read", "scan"])
async def test_a_long_read_times_out_without_blocking_writes_or_other_reads(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(sqlite_module, "QUERY_TIMEOUT", 1.0)
    read = getattr(notes.database, method)
    long_reads = [asyncio.create_task(read(ENDLESS)) for _ in range(sqlite_file.SCANNERS - 1)]
    await asyncio.sleep(0.05)
    await notes.find(await notes.add())
    assert await notes.count() == 1
    assert not any(task.done() for task in long_reads)
    outcomes = await asyncio.gather(*long_reads, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert await notes.count() == 1


async def test_scans_over_the_queue_limit_are_rejected(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "MAX_WAITING_SCANS", 2)
    outcomes = await asyncio.gather(*[notes.count() for _ in range(10)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int] * 2 + [Unavailable] * 8


@contextlib.asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Write to the file from another connection, as another process would, and keep the lock during the block."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        # Never the standard sqlite3: a second copy of SQLite in one process breaks the locks of the first.
        connection = apsw.Connection(str(path))
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS foreign_table (n)")
        held.set()
        over.wait()
        connection.execute("COMMIT")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    await asyncio.to_thread(held.wait)
    try:
        yield
    finally:
        over.set()
        await asyncio.to_thread(thread.join)


async def test_writes_but_not_reads_wait_for_another_process(notes: Notes, path: Path) -> None:
    identifier = await notes.add()
    async with locked(path):
        assert await notes.find(identifier) is not None
        adding = asyncio.create_task(notes.add())
        await asyncio.sleep(0.2)
        assert not adding.done()
    await adding


async def test_a_lock_held_too_long_times_out_for_all_waiting_writes(notes: Notes, path: Path) -> None:
    async with locked(path):
        scripts = [notes.database.transact(notes.adding(str(n)), time_limit=0.2) for n in range(300)]
        async with asyncio.timeout(20):  # In sequence they would take a minute.
            outcomes = await asyncio.gather(*scripts, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
    await notes.database.transact(notes.adding("patient"), time_limit=None)


async def test_processes_share_a_file_without_lock_errors(path: Path) -> None:
    command = [sys.executable, "-c", OTHER_PROCESS, str(path)]
    run = functools.partial(subprocess.run, command, capture_output=True, text=True, check=False)
    for done in await asyncio.gather(*[asyncio.to_thread(run) for _ in range(3)]):
        assert (done.returncode, done.stderr) == (0, "")
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT count(*) FROM counted").get == 300
    connection.close()


async def test_the_durability_settings_are_set(notes: Notes) -> None:
    settings = {}
    for name in ("journal_mode", "synchronous", "foreign_keys"):
        rows = await notes.database.write(Query(f"PRAGMA {name}", ()))
        settings[name] = rows[0][0]
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


async def test_statistics_are_made_at_opening_and_by_housekeeping(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/statistics.db"
    await migrate(url)
    database = await open_database(url)
    try:
        for statement in (
            "CREATE TABLE numbers (n INTEGER, kind TEXT)",
            "CREATE INDEX numbers_kind ON numbers (kind, n)",
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
            "INSERT INTO numbers SELECT i, 'a' FROM n",
        ):
            await database.write(Query(statement, ()))
        counted = Query("SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'numbers'", ())
        await database.refresh_statistics()
        assert (await database.read(counted))[0][0] == 1
        await database.write(Query("DELETE FROM sqlite_stat1", ()))
    finally:
        await database.close()
    database = await open_migrated(url)
    try:
        assert (await database.read(counted))[0][0] == 1
    finally:
        await database.close()
