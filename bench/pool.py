"""Compare the fair pool of connections with asyncpg's pool: `python3 dev.py python -m bench.pool`.

Callers in one process read random rows by id through 16 connections to one PostgreSQL server. Each caller sends one
query at a time. The pools are measured alternately in short runs, and the first pool of a round changes.

- *fair*: `kingpost.storage.postgresql.pool`.
- *asyncpg*: `asyncpg.create_pool` without its reset query and without its timer for idle connections. The fair pool has
  neither.
- *queued*: the same pool behind an `asyncio.Semaphore`, which serves waiting callers in order.
- *reset*: asyncpg's pool with its reset query, which is the default.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from statistics import median, quantiles
from typing import Any, NamedTuple

import asyncpg
import uvloop

from kingpost.storage.postgresql.connect import PostgreSQL
from kingpost.storage.postgresql.pool import Pool
from tests.servers import PostgreSQLServer

CONNECTIONS = 16
ROWS = 100_000
TABLE = f"""
CREATE TABLE items (id integer PRIMARY KEY, data text NOT NULL);
INSERT INTO items SELECT n, repeat('x', 400) FROM generate_series(1, {ROWS}) AS n;
VACUUM ANALYZE items;
"""
READ = "SELECT id, data FROM items WHERE id = $1"

type Borrow = Callable[[], AbstractAsyncContextManager[Any]]


class Result(NamedTuple):
    """Reads per second, milliseconds from acquiring a connection to the row, and microseconds of processor per read."""

    rate: float
    p50: float
    p95: float
    p99: float
    processor: float


async def main(url: str, seconds: float, rounds: int) -> None:
    for statement in TABLE.strip().splitlines():
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()
    async with AsyncExitStack() as stack:
        pools: dict[str, Borrow] = {
            "fair": await stack.enter_async_context(fair(url)),
            "asyncpg": await stack.enter_async_context(asyncpgs(url, reset=_leave)),
            "queued": queued(await stack.enter_async_context(asyncpgs(url, reset=_leave))),
            "reset": await stack.enter_async_context(asyncpgs(url)),
        }
        for callers in (64, 1_000):
            found: dict[str, list[Result]] = {name: [] for name in pools}
            for turn in range(-1, rounds):
                for name in list(pools) if turn % 2 else list(reversed(pools)):
                    result = await run(pools[name], callers, seconds)
                    if turn >= 0:  # the first round opens the connections
                        found[name].append(result)
            report(callers, found)


@asynccontextmanager
async def fair(url: str) -> AsyncIterator[Borrow]:
    """Open Kingpost's pool."""

    async def connect() -> PostgreSQL:
        return await asyncpg.connect(url)

    pool = Pool(connect, CONNECTIONS)

    @asynccontextmanager
    async def borrow() -> AsyncIterator[PostgreSQL]:
        connection = await pool.acquire()
        try:
            yield connection
        finally:
            pool.release(connection)

    yield borrow
    await pool.close()


@asynccontextmanager
async def asyncpgs(url: str, **options: Any) -> AsyncIterator[Borrow]:
    """Open asyncpg's pool."""
    async with asyncpg.create_pool(
        url, min_size=CONNECTIONS, max_size=CONNECTIONS, max_inactive_connection_lifetime=0, **options
    ) as pool:
        yield pool.acquire


def queued(borrow: Borrow) -> Borrow:
    """Admit as many callers as there are connections. The others wait in order."""
    semaphore = asyncio.Semaphore(CONNECTIONS)

    @asynccontextmanager
    async def wait_and_borrow() -> AsyncIterator[Any]:
        async with semaphore, borrow() as connection:
            yield connection

    return wait_and_borrow


async def _leave(_connection: object) -> None:
    """Replace the reset of a connection by nothing."""


async def run(borrow: Borrow, callers: int, seconds: float) -> Result:
    """Read with a number of callers for some seconds, and return the result."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        began = time.perf_counter()
        while began < end:
            async with borrow() as connection:
                await connection.fetchrow(READ, random.randint(1, ROWS))
            latencies.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(0)  # A caller's next request arrives in a later turn of the loop.
            began = time.perf_counter()

    began, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*[caller() for _ in range(callers)])
    processor, passed = time.process_time() - processor, time.perf_counter() - began
    cuts = quantiles(latencies, n=100)
    return Result(len(latencies) / passed, cuts[49], cuts[94], cuts[98], processor / len(latencies) * 1e6)


def report(callers: int, found: dict[str, list[Result]]) -> None:
    """Print the medians of each pool, and the ratio to the fair pool in the same round."""
    print(f"\n{callers:,} callers   reads/s      p50      p95      p99   processor        rate of fair")
    for name, results in found.items():
        rate, p50, p95, p99, processor = (median(column) for column in zip(*results, strict=True))
        ratios = [one.rate / other.rate for one, other in zip(results, found["fair"], strict=True)]
        print(
            f"{name:13}{rate:9,.0f} {p50:5.1f} ms {p95:5.1f} ms {p99:5.1f} ms {processor:8.0f} µs"
            f"   {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.pool", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each run takes")
    parser.add_argument("--rounds", type=int, default=11)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    options = _options(sys.argv[1:])
    server = PostgreSQLServer()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(server.url(), options.seconds, options.rounds))
    finally:
        server.remove()
