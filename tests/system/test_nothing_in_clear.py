"""No secret is stored in clear: none is found in the database, in Valkey or in the output of the server."""

import asyncio
import base64
import secrets
import subprocess
import time
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from kingpost.auth.second_factor import totp
from tests.servers import BINARIES, PostgreSQLServer, ValkeyServer
from tests.system import api_keys
from tests.system.conftest import Serve
from tests.system.runs import ADA, Run
from tests.system.searching import Secrets

SECRET = "the master secret " + secrets.token_urlsafe(24)
ADMIN = "admin@example.com"
PRIVATE_KEY = bytes.fromhex("020100301306072a8648ce3d0201")
"""The first bytes of every private key for P-256 in PKCS #8, after its length."""


def administer(run: Run) -> None:
    """Run the commands of an operator."""
    first, second = run.secrets.password("of the admin"), run.secrets.password("of the admin, later")
    run.command("users", "create-admin", ADMIN, "--password-stdin", stdin=first)
    run.command("users", "set-password", ADMIN, "--password-stdin", stdin=second)
    run.command("keys", "rotate")
    run.command("keys", "list")
    run.command("users", "list")
    run.command("config")
    run.log_in(ADMIN, second)
    assert run.client.get("/api/v1/audit").status_code == 200
    run.end_session()


def sign_up(run: Run) -> str:
    """Create an account with a verified address, and return its password."""
    password, other = run.secrets.password("at the sign-up"), run.secrets.password("at another sign-up")
    run.post("users", 202, email=ADA, password=password)
    run.post("auth/email/verify", 204, token=run.mailed())
    run.post("users", 202, email=ADA, password=other)
    run.mailed()
    return password


def use_sessions(run: Run, password: str) -> None:
    """Make failed logins, a successful one, and refreshes."""
    run.post("auth/login", 401, email=ADA, password=run.secrets.password("that is wrong"))
    run.post("auth/login", 401, email="nobody@example.com", password=run.secrets.password("of nobody"))
    client = run.log_in(ADA, password)
    for _ in range(2):
        run.secrets.grant(client.refresh().tokens)
    run.post("auth/refresh", 401, refresh_token=client.tokens["refresh_token"] + "A")
    run.client.get("/api/v1/users/me", headers={"Authorization": f"Bearer {run.secrets.add('bad token', 'x' * 99)}"})


def recover(run: Run) -> str:
    """Reset a forgotten password; return the new one."""
    run.end_session()
    password = run.secrets.password("after the reset")
    run.post("auth/password/forgot", 202, email=ADA)
    older = run.mailed()
    run.post("auth/password/forgot", 202, email=ADA)
    token = run.mailed()
    run.post("auth/password/reset", 400, token=older, new_password=run.secrets.password("with an old token"))
    run.post("auth/password/reset", 400, token=token, new_password="short")
    run.post("auth/password/reset", 204, token=token, new_password=password)
    run.log_in(ADA, password)
    return password


def use_a_second_factor(run: Run, password: str) -> None:
    """Enrol, and log in with a code of the app and with a recovery code."""
    secret = run.post("auth/totp", 200, password=password)["secret"]
    run.secrets.add("TOTP secret", secret, base64.b32decode(secret))
    # The previous step is valid too, so the test still works if the step ends now.
    step = int(time.time()) // totp.STEP
    codes = run.post("auth/totp/confirm", 200, otp=totp.code_at(secret, step))["recovery_codes"]
    for code in codes:
        run.secrets.add("recovery code", code, code.replace("-", "").encode())
    run.end_session()
    run.post("auth/login", 401, email=ADA, password=password)
    run.log_in(ADA, password, otp=totp.code_at(secret, step + 1))
    run.log_in(ADA, password, otp=codes[0])
    answer = run.client.request("DELETE", "/api/v1/auth/totp", json={"password": password, "otp": codes[1]})
    assert answer.status_code == 204, answer.text


def change_address_and_password(run: Run, password: str) -> None:
    """Change the address, confirm it, and change the password."""
    path, new = f"/api/v1/users/{run.client.tokens['user']['id']}", "countess@example.net"
    changed = run.client.patch(path, json={"email": new, "current_password": password})
    assert changed.status_code == 200, changed.text
    run.post("auth/email/verify", 204, token=run.mailed(new))
    passwords = {"current_password": password, "new_password": run.secrets.password("that is the last")}
    changed = run.client.put(f"{path}/password", json=passwords)
    assert changed.status_code == 204, changed.text


def live(run: Run) -> None:
    """Run everything that creates secrets."""
    administer(run)
    password = sign_up(run)
    use_sessions(run, password)
    password = recover(run)
    use_a_second_factor(run, password)
    api_keys.use_one(run, password)
    change_address_and_password(run, password)


def assert_clean(run: Run, **places: bytes) -> None:
    assert len(run.secrets) > 60
    found = {name: sorted(run.secrets.found_in(place)) for name, place in places.items()}
    assert found == {name: [] for name in places}


@pytest.fixture
def valkey() -> Generator[ValkeyServer]:
    """A Valkey for one test."""
    server = ValkeyServer()
    yield server
    server.remove()


@pytest.fixture
def settings(valkey: ValkeyServer) -> dict[str, str]:
    """The settings that create the most secrets."""
    return {"SECRET": SECRET, "SIGNUP": "verified", "VALKEY_URL": valkey.url, "RATE_LIMIT_LOGIN": "10/minute"}


def run_of(serve: Serve, settings: Mapping[str, str]) -> Run:
    """Run everything on a server that then idles, but still runs."""
    run = Run(serve(settings=settings), settings)
    run.secrets.add("master secret", SECRET)
    run.secrets.add("password of Valkey", ValkeyServer.PASSWORD)
    run.secrets.add("private key", "BEGIN PRIVATE KEY", PRIVATE_KEY)
    live(run)
    return run


def written(run: Run) -> bytes:
    """Return the output of the server and of the commands."""
    return (run.server.output + run.server.log + run.command_output).encode()


@pytest.mark.parametrize("before", range(4))
def test_the_search_finds_a_secret_in_every_form(before: int) -> None:
    value = secrets.token_bytes(32)
    places = [value, value.hex().encode(), value.hex().upper().encode()]
    places += [encode(bytes(before) + value + b"more") for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    run_secrets = Secrets()
    run_secrets.add("a token", "text", value)
    for place in places:
        assert run_secrets.found_in(secrets.token_bytes(100) + place + b"...") == {"a token"}
    assert run_secrets.found_in(secrets.token_bytes(10_000)) == set()


def test_no_secret_is_in_clear_in_a_sqlite_file_or_a_log(
    serve: Serve, settings: dict[str, str], tmp_path: Path, valkey: ValkeyServer
) -> None:
    run = run_of(serve, settings)
    # While the server runs: the log still has data that the database has overwritten since.
    files = {path.name: path.read_bytes() for path in tmp_path.glob("kingpost.db*")}
    assert {"kingpost.db", "kingpost.db-wal"} <= files.keys()
    kept = asyncio.run(valkey.everything()).encode()
    assert run.server.stop() == 0
    at_rest = (tmp_path / "kingpost.db").read_bytes()
    # The search does work: it finds these values, which are not secret.
    assert all(text in at_rest for text in (b"countess@example.net", b"$argon2id$", b"session.started"))
    assert b"kingpost:attempts:" in kept
    assert not any(email in kept for email in (b"lovelace", b"countess", b"127.0.0.1"))
    assert_clean(run, **files, at_rest=at_rest, valkey=kept, written=written(run))


@pytest.mark.postgresql
def test_no_secret_is_in_clear_in_postgresql_or_a_log(
    serve: Serve, settings: dict[str, str], migrated_postgresql: str, postgresql_server: PostgreSQLServer
) -> None:
    before = postgresql_server.logged()
    run = run_of(serve, {**settings, "DATABASE_URL": migrated_postgresql})
    log = postgresql_server.logged_since(before)
    assert run.server.stop() == 0
    dump = subprocess.run([BINARIES / "pg_dump", migrated_postgresql], check=True, capture_output=True).stdout
    for place in (dump, log):
        assert all(text in place for text in (b"countess@example.net", b"$argon2id$", b"session.started"))
    assert_clean(run, dump=dump, write_ahead_log=log, written=written(run))
