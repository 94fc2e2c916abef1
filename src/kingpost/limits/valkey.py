"""Limits that nodes share, in Valkey or Redis.

Each operation is one script or command there, by that server's clock. While it is down, slow or refuses,
each process counts in its own memory: then limits are weaker by the number of processes, but nobody gets
in unlimited and nobody is kept out. What is remembered is remembered here as well, for that case.
"""

import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from kingpost.limits import FORGOTTEN_AFTER, LONGEST_DELAY, Policy
from kingpost.limits.memory import MemoryLimits

PREFIX = "kingpost:"
TIMEOUT = 0.25
"""Seconds for a connection, and again for an answer: what a login waits longer for is not worth having."""
CONNECTIONS = 16
TRY_EVERY = 1.0
"""Seconds in which a server that has failed is tried by one caller only, so that a hanging one delays no other."""
COMPLAIN_EVERY = 60.0
"""Seconds in which its failures are told once."""

BEGIN = """
local free, delay, longest, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local leaking_from = tonumber(ARGV[5])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local wait = 0
for _, key in ipairs(KEYS) do
    wait = math.max(wait, tonumber(redis.call('HGET', key, 'waits_until') or 0) - now)
end
if wait > 0 then
    return string.format('%.6f', wait)
end
for index, key in ipairs(KEYS) do
    local count = tonumber(redis.call('HGET', key, 'count') or 0)
    if index >= leaking_from then
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
return '0'
"""
UNDO = """
for _, key in ipairs(KEYS) do
    if redis.call('EXISTS', key) == 1 then
        if redis.call('HINCRBY', key, 'count', -1) <= 0 then
            redis.call('DEL', key)
        else
            redis.call('HSET', key, 'waits_until', '0')
        end
    end
end
return 0
"""

logger = logging.getLogger("kingpost.limits")


class ValkeyLimits:
    """Limits on a server, and in `alone` while it fails."""

    def __init__(self, url: str, alone: MemoryLimits) -> None:
        """Connect to nothing yet. `url` is `redis://`, `rediss://` (TLS), or the same with `valkey` for `redis`."""
        pool = BlockingConnectionPool.from_url(
            url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            # A script whose answer got lost may have counted. Trying again would count twice.
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._client = Redis(connection_pool=pool)
        self._begin = self._client.register_script(BEGIN)
        self._undo = self._client.register_script(UNDO)
        self._alone = alone
        self._is_failing = False
        self._try_at = 0.0
        self._complain_at = 0.0
        self._has_complained = False

    async def start(self) -> None:
        """Try the server, so that the log tells at once if it cannot be used."""
        await self._ask(self._client.ping())

    async def close(self) -> None:
        """Let go of the server."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def begin(self, keys: Sequence[str], policy: Policy, leaking: Sequence[str] = ()) -> float:
        if self._may_ask():
            arguments = [policy.free, policy.delay, LONGEST_DELAY, FORGOTTEN_AFTER, len(keys) + 1]
            answer = await self._ask(self._begin(keys=_counters([*keys, *leaking]), args=arguments))
            if answer is not None:
                return float(answer)
        return await self._alone.begin(keys, policy, leaking)

    async def undo(self, keys: Sequence[str]) -> None:
        # If the server fails or recovers during a guess, this takes back what was counted elsewhere: an
        # error of one for each guess under way at that moment.
        if not self._may_ask() or await self._ask(self._undo(keys=_counters(keys))) is None:
            await self._alone.undo(keys)

    async def reset(self, keys: Sequence[str]) -> None:
        await self._alone.reset(keys)
        if self._may_ask():
            await self._ask(self._client.delete(*_counters(keys)))

    async def remember(self, key: str, seconds: int) -> None:
        await self._alone.remember(key, seconds)
        if self._may_ask():
            await self._ask(self._client.set(f"{PREFIX}remembered:{key}", "1", ex=seconds))

    async def is_remembered(self, key: str) -> bool:
        if self._may_ask():
            found = await self._ask(self._client.exists(f"{PREFIX}remembered:{key}"))
            if found is not None:
                return bool(found)
        return await self._alone.is_remembered(key)

    def _may_ask(self) -> bool:
        """Whether to ask the server: always while it answers, once in a while otherwise."""
        if not self._is_failing:
            return True
        now = time.monotonic()
        if now < self._try_at:
            return False
        self._try_at = now + TRY_EVERY
        return True

    async def _ask(self, question: Awaitable[Any]) -> Any:
        """The server's answer, or None if it has none."""
        try:
            answer = await question
        except (exceptions.RedisError, OSError) as error:
            self._fail(error)
            return None
        self._is_failing = False
        if self._has_complained:
            self._has_complained = False
            logger.warning("Valkey answers again: limits are shared by all nodes")
        return answer

    def _fail(self, error: Exception) -> None:
        now = time.monotonic()
        self._is_failing = True
        self._try_at = now + TRY_EVERY
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_EVERY
            self._has_complained = True
            logger.warning("Valkey cannot be used (%s): limits hold for each process alone", type(error).__name__)


def _counters(keys: Sequence[str]) -> list[str]:
    return [f"{PREFIX}guesses:{key}" for key in keys]
