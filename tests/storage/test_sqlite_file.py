"""SQLite files that cannot be opened, or are removed, restored or replaced while they are open."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import apsw
import pytest

from kingpost.problems import Unavailable
from kingpost.storage import CannotOpen
from kingpost.storage.sqlite import file as sqlite_file
from kingpost.storage.sqlite.database import SQLiteDatabase
from tests.storage.notes import Notes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
async def notes(path: Path) -> AsyncGenerator[Notes]:
    database = await SQLiteDatabase.open(str(path))
    yield await Notes(database).prepare()
    await database.close()


async def test_only_the_owner_can_access_the_file(notes: Notes, path: Path) -> None:
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(f"{path}-wal").st_mode & 0o777 == 0o600


async def test_a_moved_file_is_unavailable_until_it_is_moved_back(notes: Notes, path: Path) -> None:
    moved = path.with_suffix(".moved")
    os.rename(path, moved)
    for attempt in (notes.add, notes.database.ping):
        with pytest.raises(Unavailable):
            await attempt()
    os.rename(moved, path)
    await notes.database.ping()
    await notes.add()
    assert await notes.count() == 1


def copy(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("VACUUM INTO ?", (str(path.with_suffix(".backup")),))
    connection.close()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()


async def test_a_deleted_file_can_be_replaced_by_a_backup_while_serving(notes: Notes, path: Path) -> None:
    await notes.add(name="kept")
    copy(path)
    await notes.add(name="lost")
    remove(path)
    with pytest.raises(Unavailable):
        await notes.add()
    os.rename(path.with_suffix(".backup"), path)
    await notes.database.ping()
    assert await notes.count() == 1
    identifier = await notes.add()
    assert await notes.find(identifier) is not None


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100])
async def test_a_deleted_file_can_be_replaced_by_a_valid_database_only(
    notes: Notes, path: Path, content: bytes
) -> None:
    remove(path)
    write(path, content)
    for attempt in (notes.add, notes.database.ping):
        with pytest.raises(Unavailable):
            await attempt()


async def test_a_file_is_not_replaced_while_the_journal_of_the_old_file_exists(notes: Notes, path: Path) -> None:
    copy(path)
    os.rename(path.with_suffix(".backup"), path)
    with pytest.raises(Unavailable):
        await notes.add()


async def test_every_call_is_unavailable_after_close(path: Path) -> None:
    notes = await Notes(await SQLiteDatabase.open(str(path))).prepare()
    await notes.database.close()
    for attempt in (notes.add, notes.count, notes.database.ping):
        with pytest.raises(Unavailable):
            await attempt()


async def test_open_reports_its_failure_in_one_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text"
    write(text, b"this is no database" * 100)
    damaged = tmp_path / "damaged.db"
    connection = apsw.Connection(str(damaged))
    connection.execute("CREATE TABLE t (n)")
    connection.close()
    write(damaged, damaged.read_bytes()[:100] + b"\xff" * 8092)
    reasons = {
        "": "names no file",
        ":memory:": "names no file",
        str(tmp_path): "Is a directory",
        str(tmp_path / "no" / "where.db"): "its folder does not exist",
        str(text): "is not a SQLite database",
        str(damaged): "is damaged",
    }
    for path, reason in reasons.items():
        with pytest.raises(CannotOpen, match=reason) as raised:
            await SQLiteDatabase.open(path)
        assert "\n" not in str(raised.value)


async def test_a_file_locked_by_another_program_cannot_be_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "QUERY_TIMEOUT", 0.1)
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE t (n); BEGIN EXCLUSIVE")
    with pytest.raises(CannotOpen, match="locked by another program"):
        await SQLiteDatabase.open(str(path))
    other.execute("COMMIT")
    await (await SQLiteDatabase.open(str(path))).close()
