"""The first steps of a new user, and the command line of an operator."""

import fcntl
import json
import re
import signal
import stat
import subprocess
import sys
import termios
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.system.conftest import Serve
from tests.system.running import KINGPOST, PASSWORD, environment, eventually, kingpost, sentences


def test_a_server_starts_in_an_empty_directory_and_prints_the_next_step(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    assert server.url in server.output
    assert f"{server.url}/docs" in server.output
    assert "users create-admin" in server.output
    assert server.client().status("/docs") == 200
    assert server.log == ""
    secret = tmp_path / "kingpost.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "kingpost.db").stat().st_mode) == 0o600
    assert secret.read_text().strip() not in server.output + server.log


def test_the_printed_command_creates_an_admin(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    (line,) = re.findall(r"echo '(.+)' \| \S+ (users create-admin \S+ --password-stdin)", server.output)
    password, command = line
    done = kingpost(tmp_path, *command.split(), stdin=password + "\n")
    assert done.returncode == 0, done.stderr
    client = server.client().log_in(command.split()[2], password)
    assert client.tokens["user"]["roles"] == ["user", "admin"]


def test_tokens_stay_valid_after_a_restart(serve: Serve) -> None:
    first = serve()
    client = first.client().sign_up()
    note = client.create(title="kept")
    assert first.stop() == 0
    second = serve(port=first.port)
    assert client.status() == 200
    assert client.get(f"/api/v1/resources/{note['id']}").json() == note
    client.refresh()
    assert second.client(client.tokens["access_token"]).status() == 200


def test_the_six_requests_of_the_readme_work(serve: Serve, database: str) -> None:
    client = serve(DATABASE_URL=database).client()
    signed_up = client.post("/api/v1/users", json={"email": "Ada@example.com", "password": PASSWORD, "name": "Ada"})
    assert signed_up.status_code == 201
    assert signed_up.headers["location"] == f"/api/v1/users/{signed_up.json()['id']}"
    client.log_in("ada@example.com")
    created = client.post("/api/v1/resources", json={"type": "movie", "data": {"title": "Amélie", "year": 2001}})
    assert created.status_code == 201
    location = created.headers["location"]
    listed = client.get("/api/v1/resources", params={"type": "movie", "count": "exact"})
    assert (listed.json()["items"], listed.json()["total"]) == ([created.json()], 1)
    updated = client.patch(location, json={"data": {"year": 2002}}, headers={"If-Match": created.headers["etag"]})
    assert updated.status_code == 200
    assert updated.json()["data"] == {"title": "Amélie", "year": 2002}
    assert client.delete(location).status_code == 204
    assert client.status(location) == 404
    # Both names of one endpoint.
    assert client.get("/api/resources").json() == {"items": [], "next_cursor": None}


# --- the command line ----------------------------------------------------------------------------


def create_admin(directory: Path, email: str, password: str | bytes, **variables: str) -> tuple[int, str, str]:
    done = kingpost(directory, "users", "create-admin", email, "--password-stdin", stdin=password, **variables)
    return done.returncode, done.stdout, done.stderr


def test_an_admin_can_be_created_before_the_first_start(serve: Serve, tmp_path: Path, database: str) -> None:
    code, out, err = create_admin(tmp_path, "root@example.com", f"  {PASSWORD} \n", DATABASE_URL=database)
    assert (code, err) == (0, "")
    assert "root@example.com is an administrator" in out
    client = serve(DATABASE_URL=database).client().log_in("root@example.com", f"  {PASSWORD} ")
    assert client.status("/api/v1/users") == 200


def test_a_password_is_the_first_line_of_standard_input(serve: Serve, tmp_path: Path) -> None:
    endings = ["", "\n", "\r\n", "\nsecond line\n"]
    for number, ending in enumerate(endings):
        assert create_admin(tmp_path, f"root{number}@example.com", PASSWORD + ending)[0] == 0
    server = serve()
    for number in range(len(endings)):
        server.client().log_in(f"root{number}@example.com")


@pytest.mark.parametrize(
    ("email", "password", "expected"),
    [
        ("root@example.com", "", ["at least 8"]),
        ("root@example.com", "short\n", ["at least 8"]),
        ("root@example.com", "x" * 257, ["at most 256"]),
        ("root@example.com", b"not \xff\xfe UTF-8 at all", ["UTF-8"]),
        ("nobody", "short\n", ["address", "at least 8"]),
        ("", PASSWORD, ["address"]),
    ],
)
def test_an_invalid_admin_is_refused_in_plain_sentences(
    tmp_path: Path, email: str, password: str | bytes, expected: list[str]
) -> None:
    code, out, err = create_admin(tmp_path, email, password)
    assert (code, out) == (1, "")
    lines = sentences(err)
    assert len(lines) == len(expected), err
    for line, words in zip(lines, expected, strict=True):
        assert words in line
        assert line.endswith(".")


def test_a_second_admin_with_the_same_address_is_refused(tmp_path: Path) -> None:
    assert create_admin(tmp_path, "root@example.com", PASSWORD)[0] == 0
    code, _, err = create_admin(tmp_path, "ROOT@example.com", PASSWORD)
    assert code == 1
    assert sentences(err) == ["This e-mail address belongs to an account already."]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["serve", "--port", "65536"],
        ["serve", "--port", "http"],
        ["serve", "--workers", "0"],
        ["serve", "extra"],
        ["serve", "--nonsense"],
        ["users", "create-admin", "root@example.com"],
        ["users", "create-admin", "--password-stdin"],
        ["migrate", "now"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_code_two(tmp_path: Path, arguments: list[str]) -> None:
    done = kingpost(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version_need_no_configuration(tmp_path: Path) -> None:
    for arguments in (["--help"], ["serve", "--help"], ["users", "create-admin", "-h"], ["--version"]):
        done = kingpost(tmp_path, *arguments, DATABASE_URL="nonsense")
        assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_is_printed_with_masked_secrets(tmp_path: Path) -> None:
    (tmp_path / "kingpost.toml").write_text('signup = "closed"\nbody_limit = 2048\n')
    done = kingpost(
        tmp_path,
        "config",
        DATABASE_URL="postgresql://kingpost:p%40ssw0rd@db.example.com/kingpost?sslmode=require",
        SECRET="very-secret-" * 4,
        BODY_LIMIT="4096",
        VALKEY_URL="rediss://kingpost:hunter2hunter2@valkey.example.com:6380/1",
    )
    assert done.returncode == 0, done.stderr
    shown = {name: json.loads(value) for name, value in (line.split(" = ", 1) for line in sentences(done.stdout))}
    assert shown["database_url"] == "postgresql://kingpost:***@db.example.com/kingpost?sslmode=require"
    assert shown["secret"] == "***"
    assert (shown["signup"], shown["body_limit"]) == ("closed", 4096)
    assert shown["valkey_url"] == "rediss://***@valkey.example.com:6380/1"
    assert "very-secret" not in done.stdout


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.example.com/kingpost?user=kingpost&password=hunter2hunter2",
        "postgresql://kingpost:hunter2hunter2@/kingpost?host=/run/postgresql",
        "postgres://kingpost:hunter2hunter2@[::1]:5432/kingpost",
        "postgresql://kingpost:hunter2hunter2@a.example.com:5432,b.example.com:5433/kingpost",
    ],
)
def test_a_password_in_any_kind_of_url_is_masked(tmp_path: Path, url: str) -> None:
    done = kingpost(tmp_path, "config", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_all_faults_of_the_configuration_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "kingpost.toml").write_text('nonsense = 1\njson_depth = "deep"\n')
    settings = {"DATABASE_URL": "mysql://x", "BODY_LIMIT": "-1", "TLS_CERT": "cert.pem", "ENVIRONMENT": "staging"}
    faults = ["nonsense", "json_depth", "DATABASE_URL", "BODY_LIMIT", "KINGPOST_TLS_KEY", "KINGPOST_ENVIRONMENT"]
    for command in (["config"], ["serve", "--port", "0"], ["migrate"]):
        done = kingpost(tmp_path, *command, **settings)
        assert done.returncode == 1
        lines = sentences(done.stderr)
        assert len(lines) == len(faults), done.stderr
        for fault in faults:
            assert any(fault in line and line.endswith(".") for line in lines), fault


def test_an_unknown_variable_is_reported_but_is_not_an_error(serve: Serve) -> None:
    assert "KINGPOST_DATABSE_URL is an unknown setting and is ignored." in serve(DATABSE_URL="x").log


def test_the_openapi_document_is_printed(tmp_path: Path) -> None:
    done = kingpost(tmp_path, "openapi")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["openapi"].startswith("3.1")


def test_a_signal_does_not_truncate_a_long_document(tmp_path: Path) -> None:
    whole = kingpost(tmp_path, "openapi").stdout.encode()
    with subprocess.Popen(
        [KINGPOST, "openapi"], cwd=tmp_path, env=environment({}) | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        pipe_size = fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ)
        assert len(whole) > pipe_size
        eventually(lambda: waiting_bytes(process.stdout) == pipe_size)
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == whole
    assert process.returncode == 0


def waiting_bytes(pipe: IO[bytes] | None) -> int:
    """Return the number of unread bytes in a pipe."""
    assert pipe is not None
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
