"""The connection pool: the order of callers, and dead connections."""

import asyncio

import asyncpg
import pytest

from kingpost.problems import Unavailable
from kingpost.storage.postgresql import pool as pool_module
from kingpost.storage.postgresql.pool import Pool

type Connection = asyncpg.Connection[asyncpg.Record]
type Opened = list[Connection]
type TestedPool = Pool[Connection]


@pytest.fixture
def opened() -> Opened:
    return []


@pytest.fixture
async def pool(postgresql_url: str, opened: Opened) -> TestedPool:
    async def connect() -> Connection:
        connection = await asyncpg.connect(postgresql_url)
        opened.append(connection)
        return connection

    return Pool(connect, 2)


async def test_connections_are_opened_when_needed_and_reused(pool: TestedPool, opened: Opened) -> None:
    for _ in range(3):
        pool.release(await pool.acquire())
    assert len(opened) == 1
    connections = [await pool.acquire(), await pool.acquire()]
    assert len(opened) == 2
    for connection in connections:
        pool.release(connection)
    await pool.close()
    assert all(connection.is_closed() for connection in opened)


async def test_the_longest_waiting_caller_is_served_first(pool: TestedPool) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    served: list[int] = []

    async def use(number: int) -> None:
        connection = await pool.acquire()
        served.append(number)
        await connection.fetchval("SELECT 1")
        pool.release(connection)

    waiting = [asyncio.create_task(use(number)) for number in range(20)]
    await asyncio.sleep(0)
    pool.release(first)
    newcomer = asyncio.create_task(use(20))
    pool.release(second)
    await asyncio.gather(*waiting, newcomer)
    assert served == list(range(21))
    assert (pool.idle, pool.busy) == (2, 0)
    await pool.close()


async def test_dead_connections_are_replaced(pool: TestedPool, opened: Opened) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    first.terminate()
    pool.release(first)
    third = await waiter
    assert third is opened[2]
    assert await third.fetchval("SELECT 1") == 1
    pool.release(second)
    pool.release(third)
    second.terminate()
    third.terminate()
    fourth = await pool.acquire()
    assert await fourth.fetchval("SELECT 1") == 1
    assert (pool.idle, pool.busy) == (0, 1)
    pool.release(fourth)
    await pool.close()


async def test_a_cancelled_waiter_leaks_no_connection(pool: TestedPool) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    early, handed, kept = [asyncio.create_task(pool.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    early.cancel()
    pool.release(first)  # The connection goes to `handed`, which is cancelled before it can use it.
    handed.cancel()
    assert await kept is first
    pool.release(first)
    pool.release(second)
    assert early.cancelled()
    assert handed.cancelled()
    assert (pool.idle, pool.busy) == (2, 0)
    await pool.close()


async def test_a_cancelled_connect_leaks_no_slot(pool: TestedPool) -> None:
    for _ in range(5):
        opening = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0.001)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        if not opening.cancelled():
            pool.release(opening.result())
    assert pool.busy == 0
    await pool.close()


async def test_the_next_caller_tries_again_after_a_failed_connect() -> None:
    failures = [OSError(), OSError(), OSError()]

    async def connect() -> Connection:
        await asyncio.sleep(0)
        raise failures.pop()

    pool = Pool(connect, 1)
    outcomes = await asyncio.gather(*[pool.acquire() for _ in range(3)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OSError] * 3
    assert pool.busy == 0


async def test_waiters_over_the_queue_limit_are_rejected(pool: TestedPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 1)
    connections = [await pool.acquire(), await pool.acquire()]
    waiter = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await pool.acquire()
    pool.release(connections[0])
    pool.release(await waiter)
    pool.release(connections[1])
    await pool.close()


async def test_close_rejects_waiters_and_closes_returned_connections(pool: TestedPool) -> None:
    connections = [await pool.acquire(), await pool.acquire()]
    waiter = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(Unavailable):
        await waiter
    with pytest.raises(Unavailable):
        await pool.acquire()
    for connection in connections:
        pool.release(connection)
        assert connection.is_closed()
    assert pool.busy == 0
