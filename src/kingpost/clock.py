"""Time and identity: the only places that ask what time it is and that make an id."""

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

import uuid_utils

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


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


def shifted(moment: str, seconds: float) -> str:
    """The time so many seconds after (before, if negative) a time in our form."""
    milliseconds = (datetime.fromisoformat(moment) - _1970) // _MILLISECOND
    return timestamp(milliseconds + int(seconds * 1000))


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


def read(text: str) -> str:
    """A time that others wrote (RFC 3339, section 5.6, with any offset) in our form, rounded up to the millisecond.

    Raises:
        ValueError: it is none.
    """
    if not _RFC_3339.fullmatch(text):
        raise ValueError("not a time in the form of RFC 3339")
    try:
        exact = datetime.fromisoformat(text.upper()).astimezone(UTC)
        rounded = exact + timedelta(microseconds=-exact.microsecond % 1000)
    except OverflowError as error:  # The first and last hours of time, elsewhere.
        raise ValueError("a time that UTC cannot name") from error
    return rounded.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def first_id_of(moment: str) -> str:
    """The least UUIDv7 of a time in our form: what was made before (see `new_id`) has a lesser id, the rest none."""
    milliseconds = (datetime.fromisoformat(moment) - _1970) // _MILLISECOND
    return str(UUID(int=max(milliseconds, 0) << 80))
