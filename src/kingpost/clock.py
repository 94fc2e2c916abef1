"""Time and identity: the only places that ask what time it is and that make an id."""

import time
from functools import lru_cache

import uuid_utils


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def timestamp(milliseconds: int) -> str:
    """The RFC 3339 text, in UTC with milliseconds and `Z`, of milliseconds since 1970."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


def now() -> str:
    """The present time as RFC 3339 text."""
    return timestamp(time.time_ns() // 1_000_000)


def after(seconds: float) -> str:
    """The time so many seconds from now (before now, if negative) as RFC 3339 text."""
    return timestamp(time.time_ns() // 1_000_000 + int(seconds * 1000))


def unique() -> str:
    """A new UUIDv7, where its time does not matter."""
    return str(uuid_utils.uuid7())


def new_id() -> tuple[str, str]:
    """A new UUIDv7 and the time that it carries (RFC 9562, section 5.7).

    Within a process each id is greater than the one before. Since the creation time of everything that
    is stored is taken from its id, the order by id is the order by creation.
    """
    identifier = uuid_utils.uuid7()
    return str(identifier), timestamp(identifier.timestamp)
