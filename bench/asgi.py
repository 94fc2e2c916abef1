"""Run Kingpost in this process, and call its ASGI application without a socket.

This module uses only the settings, `main.running` and HTTP, so that it works with other commits too.
"""

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

EMAIL, PASSWORD = "bench@example.com", "a long and unusual sentence"
RESOURCES = "/api/v1/resources"


class Client:
    """Sends requests to an ASGI application, with an optional bearer token."""

    def __init__(self, application: Any, token: str = "") -> None:
        self._application = application
        self._headers = [(b"host", b"127.0.0.1:8000")]
        if token:
            self._headers.append((b"authorization", f"Bearer {token}".encode()))

    async def send(self, method: str, path: str, *, query: bytes = b"", body: bytes = b"") -> bytes:
        """Send one request and return the body of the response.

        Raises:
            RuntimeError: the status is not 2xx.
        """
        headers = list(self._headers)
        if body:
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        scope = {
            "type": "http", "method": method, "scheme": "http", "path": path, "raw_path": path.encode(),
            "query_string": query, "headers": headers, "state": {},
            "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 9),
        }  # fmt: skip
        status, content = 0, b""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status, content
            status = message.get("status", status)
            content += message.get("body", b"")

        await self._application(scope, receive, send)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path} failed with status {status}: {content.decode()}")
        return content

    async def post(self, path: str, document: object) -> Any:
        """Post a JSON document and return the decoded response."""
        return msgspec.json.decode(await self.send("POST", path, body=msgspec.json.encode(document)))


@contextlib.asynccontextmanager
async def running(url: str, directory: Path) -> AsyncIterator[Any]:
    """Run Kingpost on a database, without jobs and housekeeping. Yield the object that `main.running` yields."""
    variables = {"DATABASE_URL": url, "SECRET": "bench " * 8, "RATE_LIMIT_LOGIN": "off"}
    environment = {f"KINGPOST_{name}": value for name, value in variables.items()}
    settings = importlib.import_module("kingpost.settings").load(environment, directory)
    async with importlib.import_module("kingpost.main").running(settings, background=False) as kingpost:
        yield kingpost


async def sign_in(application: Any) -> tuple[Client, str]:
    """Create an account and log in. Return a client for the account, and its access token."""
    anonymous = Client(application)
    credentials = {"email": EMAIL, "password": PASSWORD}
    await anonymous.post("/api/v1/users", credentials)
    token = (await anonymous.post("/api/v1/auth/login", credentials))["access_token"]
    return Client(application, token), token


async def create(client: Client, bodies: Sequence[bytes]) -> list[str]:
    """Create resources concurrently and return their ids."""
    created = await asyncio.gather(*[client.send("POST", RESOURCES, body=body) for body in bodies])
    return [msgspec.json.decode(content)["id"] for content in created]
