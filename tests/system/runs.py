"""Runs of a server that creates secrets."""

import re
from collections.abc import Mapping
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from tests.system.running import Client, Server, eventually, kingpost
from tests.system.searching import Secrets

ADA = "ada.lovelace@example.com"
TOKEN = re.compile(r"[?&]token=([A-Za-z0-9_-]+)")


class Mailbox:
    """The file outbox: reads one message after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: set[Path] = set()

    def token(self, to: str) -> str:
        """The token in the next message to this address that has a token."""
        token = eventually(lambda: self._next(to))
        assert token is not None
        return token

    def _next(self, to: str) -> str | None:
        for file in sorted(set(self._directory.glob("*.eml")) - self._read):
            message = message_from_bytes(file.read_bytes(), policy=policy.default)
            if to not in message["To"]:
                continue
            self._read.add(file)
            text = message.get_body(("plain",))
            assert text is not None
            if match := TOKEN.search(text.get_content()):
                return match[1]
        return None


class Run:
    """One run of a server with the secrets that occur in it. `command_output` is the output of all commands."""

    def __init__(self, server: Server, settings: Mapping[str, str]) -> None:
        self.server = server
        self.secrets = Secrets()
        self.mail = Mailbox(server.directory / "outbox")
        self.client = server.client()
        self.command_output = ""
        self._settings = settings

    def command(self, *arguments: str, stdin: str = "") -> None:
        done = kingpost(self.server.directory, *arguments, stdin=stdin, **self._settings)
        assert done.returncode == 0, done.stderr
        self.command_output += done.stdout + done.stderr

    def post(self, path: str, status: int, **body: Any) -> Any:
        """Send a POST to the API, and return the response."""
        answer = self.client.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == status, f"{path}: {answer.text}"
        return answer.json() if answer.content else None

    def log_in(self, email: str, password: str, **more: str) -> Client:
        """Log in, and send the next requests as this account."""
        granted = self.post("auth/login", 200, email=email, password=password, **more)
        self.secrets.grant(granted)
        self.client = self.server.client(granted["access_token"])
        self.client.tokens = granted
        return self.client

    def mailed(self, to: str = ADA) -> str:
        """The token of the next message."""
        return self.secrets.random("token in a message", self.mail.token(to))

    def end_session(self) -> None:
        """Log out, and send the next requests without a token."""
        self.client = self.server.client()
