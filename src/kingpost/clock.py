"""Timestamps and ids. Nothing else reads the wall clock or generates an id."""

import re
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

import uuid_utils

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

HELD_FOR = 1000
"""Milliseconds by which the time of new ids may be ahead of the clock, after it was set back: more than the corrections
of a time service that is working."""


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def timestamp(milliseconds: int) -> str:
    """Format milliseconds since 1970 as RFC 3339 in UTC, with milliseconds and `Z`: the format of all timestamps."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


def now() -> str:
    """Return the current time as a timestamp."""
    return timestamp(time.time_ns() // 1_000_000)


def after(seconds: float) -> str:
    """Return the timestamp `seconds` from now. A negative number gives a time in the past."""
    return timestamp(time.time_ns() // 1_000_000 + int(seconds * 1000))


def shifted(moment: str, seconds: float) -> str:
    """Return the timestamp `seconds` after the timestamp `moment`. A negative number gives an earlier time."""
    milliseconds = (datetime.fromisoformat(moment) - _1970) // _MILLISECOND
    return timestamp(milliseconds + int(seconds * 1000))


def to_the_minute(moment: str) -> str:
    """Return a timestamp as people read it, in UTC: `2026-11-22 10:15 UTC`."""
    return f"{moment[:10]} {moment[11:16]} UTC"


def a_year_after(moment: str) -> str:
    """Return the timestamp one calendar year after the timestamp `moment`. For 29 February it is 1 March."""
    year, rest = int(moment[:4]) + 1, moment[4:]
    if rest.startswith("-02-29"):
        rest = rest.replace("-02-29", "-03-01", 1)
    return f"{year:04d}{rest}"


def unique() -> str:
    """Generate a UUIDv7 whose creation time is not needed."""
    identifier = uuid_utils.uuid7()
    return _ids_after_a_step.new()[0] if _is_ahead(identifier) else str(identifier)


def new_id() -> tuple[str, str]:
    """Generate a UUIDv7. Return it with the creation time that it contains (RFC 9562, section 5.7).

    Within a process each id is greater than the one before, also if the clock is set back by up to `HELD_FOR`. After
    a larger step ids follow the clock. The creation time of every stored row is taken from its id, so the order by id
    is the order by creation time.
    """
    identifier = uuid_utils.uuid7()
    return _ids_after_a_step.new() if _is_ahead(identifier) else (str(identifier), timestamp(identifier.timestamp))


def _is_ahead(identifier: uuid_utils.UUID) -> bool:
    """Return whether the clock was set back. The library never goes back, and stays in the future until it is there."""
    return identifier.timestamp - time.time_ns() // 1_000_000 > HELD_FOR


class IdSequence:
    """UUIDv7 with a counter in place of the first random bits (RFC 9562, section 6.2, method 1)."""

    def __init__(self, now: Callable[[], int] = time.time_ns) -> None:
        """Create a sequence. `now` is the wall clock, in nanoseconds since 1970."""
        self._now = now
        self._last = 0

    def new(self) -> tuple[str, str]:
        """Generate an id as `new_id` does. Its 62 random bits make it unique, also if the clock is set back."""
        now = self._now() // 1_000_000
        tick = now << 12
        if (self._last >> 12) - now <= HELD_FOR:
            tick = max(tick, self._last + 1)
        self._last = tick
        milliseconds, counter = tick >> 12, tick & 0xFFF
        number = milliseconds << 80 | 7 << 76 | counter << 64 | 2 << 62 | secrets.randbits(62)
        return str(UUID(int=number)), timestamp(milliseconds)


_ids_after_a_step = IdSequence()


def read(text: str) -> str:
    """Convert an RFC 3339 time with any offset (section 5.6) to a timestamp, rounded up to the millisecond.

    Raises:
        ValueError: the text is not an RFC 3339 time, or UTC cannot represent it.
    """
    if not _RFC_3339.fullmatch(text):
        raise ValueError("not an RFC 3339 time")
    try:
        exact = datetime.fromisoformat(text.upper()).astimezone(UTC)
        rounded = exact + timedelta(microseconds=-exact.microsecond % 1000)
    except OverflowError as error:  # The offset moves the time out of the years 1 to 9999.
        raise ValueError("the time is out of range in UTC") from error
    return rounded.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def first_id_of(moment: str) -> str:
    """Return the smallest UUIDv7 of a timestamp.

    Ids that `new_id` generated earlier are smaller. Ids of that time or later are not.
    """
    milliseconds = (datetime.fromisoformat(moment) - _1970) // _MILLISECOND
    return str(UUID(int=max(milliseconds, 0) << 80))
