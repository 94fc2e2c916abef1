"""Counters that nodes share, in Valkey or Redis.

Each operation is one script on the server and uses the server's clock. A mirror in memory learns the state of each
counter from the answers. While the server is down, slow or refuses commands, the process counts in its mirror, from
the last state that it knows. What it counted alone is added to a counter on the server when that counter is next used.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript

from kingpost.auth.throttling.counters import FORGOTTEN_AFTER, LONGEST_DELAY, AttemptKeys, Backoff, Begun, ClientKeys
from kingpost.auth.throttling.mirror import Mirror

PREFIX = "kingpost:"
TIMEOUT = 0.25
"""Longest time, in seconds, that an operation may take on the server, including a new connection."""
CONNECTIONS = 16
RETRY_EVERY = 1.0
"""Seconds between two tries of a server that has failed. Only one caller at a time pays the time-out."""
LOG_EVERY = 60.0
"""Seconds between two log messages about failures."""

# The beginning of both scripts. It does nothing after the deadline, a time of the server's clock or 0 for none: by
# then the caller has timed out and counted elsewhere. Answers begin with the server's time.
PRELUDE = """
local deadline = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local answer = {string.format('%.6f', now)}
if deadline > 0 and now > deadline then
    return answer
end
-- Move a counter of the future to the present: the clock was set back, and no client should have to wait for it.
local function follow_clock(key, kept)
    local found = redis.call('HMGET', key, 'counted_at', 'waits_until')
    local ahead = tonumber(found[1] or 0) - now
    if ahead > 1 then
        redis.call('HSET', key, 'counted_at', string.format('%.6f', now),
            'waits_until', string.format('%.6f', tonumber(found[2]) - ahead))
        redis.call('PEXPIRE', key, kept * 1000)
    end
end
-- Add the state of a counter to the answer: the arguments of `Mirror.learn`.
local function add_state(key)
    local found = redis.call('HMGET', key, 'count', 'counted_at', 'waits_until')
    local age, wait = now - tonumber(found[2] or now), tonumber(found[3] or now) - now
    table.insert(answer, {found[1] or '0', string.format('%.6f', age), string.format('%.6f', wait)})
end
"""
# KEYS: the counter of the account; then, if the client address is known, the counter of the pair, the key that exists
# while the pair is remembered, and the counters of the networks. After the first three arguments come two for the
# account or the pair and for each network: `free` and `delay` of its back-off. Answers with the seconds to wait, the
# milliseconds for which the pair is remembered, and the states of the counters that decided.
BEGIN = f"""{PRELUDE}
local longest, kept = tonumber(ARGV[2]), tonumber(ARGV[3])
local own, pair, remembered = KEYS[1], KEYS[2], KEYS[3]
local usual_for = 0
if remembered then
    usual_for = math.max(0, redis.call('PTTL', remembered))
    if usual_for > 0 then
        own = pair
    end
end
local counted = {{own, unpack(KEYS, 4)}}
local wait = 0
for _, key in ipairs(counted) do
    follow_clock(key, kept)
    wait = math.max(wait, tonumber(redis.call('HGET', key, 'waits_until') or 0) - now)
end
local function count(key, free, delay)
    local count = tonumber(redis.call('HGET', key, 'count') or 0)
    if key ~= own then
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
table.insert(answer, string.format('%.6f', wait))
table.insert(answer, usual_for)
for index, key in ipairs(counted) do
    if wait == 0 then
        count(key, tonumber(ARGV[2 * index + 2]), tonumber(ARGV[2 * index + 3]))
    end
    add_state(key)
end
return answer
"""
# KEYS: counters; then, if the second argument is not 0, the key to set for so many seconds. Further arguments are
# three for each counter: 1 if it is to be removed first, the number of attempts to add, and the seconds to wait.
# Answers with the states of the counters.
CHANGE = f"""{PRELUDE}
local usual_for, kept = tonumber(ARGV[2]), tonumber(ARGV[3])
local function change(key, is_reset, count, wait)
    if is_reset == '1' then
        redis.call('DEL', key)
    end
    if count > 0 then
        local waits_until = math.max(tonumber(redis.call('HGET', key, 'waits_until') or 0), now + wait)
        redis.call('HINCRBY', key, 'count', count)
        redis.call('HSETNX', key, 'counted_at', string.format('%.6f', now))
        redis.call('HSET', key, 'waits_until', string.format('%.6f', waits_until))
        redis.call('PEXPIRE', key, kept * 1000)
    elseif count < 0 and redis.call('EXISTS', key) == 1 then
        if redis.call('HINCRBY', key, 'count', count) <= 0 then
            redis.call('DEL', key)
        else
            redis.call('HSET', key, 'waits_until', '0')
        end
    end
end
for index = 1, (#ARGV - 3) / 3 do
    change(KEYS[index], ARGV[3 * index + 1], tonumber(ARGV[3 * index + 2]), tonumber(ARGV[3 * index + 3]))
    add_state(KEYS[index])
end
if usual_for > 0 then
    redis.call('SET', KEYS[#KEYS], '1', 'EX', usual_for)
end
return answer
"""

logger = logging.getLogger("kingpost.throttling")


class ValkeyCounters:
    """Counters on a server, and in a mirror while it is away."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        """Create the client, without connecting.

        Args:
            url: begins with `redis://`, `rediss://` (TLS), `valkey://` or `valkeys://`.
            timeout: the longest time that an operation may take on the server, in seconds.
        """
        pool = BlockingConnectionPool.from_url(
            url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
            max_connections=CONNECTIONS,
            # Never retry: a script whose answer was lost may have counted the attempt.
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._client = Redis(connection_pool=pool)
        self._begin = self._client.register_script(BEGIN)
        self._change = self._client.register_script(CHANGE)
        self._timeout = timeout
        self._mirror = Mirror()
        self._clock_offset: float | None = None
        self._is_failing = False
        self._retry_at = 0.0
        self._log_at = 0.0
        self._has_logged = False

    async def start(self) -> None:
        """Ping the server, so that the log says at startup whether it can be used."""
        await self._reach(lambda until: self._client.ping())

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def begin(self, keys: AttemptKeys, backoff: Backoff) -> Begun:
        begun = await self._reach(lambda until: self._begin_shared(keys, backoff, until))
        return begun or await self._mirror.begin(keys, backoff)

    async def undo(self, keys: Sequence[str]) -> None:
        await self._mirror.undo(keys)
        await self._reach(lambda until: self._share(keys, until))

    async def succeed(self, own: str, client: ClientKeys | None, usual_for: int) -> None:
        await self._mirror.succeed(own, client, usual_for)
        if client is None:
            await self._reach(lambda until: self._share([own], until))
        else:
            counted = [own, *[network.key for network in client.networks]]
            await self._reach(lambda until: self._share(counted, until, client.pair, usual_for))

    async def reset(self, keys: Sequence[str]) -> None:
        await self._mirror.reset(keys)
        await self._reach(lambda until: self._share(keys, until))

    async def _begin_shared(self, keys: AttemptKeys, backoff: Backoff, until: float) -> Begun:
        names = [_counter(keys.account)]
        used = [keys.account]
        if keys.client is not None:
            networks, pair = [network.key for network in keys.client.networks], keys.client.pair
            names += [_counter(pair), _remembered(pair), *map(_counter, networks)]
            used += [pair, *networks]
        await self._share(used, until)
        arguments = [LONGEST_DELAY, FORGOTTEN_AFTER]
        for each in keys.backoffs(backoff):
            arguments += [each.free, each.delay]
        as_of, (wait, usual_for, *states) = await self._run(self._begin, until, names, arguments)
        own = keys.account
        if keys.client is not None and usual_for > 0:
            own = keys.client.pair
            self._mirror.remember(own, usual_for / 1000)
        self._learn(keys.counted(own), as_of, states)
        return Begun(float(wait), own)

    async def _share(self, keys: Iterable[str], until: float, pair: str = "", usual_for: int = 0) -> None:
        """Move changes of the mirror to the server, and remember a pair there if one is given."""
        changes = self._mirror.take(keys)
        if not changes:
            return
        names = [_counter(key) for key in changes] + ([_remembered(pair)] if pair else [])
        arguments = [usual_for, FORGOTTEN_AFTER]
        for key, change in changes.items():
            arguments += [int(change.is_reset), change.count, self._mirror.wait(key)]
        try:
            as_of, states = await self._run(self._change, until, names, arguments)
        except BaseException:
            self._mirror.restore(changes)
            raise
        self._learn(changes, as_of, states)

    def _learn(self, keys: Iterable[str], as_of: float, states: Iterable[Sequence[str]]) -> None:
        for key, (count, age, wait) in zip(keys, states, strict=True):
            self._mirror.learn(key, as_of, int(count), float(age), float(wait))

    async def _run(
        self, script: AsyncScript, until: float, names: Sequence[str], arguments: Sequence[float]
    ) -> tuple[float, list[Any]]:
        """Run a script, and return the server's time and the rest of the answer.

        Args:
            until: the monotonic time, in seconds, after which the script does nothing.

        Raises:
            RedisError, OSError: the server failed. The script may have taken effect.
        """
        while True:
            deadline = 0.0 if self._clock_offset is None else until + self._clock_offset
            now, *answer = await script(keys=names, args=[deadline, *arguments])
            self._clock_offset = float(now) - time.monotonic()
            self._recover()
            if answer:
                return float(now), answer
            # The deadline had passed on the server, but not here: its clock was set, or the last answer was read
            # late. The offset is right now.

    async def _reach[T](self, operation: Callable[[float], Awaitable[T]]) -> T | None:
        """Return the result of an operation on the server, or None if the server is away.

        The operation is called with the monotonic time, in seconds, at which it times out.
        """
        if not self._may_try():
            return None
        try:
            async with asyncio.timeout(self._timeout):
                return await operation(time.monotonic() + self._timeout)
        except (exceptions.RedisError, OSError) as error:
            self._fail(error)
            return None

    def _may_try(self) -> bool:
        """Return whether to use the server: always while it answers, and for one caller per `RETRY_EVERY` otherwise."""
        if not self._is_failing:
            return True
        now = time.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_EVERY
        return True

    def _fail(self, error: Exception) -> None:
        now = time.monotonic()
        self._is_failing = True
        self._retry_at = now + RETRY_EVERY
        if now >= self._log_at:
            self._log_at = now + LOG_EVERY
            self._has_logged = True
            reason = type(error).__name__
            logger.warning("Valkey cannot be used (%s): attempts are counted for each process alone", reason)

    def _recover(self) -> None:
        self._is_failing = False
        if self._has_logged:
            self._has_logged = False
            logger.warning("Valkey answers again: attempts are counted for all nodes together")


def _counter(key: str) -> str:
    return f"{PREFIX}attempts:{key}"


def _remembered(pair: str) -> str:
    return f"{PREFIX}remembered:{pair}"
