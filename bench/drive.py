"""Measure the checkout that is installed in this environment. `bench.compare` runs this for each checkout.

Usage: `python -m bench.drive URL FILE`, where each line of FILE is the body of a resource. The program writes an empty
line when it is ready. Then it reads names of rows from standard input, one per line. For each name it measures a slice
and writes its `Times`.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import uvloop

from bench import asgi
from bench.asgi import RESOURCES

EXISTING = 500
"""The number of resources that are created before the measurement."""

type Call = Callable[[], Awaitable[object]]


class Row(NamedTuple):
    """A kind of request, the number of concurrent callers, and the number of requests of each caller in a slice."""

    request: str
    callers: int
    times: int


ROWS = {
    "get": Row("get", 1, 200),
    "get, 64 at once": Row("get", 64, 5),
    "list of 20": Row("list", 1, 100),
    "create": Row("create", 1, 100),
    "create, 64 at once": Row("create", 64, 5),
}


class Times(NamedTuple):
    """Microseconds per call: processor time of all threads, and elapsed time."""

    processor: float
    clock: float


async def serve(url: str, bodies: Sequence[bytes]) -> None:
    """Run Kingpost on an empty database, and measure the requested rows until standard input ends."""
    async with asgi.running(url, Path()) as kingpost:
        client, _ = await asgi.sign_in(application_of(kingpost))
        ids, body = cycle(await asgi.create(client, bodies[:EXISTING])), cycle(bodies)
        calls: dict[str, Call] = {
            "get": lambda: client.send("GET", f"{RESOURCES}/{next(ids)}"),
            "list": lambda: client.send("GET", RESOURCES, query=b"limit=20"),
            "create": lambda: client.send("POST", RESOURCES, body=next(body)),
        }
        for row in ROWS.values():
            await measure(row, calls[row.request])
        gc.collect()
        gc.freeze()
        print(flush=True)
        # Read in a thread, so that the poll for ended sessions continues while the other checkout is measured.
        while name := (await asyncio.to_thread(sys.stdin.readline)).strip():
            row = ROWS[name]
            gc.collect()
            print(*await measure(row, calls[row.request]), flush=True)


def application_of(kingpost: object) -> object:
    """Return the ASGI application. In checkouts from before decision 15, `main.application` creates it."""
    if hasattr(kingpost, "application"):
        return kingpost.application
    from kingpost import main  # noqa: PLC0415

    make: Callable[[object], object] = getattr(main, "application")  # noqa: B009 - mypy sees the new layout only
    return make(kingpost)


async def measure(row: Row, call: Call) -> Times:
    """Measure one slice of a row."""

    async def caller() -> None:
        for _ in range(row.times):
            await call()

    clock, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*[caller() for _ in range(row.callers)])
    processor, clock = time.process_time() - processor, time.perf_counter() - clock
    calls = row.callers * row.times
    return Times(processor / calls * 1e6, clock / calls * 1e6)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1], Path(sys.argv[2]).read_bytes().splitlines()))
