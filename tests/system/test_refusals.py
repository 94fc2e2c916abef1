"""A server that cannot start says why in one sentence on standard error, with exit code 1 and no traceback."""

import os
import re
import socket
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import PostgreSQLServer, execute, free_port
from tests.system.certificates import make_certificate
from tests.system.conftest import Serve
from tests.system.running import Server, eventually, kingpost, sentences

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def refusal(directory: Path, *arguments: str, prefix: Sequence[str] = (), **variables: str) -> str:
    """The sentence with which `kingpost serve` refuses to start."""
    done = kingpost(directory, "serve", "--port", "0", *arguments, prefix=prefix, **variables)
    assert done.returncode == 1, done
    assert done.stdout == ""
    lines = sentences(done.stderr)
    assert len(lines) == 1, done.stderr
    sentence = lines[0].removeprefix("Error: ")
    assert re.fullmatch(r"\S.* .*\.", sentence), sentence
    assert not re.search(r"Traceback|Errno|Exception|\bapsw\b|asyncpg", sentence), sentence
    return sentence


# --- the database --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://localhost/kingpost", "KINGPOST_DATABASE_URL"),
        ("kingpost.db", "KINGPOST_DATABASE_URL"),
        ("", "KINGPOST_DATABASE_URL"),
        ("sqlite:///", "KINGPOST_DATABASE_URL"),
        ("sqlite:///:memory:", "KINGPOST_DATABASE_URL"),
        ("sqlite:///no/such/folder/kingpost.db", "folder"),
        ("postgresql://127.0.0.1:1/kingpost", "127.0.0.1:1"),
        ("postgresql://127.0.0.1:port/kingpost", "KINGPOST_DATABASE_URL"),
        ("postgresql://[::1/kingpost", "KINGPOST_DATABASE_URL"),
        ("postgresql://no-such-host.invalid/kingpost", "no-such-host.invalid"),
    ],
)
def test_a_wrong_database_url_is_reported(tmp_path: Path, url: str, expected: str) -> None:
    assert expected in refusal(tmp_path, DATABASE_URL=url)


def test_a_database_that_is_down_is_reported_once_for_all_workers(tmp_path: Path) -> None:
    assert "refused" in refusal(tmp_path, "--workers", "3", DATABASE_URL="postgresql://127.0.0.1:1/kingpost")


@pytest.mark.postgresql
def test_an_unknown_postgresql_database_is_reported(tmp_path: Path, postgresql_server: PostgreSQLServer) -> None:
    assert "does not exist" in refusal(tmp_path, DATABASE_URL=postgresql_server.url("nowhere"))


@pytest.mark.postgresql
def test_an_unknown_postgresql_user_is_reported(tmp_path: Path, postgresql_server: PostgreSQLServer) -> None:
    url = f"postgresql://stranger:hunter2hunter2@127.0.0.1:{postgresql_server.port}/postgres"
    assert "hunter2" not in refusal(tmp_path, DATABASE_URL=url)


@pytest.mark.postgresql
@WORKERS
def test_an_unmigrated_postgresql_is_reported(tmp_path: Path, fresh_postgresql_url: str, workers: str) -> None:
    sentence = refusal(tmp_path, "--workers", workers, DATABASE_URL=fresh_postgresql_url)
    assert sentence == "The database is empty: run `kingpost migrate`."


def test_a_newer_schema_is_reported(serve: Serve, tmp_path: Path) -> None:
    serve().stop()
    with closing(sqlite3.connect(tmp_path / "kingpost.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert "9999, which is newer than" in refusal(tmp_path)
    done = kingpost(tmp_path, "migrate")
    assert (done.returncode, len(sentences(done.stderr))) == (1, 1)


@pytest.mark.postgresql
async def test_a_newer_postgresql_schema_is_reported(tmp_path: Path, migrated_postgresql: str) -> None:
    await execute(migrated_postgresql, "UPDATE alembic_version SET version_num = '9999'")
    assert "9999, which is newer than" in refusal(tmp_path, DATABASE_URL=migrated_postgresql)


def test_a_file_that_is_not_a_database_is_reported_and_not_changed(tmp_path: Path) -> None:
    file = tmp_path / "kingpost.db"
    for content in (b"Dear diary, " * 1000, os.urandom(8192)):
        file.write_bytes(content)
        assert "not a SQLite database" in refusal(tmp_path)
        assert file.read_bytes() == content


def test_a_damaged_database_is_reported(serve: Serve, tmp_path: Path) -> None:
    serve().stop()
    file = tmp_path / "kingpost.db"
    with file.open("r+b") as database:
        database.seek(100)
        database.write(b"\xff" * (file.stat().st_size - 100))
    assert "damaged" in refusal(tmp_path)


def test_a_database_of_another_program_is_reported_and_not_changed(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "kingpost.db")) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.commit()
        refusal(tmp_path)
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("users",)]


def test_a_folder_in_place_of_the_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "kingpost.db").mkdir()
    assert "kingpost.db" in refusal(tmp_path)


def test_an_unreadable_database_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "kingpost.db"
    file.write_bytes(b"")
    file.chmod(0)
    # Root can read everything, unless it drops its capabilities.
    prefix = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    assert "ermission denied" in refusal(tmp_path, prefix=prefix)


def test_a_locked_database_is_reported(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "kingpost.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert "locked" in refusal(tmp_path)


# --- the address ---------------------------------------------------------------------------------


@WORKERS
def test_a_port_in_use_is_reported(serve: Serve, tmp_path: Path, workers: str) -> None:
    port = serve().port
    assert str(port) in refusal(tmp_path, "--port", str(port), "--workers", workers)


def test_one_of_two_concurrent_starts_on_one_port_succeeds(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    directories = [tmp_path / name for name in "ab"]
    for directory in directories:
        directory.mkdir()
    servers = [serve(directory=directory, port=port, wait=False) for directory in directories]

    def losers() -> list[Server]:
        return [server for server in servers if server.process.poll() is not None]

    (lost,) = eventually(losers)
    assert lost.process.returncode == 1
    assert str(port) in lost.log
    assert len(sentences(lost.log)) == 1
    (winner,) = [server for server in servers if server is not lost]
    winner.ready()


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "::7"])
def test_an_address_of_another_machine_is_reported(tmp_path: Path, host: str) -> None:
    production = {"SECRET": "s" * 32, "PUBLIC_URL": "https://api.example.com"}
    assert host in refusal(tmp_path, "--host", host, **production)


# --- settings and secrets ------------------------------------------------------------------------


def test_all_missing_settings_of_production_are_reported(tmp_path: Path) -> None:
    for arguments, variables in ((["--host", "0.0.0.0"], {}), ([], {"ENVIRONMENT": "production"})):
        done = kingpost(tmp_path, "serve", "--port", "0", *arguments, **variables)
        assert done.returncode == 1
        lines = sentences(done.stderr)
        missing = ["KINGPOST_SECRET", "KINGPOST_PUBLIC_URL", "KINGPOST_MAIL_URL"]
        assert [line.partition(" ")[0] for line in lines] == missing
    assert list(tmp_path.iterdir()) == []


def test_a_weak_secret_in_production_is_reported_without_its_value(tmp_path: Path) -> None:
    settings = {"PUBLIC_URL": "https://api.example.com", "MAIL_URL": "smtp://mail.example.com"}
    message = refusal(tmp_path, ENVIRONMENT="production", SECRET="hunter2", **settings)
    assert "KINGPOST_SECRET" in message
    assert "hunter2" not in message


@WORKERS
def test_a_wrong_secret_is_reported(serve: Serve, tmp_path: Path, workers: str) -> None:
    serve(SECRET="the first secret, long enough for all").stop()
    sentence = refusal(tmp_path, "--workers", workers, SECRET="another secret, long enough for all of us")
    assert "KINGPOST_SECRET cannot decrypt" in sentence
    assert "another secret" not in sentence


def test_a_lost_secret_file_is_reported(serve: Serve, tmp_path: Path) -> None:
    serve().stop()
    (tmp_path / "kingpost.secret").unlink()
    assert "KINGPOST_SECRET cannot decrypt" in refusal(tmp_path)


def test_an_unusable_secret_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "kingpost.secret"
    file.write_text("\n")
    assert "empty" in refusal(tmp_path)
    file.write_bytes(b"\xff\xfe\xfd")
    assert "kingpost.secret" in refusal(tmp_path)
    file.unlink()
    file.mkdir()
    assert "kingpost.secret" in refusal(tmp_path)


def test_an_unreadable_configuration_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "kingpost.toml"
    for content in (b"not toml at all", b"\xff\xfe"):
        file.write_bytes(content)
        assert "kingpost.toml" in refusal(tmp_path)


@WORKERS
def test_unusable_tls_files_are_reported(tmp_path: Path, workers: str) -> None:
    made, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    for cert, key in (("missing.pem", str(made.key)), (str(garbage), str(made.key)), (str(made.cert), str(other.key))):
        sentence = refusal(tmp_path, "--workers", workers, TLS_CERT=cert, TLS_KEY=key)
        assert "KINGPOST_TLS_CERT" in sentence


def test_a_port_used_by_another_program_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}" in refusal(tmp_path, "--port", str(port))
