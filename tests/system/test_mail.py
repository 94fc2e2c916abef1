"""Mail delivery: sent after the request by any free process, even if the mail server fails."""

import asyncio
import os
import re
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from kingpost import clock
from tests import mail_server, servers
from tests.mail_server import MailServer
from tests.system.certificates import make_certificate
from tests.system.conftest import Serve
from tests.system.running import PASSWORD, Server, eventually, kingpost, sentences, workers_of

PEOPLE = [f"person{number}@example.com" for number in range(6)]
AT_MOST = 5.0
"""The longest acceptable response time in seconds. On a slow machine, hashing six passwords takes most of it."""


@pytest.fixture
def mail() -> Generator[MailServer]:
    """A mail server that is down."""
    server = MailServer()
    yield server
    server.stop()


def sign_up_all(server: Server, people: list[str]) -> float:
    """Sign people up, one after the other; return the duration of the slowest request."""
    slowest = 0.0
    client = server.client()
    for email in people:
        began = time.monotonic()
        answer = client.post("/api/v1/users", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 202, answer.text
        slowest = max(slowest, time.monotonic() - began)
    return slowest


def recipients(mail: MailServer) -> Counter[str]:
    return Counter(str(message["To"]) for message in mail.received)


def test_a_dead_mail_server_loses_no_mail_and_slows_no_request(serve: Serve, mail: MailServer, database: str) -> None:
    url = f"smtp://127.0.0.1:{mail.port}"
    server = serve("--workers", "2", SIGNUP="verified", MAIL_URL=url, DATABASE_URL=database)
    assert sign_up_all(server, PEOPLE) < AT_MOST
    eventually(lambda: server.log.count("the mail server cannot be used") >= len(PEOPLE))
    assert server.client().status("/readyz") == 200
    mail.start()
    eventually(lambda: len(mail.received) >= len(PEOPLE), timeout=40)
    time.sleep(2)
    assert recipients(mail) == Counter(PEOPLE)
    for message in mail.received:
        text = message.get_body(("plain",))
        assert text is not None
        assert f"{server.url}/email/verify?token=" in text.get_content()
    for email in PEOPLE:
        assert email not in server.log
    assert not re.search(r"token=", server.log)


def test_mail_unsent_at_a_power_cut_is_sent_after_the_restart(serve: Serve, mail: MailServer, database: str) -> None:
    settings = {"SIGNUP": "verified", "MAIL_URL": f"smtp://127.0.0.1:{mail.port}", "DATABASE_URL": database}
    first = serve("--workers", "2", settings=settings)
    sign_up_all(first, PEOPLE[:2])
    eventually(lambda: first.log.count("the mail server cannot be used") >= 2)
    first.kill()
    end_all_leases(database)  # After a power cut during an attempt, the mail waits until the lease ends.
    mail.start()
    second = serve(settings=settings, port=first.port)
    sign_up_all(second, PEOPLE[2:])
    eventually(lambda: len(mail.received) >= len(PEOPLE))
    time.sleep(1)
    assert recipients(mail) == Counter(PEOPLE)


def end_all_leases(database: str) -> None:
    """Make all jobs due, while no server runs."""
    change = f"UPDATE jobs SET due_at = '{clock.now()}' WHERE due_at IS NOT NULL"
    if database.startswith("sqlite:///"):
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as file, file:
            file.execute(change)
    else:
        asyncio.run(servers.execute(database, change))


@pytest.mark.timeout(240)
def test_the_mail_of_a_killed_worker_is_sent_by_another_worker(serve: Serve, mail: MailServer) -> None:
    server = serve("--workers", "2", SIGNUP="verified", MAIL_URL=f"smtp://127.0.0.1:{mail.port}")
    sign_up_all(server, PEOPLE[:2])
    eventually(lambda: server.log.count("the mail server cannot be used") >= 2)
    os.kill(workers_of(server)[0], signal.SIGKILL)
    mail.start()
    eventually(lambda: len(mail.received) >= 2, timeout=150)
    time.sleep(1)
    assert recipients(mail) == Counter(PEOPLE[:2])


def test_a_hanging_mail_server_does_not_prevent_a_stop(serve: Serve) -> None:
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as silent:  # The system accepts the connection, but no reply is ever sent.
        server = serve(SIGNUP="verified", MAIL_URL=f"smtp://127.0.0.1:{silent.getsockname()[1]}")
        assert sign_up_all(server, PEOPLE[:1]) < AT_MOST
        connection, _ = silent.accept()
        assert server.stop() == 0  # It waits for less than the minute that a job may take.
        connection.close()


def test_mail_goes_over_tls_with_a_password(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.cert))
    options = {"auth_required": True, "authenticator": mail_server.only_with_password}
    with mail_server.running(made, **options) as mail:
        url = f"smtp://{mail_server.USER}:{mail_server.QUOTED_PASSWORD}@127.0.0.1:{mail.port}"
        settings = {"MAIL_URL": url, "MAIL_FROM": "Example <hello@example.com>"}
        server = serve(SIGNUP="verified", settings=settings)
        sign_up_all(server, PEOPLE[:1])
        eventually(lambda: len(mail.received) == 1)
        assert mail.received[0]["From"] == "Example <hello@example.com>"
        assert mail.sessions[0].authenticated
    shown = kingpost(tmp_path, "config", **settings).stdout
    assert mail_server.QUOTED_PASSWORD not in shown + server.log + server.output
    assert f"***@127.0.0.1:{mail.port}" in shown


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_broken_template_is_reported_before_the_server_starts(tmp_path: Path, workers: str) -> None:
    directory = tmp_path / "templates"
    directory.mkdir()
    (directory / "verify-email.txt").write_text("Subject: Hello\n\n{{ first_name }}")
    (directory / "verify-emial.html").write_text("a typing mistake")
    arguments = ["serve", "--port", "0", "--workers", workers]
    done = kingpost(tmp_path, *arguments, MAIL_TEMPLATES=str(directory))
    assert (done.returncode, done.stdout) == (1, "")
    messages = sentences(done.stderr)
    assert len(messages) == 2
    assert "verify-emial.html is not a template" in messages[0]
    assert "verify-email cannot be rendered: 'first_name' is undefined." in messages[1]
