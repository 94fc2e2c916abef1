"""Counters that nodes share, in Valkey or Redis.

Each operation is one script or command on the server and uses the server's clock. While the server is down, slow
or refuses commands, each process counts in its own memory. The throttle is then weaker by the number of processes,
but still in force. Remembered pairs are also kept in memory for that case.
"""

import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from kingpost.auth.throttling.counters import FORGOTTEN_AFTER, LONGEST_DELAY, AttemptKeys, Backoff, Begun, ClientKeys
from kingpost.auth.throttling.memory import MemoryCounters

PREFIX = "kingpost:"
TIMEOUT = 0.25
"""Longest wait, in seconds, for a connection, and again for an answer."""
CONNECTIONS = 16
RETRY_EVERY = 1.0
"""Seconds between two tries of a server that has failed. Only one caller at a time pays the time-out."""
LOG_EVERY = 60.0
"""Seconds between two log messages about failures."""

# KEYS: the counter of the account; then, if the client address is known, its counter, the counter of the pair, and
# the key that exists while the pair is remembered. Returns the seconds to wait, and whether the pair is remembered.
BEGIN = """
local free, delay, longest, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local own, address, pair, remembered = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local is_usual = 0
if remembered and redis.call('EXISTS', remembered) == 1 then
    own, is_usual = pair, 1
end
local counted = {own, address}
local wait = 0
for _, key in ipairs(counted) do
    wait = math.max(wait, tonumber(redis.call('HGET', key, 'waits_until') or 0) - now)
end
if wait > 0 then
    return {string.format('%.6f', wait), is_usual}
end
for _, key in ipairs(counted) do
    local count = tonumber(redis.call('HGET', key, 'count') or 0)
    if key == address then
        local elapsed = now - tonumber(redis.call('HGET', key, 'counted_at') or 0)
        local lost = math.min(math.max(0, count - free + 1), math.floor(elapsed / (delay * free)))
        count = count - lost
        if count < free then
            count = math.max(0, count - math.floor((elapsed - lost * delay * free) / delay))
        end
    end
    count = count + 1
    local waits = 0
    if count >= free then
        waits = math.min(longest, delay * 2 ^ math.min(count - free, 64))
    end
    redis.call('HSET', key, 'count', count, 'counted_at', string.format('%.6f', now),
        'waits_until', string.format('%.6f', now + waits))
    redis.call('PEXPIRE', key, kept * 1000)
end
return {'0', is_usual}
"""
# Defines a function for the scripts below.
UNDO_ONE = """
local function undo(key)
    if redis.call('EXISTS', key) == 1 then
        if redis.call('HINCRBY', key, 'count', -1) <= 0 then
            redis.call('DEL', key)
        else
            redis.call('HSET', key, 'waits_until', '0')
        end
    end
end
"""
# KEYS: counters.
UNDO = f"""{UNDO_ONE}
for _, key in ipairs(KEYS) do
    undo(key)
end
return 0
"""
# KEYS: the counter to remove; then, if the client address is known, its counter, and the key to remember the pair by.
SUCCEED = f"""{UNDO_ONE}
local own, address, remembered = KEYS[1], KEYS[2], KEYS[3]
redis.call('DEL', own)
if address then
    undo(address)
    redis.call('SET', remembered, '1', 'EX', ARGV[1])
end
return 0
"""

logger = logging.getLogger("kingpost.throttling")


class ValkeyCounters:
    """Counters on a server, and in `alone` while it fails."""

    def __init__(self, url: str, alone: MemoryCounters) -> None:
        """Create the client, without connecting. `url` begins with `redis://`, `rediss://` (TLS), `valkey://` or `valkeys://`."""
        pool = BlockingConnectionPool.from_url(
            url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            # Never retry: a script whose answer was lost may have counted the attempt.
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._client = Redis(connection_pool=pool)
        self._begin = self._client.register_script(BEGIN)
        self._undo = self._client.register_script(UNDO)
        self._succeed = self._client.register_script(SUCCEED)
        self._alone = alone
        self._is_failing = False
        self._retry_at = 0.0
        self._log_at = 0.0
        self._has_logged = False

    async def start(self) -> None:
        """Ping the server, so that the log says at startup whether it can be used."""
        await self._ask(self._client.ping())

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def begin(self, keys: AttemptKeys, backoff: Backoff) -> Begun:
        if self._may_ask():
            names = [_counter(keys.account)]
            if keys.client is not None:
                pair = keys.client.pair
                names += [_counter(keys.client.address), _counter(pair), _remembered(pair)]
            arguments = [backoff.free, backoff.delay, LONGEST_DELAY, FORGOTTEN_AFTER]
            answer = await self._ask(self._begin(keys=names, args=arguments))
            if answer is not None:
                wait, is_usual = answer
                return Begun(float(wait), keys.client.pair if keys.client and is_usual else keys.account)
        return await self._alone.begin(keys, backoff)

    async def undo(self, keys: Sequence[str]) -> None:
        # If the server fails or recovers during an attempt, this takes back what was counted elsewhere: an
        # error of one for each attempt in progress at that moment.
        if not self._may_ask() or await self._ask(self._undo(keys=_counters(keys))) is None:
            await self._alone.undo(keys)

    async def succeed(self, own: str, client: ClientKeys | None, usual_for: int) -> None:
        names = [_counter(own)]
        if client is not None:
            names += [_counter(client.address), _remembered(client.pair)]
        await self._alone.succeed(own, client, usual_for)
        if self._may_ask():
            await self._ask(self._succeed(keys=names, args=[usual_for]))

    async def reset(self, keys: Sequence[str]) -> None:
        await self._alone.reset(keys)
        if self._may_ask():
            await self._ask(self._client.delete(*_counters(keys)))

    def _may_ask(self) -> bool:
        """Return whether to use the server: always while it answers, and for one caller per `RETRY_EVERY` otherwise."""
        if not self._is_failing:
            return True
        now = time.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_EVERY
        return True

    async def _ask(self, question: Awaitable[Any]) -> Any:
        """Return the answer of the server, or None if it failed."""
        try:
            answer = await question
        except (exceptions.RedisError, OSError) as error:
            self._fail(error)
            return None
        self._is_failing = False
        if self._has_logged:
            self._has_logged = False
            logger.warning("Valkey answers again: attempts are counted for all nodes together")
        return answer

    def _fail(self, error: Exception) -> None:
        now = time.monotonic()
        self._is_failing = True
        self._retry_at = now + RETRY_EVERY
        if now >= self._log_at:
            self._log_at = now + LOG_EVERY
            self._has_logged = True
            logger.warning(
                "Valkey cannot be used (%s): attempts are counted for each process alone", type(error).__name__
            )


def _counter(key: str) -> str:
    return f"{PREFIX}attempts:{key}"


def _counters(keys: Sequence[str]) -> list[str]:
    return [_counter(key) for key in keys]


def _remembered(pair: str) -> str:
    return f"{PREFIX}remembered:{pair}"
