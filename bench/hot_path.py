"""Where the time of a request goes: `python3 dev.py python -m bench.hot_path`, on SQLite, without a socket.

It calls the whole application in a loop, as uvicorn would, and then its parts one by one.
"""

import argparse
import asyncio
import cProfile
import pstats
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench import databases, samples
from kingpost import main as composition
from kingpost import settings
from kingpost.accounts.registration.service import NewAccount
from kingpost.auth.api_keys.service import NewAPIKey
from kingpost.http.app import application as http
from kingpost.http.app.application import Application
from kingpost.http.app.input import parse_query
from kingpost.http.app.router import Endpoint, Router
from kingpost.jsontools.strict import decode
from kingpost.main import ROUTES, Running
from kingpost.model import DEFAULT_ROLES, SYSTEM, Context, Principal
from kingpost.resources.schemas import ResourceQuery

PATH = "/api/v1/resources"
EMAIL, PASSWORD = "bench@example.com", "a long and unusual sentence"


class Driver:
    """Calls the application with one request, over and over."""

    def __init__(self, app: Application, token: str) -> None:
        self._app = app
        self._headers = [(b"host", b"127.0.0.1:8000"), (b"authorization", f"Bearer {token}".encode())]
        self.status = 0
        self.size = 0

    async def call(self, method: str, path: str, query: bytes = b"", body: bytes = b"") -> None:
        headers = list(self._headers)
        if body:
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        scope = {
            "type": "http", "method": method, "scheme": "http", "path": path, "query_string": query,
            "headers": headers, "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 9), "state": {},
        }  # fmt: skip
        message = {"type": "http.request", "body": body, "more_body": False}

        async def receive() -> dict[str, Any]:
            return message

        await self._app(scope, receive, self._send)

    async def _send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.size = len(message.get("body", b""))


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="kingpost-bench-") as name:
        url = f"sqlite:///{name}/bench.db"
        given = {"DATABASE_URL": url, "SECRET": "bench " * 8, "RATE_LIMIT_LOGIN": "off"}
        environment = {f"KINGPOST_{name}": value for name, value in given.items()}
        loaded = settings.load(environment, Path(name))
        async with composition.running(loaded) as kingpost:
            owner = await kingpost.accounts.registration.create(SYSTEM, NewAccount(EMAIL, PASSWORD), DEFAULT_ROLES)
            stored = list(samples.resources(20_000, owner.id))
            databases.fill(url, stored)
            grant = await kingpost.auth.sessions.login(Context(), EMAIL, PASSWORD, None)
            driver = Driver(kingpost.application, grant.access_token)
            body = next(samples.bodies(1)).encode()
            await _whole("get", lambda: driver.call("GET", f"{PATH}/{stored[7].id}"), count, driver)
            machine = Driver(kingpost.application, await _api_key(kingpost, owner.id))
            path = f"{PATH}/{stored[7].id}"
            await _whole("get with an API key", lambda: machine.call("GET", path), count, machine)
            await _whole("list", lambda: driver.call("GET", PATH, b"limit=20"), count, driver)
            await _whole("create, one at a time", lambda: driver.call("POST", PATH, body=body), count // 20, driver)
            await _parts(kingpost, grant.access_token, stored[7].id, body, count)


async def _api_key(kingpost: Running, user_id: str) -> str:
    principal = Principal(user_id, None, frozenset(DEFAULT_ROLES))
    new = NewAPIKey("bench", ("resources:read",))
    _, text = await kingpost.auth.api_keys.create(Context(principal), new)
    return text


async def _whole(name: str, call: Callable[[], Awaitable[None]], count: int, driver: Driver) -> None:
    taken = await _time(call, count)
    print(f"\n=== {name}: {taken:.1f} µs in all; status {driver.status}, {driver.size} bytes\n")
    profile = cProfile.Profile()
    profile.enable()
    await _time(call, count)
    profile.disable()
    pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(22)


async def _parts(kingpost: Running, token: str, resource_id: str, body: bytes, count: int) -> None:
    router = Router([Endpoint(route, None, None) for route in ROUTES])
    path = f"{PATH}/{resource_id}"
    resource = await kingpost.stores.resources.find(resource_id)
    document = msgspec.json.decode(body)

    def plain(work: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
        async def call() -> Any:
            return work()

        return call

    parts: dict[str, Callable[[], Awaitable[Any]]] = {
        "nothing (the loop itself)": plain(lambda: None),
        "route": plain(lambda: router.match(path)),
        "request id": plain(lambda: http._request_id({})),
        "query": plain(lambda: parse_query(b"limit=20", ResourceQuery)),
        "token": lambda: kingpost.auth.sessions.authenticate(token),
        "find": lambda: kingpost.stores.resources.find(resource_id),
        "encode": plain(lambda: msgspec.json.encode(resource)),
        "strict decoder": plain(lambda: decode(body)),
        "encode data": plain(lambda: msgspec.json.encode(document)),
    }
    print("=== parts, µs")
    for name, call in parts.items():
        print(f"{name:28}{await _time(call, count):8.2f}")


async def _time(call: Callable[[], Awaitable[Any]], count: int) -> float:
    """Microseconds a call, as the best of three loops."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for number in range(count):
            await call()
            if number % 100 == 0:
                await asyncio.sleep(0)  # the poll for ended sessions runs beside, as it would in the server
        best = min(best, time.perf_counter() - began)
    return best / count * 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.hot_path", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="how often each is called")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args().count))
