"""`kingpost users`: an operator manages accounts while servers run, on both databases."""

import asyncio
import json
import os
import pty
import select
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pyotp
import pytest

from tests.system.conftest import Serve
from tests.system.running import KINGPOST, PASSWORD, TIMEOUT, Client, environment, eventually, kingpost, sentences

WITHIN = 1.0
"""Seconds within which a command takes effect on running servers."""
OTHER_PASSWORD = "staple battery horse"
UNKNOWN_ID = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a"
FIELDS = {"id", "email", "email_verified", "name", "metadata", "roles", "status", "created_at", "updated_at"}


class Operator:
    """An operator at the command line of one machine."""

    def __init__(self, home: Path, database: str) -> None:
        self.home = home
        self.database = database

    def run(
        self, *arguments: str, code: int = 0, stdin: str | bytes = b"", **variables: str
    ) -> tuple[str, Sequence[str]]:
        """Run `kingpost users`; return what it printed, and its output on standard error."""
        done = kingpost(self.home, "users", *arguments, stdin=stdin, DATABASE_URL=self.database, **variables)
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done.stdout, sentences(done.stderr)

    def document(self, *arguments: str, stdin: str | bytes = b"") -> Any:
        """Return the JSON that a command prints with `--json`."""
        out, err = self.run(*arguments, "--json", stdin=stdin)
        assert err == []
        return json.loads(out)

    def make(self, email: str, *options: str) -> dict[str, Any]:
        user: dict[str, Any] = self.document("create", email, "--password-stdin", *options, stdin=PASSWORD)
        return user

    def refusal(self, *arguments: str, stdin: str | bytes = b"", code: int = 1) -> str:
        """Return the one sentence with which a command fails."""
        out, err = self.run(*arguments, stdin=stdin, code=code)
        assert out == ""
        assert err[-1].endswith(".")
        assert code == 2 or len(err) == 1, err
        return err[-1]

    def audit(self) -> list[tuple[str, str, str | None]]:
        """Return the audit log, oldest first: actor, action and target."""
        query = "SELECT actor_type, action, target_id FROM audit ORDER BY id"
        if self.database.startswith("sqlite:///"):
            with closing(sqlite3.connect(self.database.removeprefix("sqlite:///"), timeout=10)) as file:
                return list(file.execute(query))
        return asyncio.run(self._fetch(query))

    async def _fetch(self, query: str) -> list[tuple[str, str, str | None]]:
        connection = await asyncpg.connect(self.database)
        try:
            return [(row[0], row[1], row[2] and str(row[2])) for row in await connection.fetch(query)]
        finally:
            await connection.close()


@pytest.fixture
def operator(tmp_path: Path, database: str) -> Operator:
    return Operator(tmp_path, database)


@pytest.fixture
def alone(tmp_path: Path) -> Operator:
    """An operator whose database does not matter."""
    return Operator(tmp_path, f"sqlite:///{tmp_path}/kingpost.db")


def refused_within_a_second(client: Client) -> bool:
    """Return whether the token of a client is refused in time, and stays refused."""
    deadline = time.monotonic() + WITHIN
    while client.status() != 401 and time.monotonic() < deadline:
        time.sleep(0.02)
    return [client.status() for _ in range(3)] == [401] * 3


# --- every command, with a server ------------------------------------------------------------------


def test_an_operator_can_run_every_command_on_an_account(operator: Operator, serve: Serve) -> None:
    server = serve(DATABASE_URL=operator.database)
    made = operator.make("Ada@example.com", "--role", "user", "--role", "editor", "--role", "user")
    assert made.keys() == FIELDS
    assert (made["email"], made["roles"], made["status"]) == ("Ada@example.com", ["user", "editor"], "active")
    assert made["email_verified"] is True
    client = server.client().log_in("ada@example.com")
    assert operator.document("show", "ADA@example.com") == operator.document("show", made["id"]) == made
    assert client.get("/api/v1/users/me").json() == made | {"pending_email": None}

    suspended = operator.document("suspend", "ada@example.com")
    assert refused_within_a_second(client)
    assert suspended["status"] == "suspended"
    login = {"email": "ada@example.com", "password": PASSWORD}
    assert client.post("/api/v1/auth/login", json=login).status_code == 401
    assert operator.document("activate", made["id"])["status"] == "active"
    client.log_in("ada@example.com")

    assert operator.document("set-roles", made["id"], "user", "admin")["roles"] == ["user", "admin"]
    time.sleep(WITHIN)
    assert client.status("/api/v1/users") == 200

    out, _ = operator.run("set-password", "ada@example.com", "--password-stdin", stdin=f"{OTHER_PASSWORD}\n")
    assert out == "ada@example.com has a new password. Sessions ended: 1.\n"
    assert refused_within_a_second(client)
    assert client.post("/api/v1/auth/login", json=login).status_code == 401
    client.log_in("ada@example.com", OTHER_PASSWORD)

    assert operator.run("end-sessions", made["id"])[0] == f"{made['id']} is signed out. Sessions ended: 1.\n"
    assert refused_within_a_second(client)
    assert (
        operator.refusal("delete", made["id"], "--yes")
        == "This is the last active administrator: make another account one first."
    )
    operator.run("create-admin", "root@example.com", "--password-stdin", stdin=PASSWORD)
    client.log_in("ada@example.com", OTHER_PASSWORD)
    assert operator.run("delete", "ada@example.com", "--yes")[0] == f"Ada@example.com ({made['id']}) is deleted.\n"
    assert refused_within_a_second(client)
    assert operator.refusal("show", "ada@example.com") == "No account has this id or e-mail address."
    actions = [action for actor, action, target in operator.audit() if (actor, target) == ("operator", made["id"])]
    assert actions == [
        "user.created", *["user.changed"] * 3, "user.password_changed", "session.ended", "user.deleted",
    ]  # fmt: skip


def test_an_operator_can_disable_a_lost_second_factor(operator: Operator, serve: Serve) -> None:
    user_id = operator.make("ada@example.com")["id"]
    assert "second factor" in operator.refusal("disable-totp", "ada@example.com")
    assert operator.refusal("disable-totp", UNKNOWN_ID) == "No account has this id or e-mail address."
    client = serve(DATABASE_URL=operator.database).client().log_in("ada@example.com")
    secret = client.post("/api/v1/auth/totp", json={"password": PASSWORD}).json()["secret"]
    confirmed = client.post("/api/v1/auth/totp/confirm", json={"otp": pyotp.TOTP(secret).now()})
    assert confirmed.status_code == 200, confirmed.text
    login = {"email": "ada@example.com", "password": PASSWORD}
    assert client.post("/api/v1/auth/login", json=login).json()["type"] == "/problems/mfa-required"
    out, _ = operator.run("disable-totp", "ada@example.com")
    assert out == "ada@example.com has no second factor any more.\n"
    client.log_in("ada@example.com")
    assert ("operator", "second_factor.disabled", user_id) in operator.audit()


def test_the_last_administrator_cannot_be_removed(operator: Operator) -> None:
    admin = operator.document("create-admin", "root@example.com", "--password-stdin", stdin=PASSWORD)
    assert admin["roles"] == ["user", "admin"]
    for arguments in (["suspend"], ["set-roles", "user"], ["delete", "--yes"]):
        command, *rest = arguments
        assert (
            operator.refusal(command, admin["id"], *rest)
            == "This is the last active administrator: make another account one first."
        )
    assert operator.document("show", admin["id"]) == admin


# --- listing ---------------------------------------------------------------------------------------


def test_accounts_can_be_listed_sorted_filtered_and_counted(operator: Operator) -> None:
    emails = ["c@example.com", "a@example.com", "b@example.com"]
    roles = [("user",), ("user", "x_y"), ("xay", "user")]
    for email, names in zip(emails, roles, strict=True):
        operator.make(email, *[word for name in names for word in ("--role", name)])
    operator.run("suspend", "b@example.com")

    def listed(*options: str) -> tuple[list[str], int]:
        document = operator.document("list", *options)
        assert document.keys() == {"items", "total"}
        assert all(item.keys() == FIELDS for item in document["items"])
        return [item["email"][0] for item in document["items"]], document["total"]

    assert listed() == (["b", "a", "c"], 3)
    assert listed("--sort", "email") == (["a", "b", "c"], 3)
    assert listed("--sort=-email", "--limit", "2") == (["c", "b"], 3)
    assert listed("--status", "suspended") == (["b"], 1)
    assert listed("--status", "active", "--sort", "created_at") == (["c", "a"], 2)
    assert listed("--role", "x_y") == (["a"], 1)
    assert listed("--role", "xay", "--status", "active") == ([], 0)

    out, err = operator.run("list", "--sort", "email", "--limit", "2")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["id", "email", "roles", "status", "created", "at"]
    assert [line[1] for line in lines[1:]] == ["a@example.com", "b@example.com"]
    assert [len(line[0]) for line in lines[1:]] == [36, 36]
    assert "\x1b" not in out
    assert err == ["Listed 2 of 3 accounts. List more with --limit."]


def test_a_list_can_be_longer_than_a_page(alone: Operator) -> None:
    alone.make("first@example.com")
    columns = "email_verified, name, metadata, roles, status, version, created_at, updated_at, password_hash"
    with closing(sqlite3.connect(alone.database.removeprefix("sqlite:///"))) as file, file:
        for number in range(1100):
            file.execute(
                f"INSERT INTO users (id, email, email_key, {columns}) SELECT ?, ?, ?, {columns} FROM users LIMIT 1",
                (f"019abc3e-5b7a-7c11-9d38-{number:012x}", f"u{number}@example.com", f"u{number}@example.com"),
            )
    everybody = alone.document("list", "--limit", "5000", "--sort", "id")
    assert everybody["total"] == len(everybody["items"]) == len({item["id"] for item in everybody["items"]}) == 1101
    assert len(alone.document("list", "--limit", "700")["items"]) == 700


def test_control_characters_in_user_data_are_escaped(alone: Operator, serve: Serve) -> None:
    name = "[red]x \u202e\x9b31m:smile:"
    client = serve(DATABASE_URL=alone.database).client().sign_up()
    user_id = client.tokens["user"]["id"]
    changed = client.patch(f"/api/v1/users/{user_id}", json={"name": name, "metadata": {"a": "\x1b[2J"}})
    assert changed.status_code == 200
    out, _ = alone.run("show", user_id)
    assert "[red]x \\u202e\\x9b31m:smile:" in out
    assert all(character.isprintable() or character == "\n" for character in out)
    assert alone.document("show", user_id)["name"] == name


def test_a_narrow_terminal_wraps_lines_but_never_ids(alone: Operator) -> None:
    user = alone.make("a-rather-long-local-part@a-rather-long-domain.example.com")
    code, shown = at_a_terminal(alone, ["list"], COLUMNS="80", TERM="xterm-256color")
    assert (code, user["id"] in shown) == (0, True)
    assert "\x1b[" in shown


# --- prompts, and wrong usage ---------------------------------------------------------------------


def at_a_terminal(
    operator: Operator, arguments: list[str], *dialogue: tuple[bytes, bytes], **variables: str
) -> tuple[int, str]:
    """Run a command with a terminal for all its streams; return its exit code and its output.

    `dialogue` has the prompts of the command, and the input for each.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [KINGPOST, "users", *arguments],
        cwd=operator.home,
        env=environment({"DATABASE_URL": operator.database}) | variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, questions = b"", list(dialogue)
    try:
        # On Linux, a read fails once the other side is closed.
        with suppress(OSError):
            while select.select([ours], [], [], TIMEOUT)[0]:
                shown += os.read(ours, 65536)
                if questions and questions[0][0] in shown:
                    os.write(ours, questions.pop(0)[1])
        return process.wait(TIMEOUT), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_deletion_is_confirmed_at_the_terminal(alone: Operator) -> None:
    user = alone.make("ada@example.com")
    code, shown = at_a_terminal(alone, ["delete", "ada@example.com"], (b"[y/N]", b"n\n"))
    assert (code, f"Delete ada@example.com ({user['id']}) and everything it owns? [y/N]" in shown) == (1, True)
    assert alone.document("show", user["id"]) == user
    code, shown = at_a_terminal(alone, ["delete", "ada@example.com"], (b"[y/N]", b"y\n"))
    assert (code, "is deleted" in shown) == (0, True)
    alone.refusal("show", user["id"])


def test_a_typed_password_is_prompted_twice_and_not_shown(alone: Operator) -> None:
    alone.make("ada@example.com")
    typed = f"{OTHER_PASSWORD}\n".encode()
    arguments = ["set-password", "ada@example.com", "--password-stdin"]
    code, shown = at_a_terminal(alone, arguments, (b"Password: ", typed), (b"confirmation: ", typed))
    assert (code, "has a new password" in shown) == (0, True)
    assert OTHER_PASSWORD not in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["delete", "ada@example.com"], "add --yes"),
        (["list", "--sort", "name"], "created_at, email, id, updated_at"),
        (["list", "--sort", "id,id"], "each once"),
        (["list", "--status", "gone"], "'gone'"),
        (["list", "--role", "Admin"], "is not a role: write a lower-case letter, then"),
        (["list", "--limit", "0"], "0 is not in the range"),
        (["set-roles", "ada@example.com"], "Missing argument 'ROLE...'"),
        (["set-roles", "ada@example.com", "user", "a b"], "is not a role: write a lower-case letter, then"),
        (["set-roles", "ada@example.com", *[f"r{number}" for number in range(33)]], "at most 32 roles"),
        (["create", "ada@example.com"], "--password-stdin"),
        (["set-password", "ada@example.com"], "--password-stdin"),
        (["show"], "Missing argument 'ACCOUNT'"),
    ],
)
def test_wrong_usage_exits_with_code_two_and_changes_nothing(
    alone: Operator, arguments: list[str], expected: str
) -> None:
    assert expected in alone.refusal(*arguments, code=2)
    assert not (alone.home / "kingpost.db").exists()


@pytest.mark.parametrize("who", [UNKNOWN_ID.upper(), "nobody@example.com", "no address", "é" * 300])
def test_an_unknown_account_is_reported_in_one_sentence(alone: Operator, who: str) -> None:
    assert alone.refusal("delete", who, "--yes") == "No account has this id or e-mail address."


def test_passwords_that_break_a_rule_or_are_not_utf_8_are_refused(alone: Operator) -> None:
    user = alone.make("ada@example.com")
    for password, expected in (("short", "at least 8"), (b"not \xff\xfe UTF-8 at all", "UTF-8"), ("", "at least 8")):
        for arguments in (["set-password", user["id"]], ["create", "bob@example.com"]):
            assert expected in alone.refusal(*arguments, "--password-stdin", stdin=password)
    assert "belongs to an account" in alone.refusal("create", "ADA@example.com", "--password-stdin", stdin=PASSWORD)
    assert alone.document("list")["total"] == 1


def test_no_password_appears_in_the_process_list_or_the_output(alone: Operator, serve: Serve) -> None:
    server = serve(DATABASE_URL=alone.database)
    with subprocess.Popen(
        [KINGPOST, "users", "create", "ada@example.com", "--password-stdin"],
        cwd=alone.home,
        env=environment({"DATABASE_URL": alone.database}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(PASSWORD.encode() + b"\n")
        process.stdin.flush()
        seen = Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/environ").read_bytes()
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    server.client().log_in("ada@example.com")
    for text in (seen, out, err, server.log.encode(), server.output.encode()):
        assert PASSWORD.encode() not in text


def test_a_closed_pipe_causes_no_traceback(alone: Operator) -> None:
    alone.make("ada@example.com")
    for arguments in (["list"], ["list", "--json"], ["show", "ada@example.com"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [KINGPOST, "users", *arguments],
            cwd=alone.home,
            env=environment({"DATABASE_URL": alone.database}),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=20,
            check=False,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (1, b"")


def test_an_encoding_without_a_character_is_not_an_error(alone: Operator) -> None:
    alone.make("zoë@example.com")
    done = subprocess.run(
        [KINGPOST, "users", "list"],
        cwd=alone.home,
        env=environment({"DATABASE_URL": alone.database}) | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"zo\\xeb@example.com" in done.stdout


def test_a_command_does_not_run_background_jobs(alone: Operator, serve: Serve) -> None:
    alone.make("ada@example.com")
    alone.run("set-password", "ada@example.com", "--password-stdin", stdin=OTHER_PASSWORD)
    outbox = alone.home / "outbox"
    assert not outbox.exists()
    serve(DATABASE_URL=alone.database)
    eventually(lambda: outbox.exists() and any(outbox.iterdir()))
