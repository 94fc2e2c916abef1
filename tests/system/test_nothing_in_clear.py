"""After all that makes secrets, none of them is found in the database, in Valkey or in what the server wrote."""

import asyncio
import base64
import re
import secrets
import subprocess
import time
from collections.abc import Generator, Mapping
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from kingpost.auth.second_factor import totp
from tests.servers import BINARIES, PostgreSQLServer, ValkeyServer
from tests.system.conftest import Serve
from tests.system.running import Client, Server, eventually, kingpost
from tests.system.searching import Secrets

SECRET = "the master secret " + secrets.token_urlsafe(24)
ADA, ADMIN = "ada.lovelace@example.com", "admin@example.com"
TOKEN = re.compile(r"[?&]token=([A-Za-z0-9_-]+)")
PRIVATE_KEY = bytes.fromhex("020100301306072a8648ce3d0201")
"""What every private key for P-256 starts with in PKCS #8, after its length."""


class Mailbox:
    """The file outbox: one letter after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: set[Path] = set()

    def token(self, to: str) -> str:
        """The token in the next letter to somebody that has one."""
        token = eventually(lambda: self._next(to))
        assert token is not None
        return token

    def _next(self, to: str) -> str | None:
        for file in sorted(set(self._directory.glob("*.eml")) - self._read):
            letter = message_from_bytes(file.read_bytes(), policy=policy.default)
            if to not in letter["To"]:
                continue
            self._read.add(file)
            text = letter.get_body(("plain",))
            assert text is not None
            if match := TOKEN.search(text.get_content()):
                return match[1]
        return None


class Run:
    """One run of a server with the secrets that come up in it. `told` is what commands wrote."""

    def __init__(self, server: Server, settings: Mapping[str, str]) -> None:
        self.server = server
        self.secrets = Secrets()
        self.mail = Mailbox(server.directory / "outbox")
        self.client = server.client()
        self.told = ""
        self._settings = settings

    def command(self, *arguments: str, stdin: str = "") -> None:
        done = kingpost(self.server.directory, *arguments, stdin=stdin, **self._settings)
        assert done.returncode == 0, done.stderr
        self.told += done.stdout + done.stderr

    def post(self, path: str, status: int, **body: Any) -> Any:
        """What a POST to the API answers."""
        answer = self.client.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == status, f"{path}: {answer.text}"
        return answer.json() if answer.content else None

    def log_in(self, email: str, password: str, **more: str) -> Client:
        """Sign in, and be this one from now on."""
        granted = self.post("auth/login", 200, email=email, password=password, **more)
        self.secrets.grant(granted)
        self.client = self.server.client(granted["access_token"])
        self.client.tokens = granted
        return self.client

    def mailed(self, to: str = ADA) -> str:
        """The token of the next letter."""
        return self.secrets.random("token in a letter", self.mail.token(to))

    def end_session(self) -> None:
        """Be a stranger from now on."""
        self.client = self.server.client()


def administer(run: Run) -> None:
    """What an operator does on the command line."""
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
    """An account whose address is verified, and its password."""
    password, other = run.secrets.password("at the sign-up"), run.secrets.password("at another sign-up")
    run.post("users", 202, email=ADA, password=password)
    run.post("auth/email/verify", 204, token=run.mailed())
    run.post("users", 202, email=ADA, password=other)
    run.mailed()
    return password


def use_sessions(run: Run, password: str) -> None:
    """Logins that fail and one that does not, and refreshes."""
    run.post("auth/login", 401, email=ADA, password=run.secrets.password("that is wrong"))
    run.post("auth/login", 401, email="nobody@example.com", password=run.secrets.password("of nobody"))
    client = run.log_in(ADA, password)
    for _ in range(2):
        run.secrets.grant(client.refresh().tokens)
    run.post("auth/refresh", 401, refresh_token=client.tokens["refresh_token"] + "A")
    run.client.get("/api/v1/users/me", headers={"Authorization": f"Bearer {run.secrets.add('bad token', 'x' * 99)}"})


def recover(run: Run) -> str:
    """A forgotten password; the new one."""
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
    """Enrolment, logins with a code of the app and with a recovery code."""
    secret = run.post("auth/totp", 200)["secret"]
    run.secrets.add("TOTP secret", secret, base64.b32decode(secret))
    # The step before is good as well, so a step that ends in this moment does no harm.
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


def use_an_api_key(run: Run) -> None:
    """A key that is made, used and left to live on, and one that is revoked."""
    for is_kept in (True, False):
        made = run.post("api-keys", 201, name="of the test", scopes=["users:read"])
        key = run.secrets.add("API key", made["key"], made["key"].removeprefix("kp_").encode())
        assert run.server.client(key).get("/api/v1/users/me").status_code == 200
        if not is_kept:
            assert run.client.delete(f"/api/v1/api-keys/{made['id']}").status_code == 204


def change_address_and_password(run: Run, password: str) -> None:
    """A new address, confirmed from there, and a new password."""
    path, new = f"/api/v1/users/{run.client.tokens['user']['id']}", "countess@example.net"
    changed = run.client.patch(path, json={"email": new, "current_password": password})
    assert changed.status_code == 200, changed.text
    run.post("auth/email/verify", 204, token=run.mailed(new))
    passwords = {"current_password": password, "new_password": run.secrets.password("that is the last")}
    changed = run.client.put(f"{path}/password", json=passwords)
    assert changed.status_code == 204, changed.text


def live(run: Run) -> None:
    """Everything that makes secrets."""
    administer(run)
    password = sign_up(run)
    use_sessions(run, password)
    password = recover(run)
    use_a_second_factor(run, password)
    use_an_api_key(run)
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
    """Those with which the most secrets are made."""
    return {"SECRET": SECRET, "SIGNUP": "verified", "VALKEY_URL": valkey.url, "RATE_LIMIT_LOGIN": "10/minute"}


def run_of(serve: Serve, settings: Mapping[str, str]) -> Run:
    """A whole life of a server that is then at rest, but still runs."""
    run = Run(serve(settings=settings), settings)
    run.secrets.add("master secret", SECRET)
    run.secrets.add("password of Valkey", ValkeyServer.PASSWORD)
    run.secrets.add("private key", "BEGIN PRIVATE KEY", PRIVATE_KEY)
    live(run)
    return run


def written(run: Run) -> bytes:
    """What the server and the commands told."""
    return (run.server.output + run.server.log + run.told).encode()


@pytest.mark.parametrize("before", range(4))
def test_the_search_finds_what_is_there(before: int) -> None:
    value = secrets.token_bytes(32)
    places = [value, value.hex().encode(), value.hex().upper().encode()]
    places += [encode(bytes(before) + value + b"more") for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    run_secrets = Secrets()
    run_secrets.add("a token", "text", value)
    for place in places:
        assert run_secrets.found_in(secrets.token_bytes(100) + place + b"...") == {"a token"}
    assert run_secrets.found_in(secrets.token_bytes(10_000)) == set()


def test_nothing_in_clear_is_found_in_an_sqlite_file_or_a_log(
    serve: Serve, settings: dict[str, str], tmp_path: Path, valkey: ValkeyServer
) -> None:
    run = run_of(serve, settings)
    # While it runs: the log holds what has been written over in the database since.
    files = {path.name: path.read_bytes() for path in tmp_path.glob("kingpost.db*")}
    assert {"kingpost.db", "kingpost.db-wal"} <= files.keys()
    kept = asyncio.run(valkey.everything()).encode()
    assert run.server.stop() == 0
    at_rest = (tmp_path / "kingpost.db").read_bytes()
    # The search would find something: these are not secret.
    assert all(text in at_rest for text in (b"countess@example.net", b"$argon2id$", b"session.started"))
    assert b"kingpost:attempts:" in kept
    assert not any(email in kept for email in (b"lovelace", b"countess", b"127.0.0.1"))
    assert_clean(run, **files, at_rest=at_rest, valkey=kept, written=written(run))


@pytest.mark.postgresql
def test_nothing_in_clear_is_found_in_postgresql_or_a_log(
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
