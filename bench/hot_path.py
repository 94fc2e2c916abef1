"""Profile requests: `python3 dev.py python -m bench.hot_path`, on SQLite and without a socket.

It profiles the whole application in a loop (`bench/asgi.py`), and then measures its parts one by one.
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

from bench import asgi, samples
from bench.asgi import RESOURCES, Client
from kingpost.http.app import application as http
from kingpost.http.app.input import parse_query
from kingpost.http.app.router import Endpoint, Router
from kingpost.jsontools.strict import decode
from kingpost.main import ROUTES, Running
from kingpost.resources.schemas import ResourceQuery

EXISTING = 1_000
"""The number of resources that are created before the measurement."""


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="kingpost-bench-") as name:
        async with asgi.running(f"sqlite:///{name}/bench.db", Path(name)) as kingpost:
            client, token = await asgi.sign_in(kingpost.application)
            bodies = [body.encode() for body in samples.bodies(EXISTING)]
            resource_id = (await asgi.create(client, bodies))[7]
            path = f"{RESOURCES}/{resource_id}"
            new = {"name": "bench", "scopes": ["resources:read"], "password": asgi.PASSWORD}
            machine = Client(kingpost.application, (await client.post("/api/v1/api-keys", new))["key"])
            await _whole("get", lambda: client.send("GET", path), count)
            await _whole("get with an API key", lambda: machine.send("GET", path), count)
            await _whole("list", lambda: client.send("GET", RESOURCES, query=b"limit=20"), count)
            create = count // 20
            await _whole("create, one at a time", lambda: client.send("POST", RESOURCES, body=bodies[0]), create)
            await _parts(kingpost, token, resource_id, bodies[0], count)


async def _whole(name: str, call: Callable[[], Awaitable[bytes]], count: int) -> None:
    time_per_call = await _time(call, count)
    print(f"\n=== {name}: {time_per_call:.1f} µs in total, {len(await call())} bytes\n")
    profile = cProfile.Profile()
    profile.enable()
    await _time(call, count)
    profile.disable()
    pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(22)


async def _parts(kingpost: Running, token: str, resource_id: str, body: bytes, count: int) -> None:
    router = Router([Endpoint(route, None, None) for route in ROUTES])
    path = f"{RESOURCES}/{resource_id}"
    resource = await kingpost.stores.resources.find(resource_id)
    document = msgspec.json.decode(body)

    def plain(work: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
        async def call() -> Any:
            return work()

        return call

    parts: dict[str, Callable[[], Awaitable[Any]]] = {
        "nothing (the loop itself)": plain(lambda: None),
        "route": plain(lambda: router.match(path)),
        "request id": plain(lambda: http.request_id_of({})),
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
    """Return the microseconds per call: the best of three loops."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for number in range(count):
            await call()
            if number % 100 == 0:
                await asyncio.sleep(0)  # Let the poll for ended sessions run, as in the server.
        best = min(best, time.perf_counter() - began)
    return best / count * 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.hot_path", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="number of calls of each part")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args().count))
