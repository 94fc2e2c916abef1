"""Parsers of settings. Each converts the text of a variable or a TOML value to a validated value.

On invalid input a parser raises ValueError. The message follows the name of the setting in a sentence ("must be …"),
and never contains a password.
"""

import ipaddress
import re
from collections.abc import Callable
from math import inf
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

VALKEY_SCHEMES = ("redis", "rediss", "valkey", "valkeys")
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
MAILBOX = re.compile(rf"(?:[^\x00-\x1f\x7f<>@,;:\"\\()\[\]]+ <)?{ATOM}(?:\.{ATOM})*@{DOMAIN}>?")


class Rate(msgspec.Struct, frozen=True):
    """A number of events per unit of time, such as `10/minute`."""

    count: int
    unit: Literal["second", "minute", "hour"]

    @property
    def seconds(self) -> int:
        return {"second": 1, "minute": 60, "hour": 3600}[self.unit]

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"


def text(value: Any) -> str:
    """Parse a non-empty string."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a non-empty string")
    return value


def choice[T: str](*choices: T) -> Callable[[Any], T]:
    """Return a parser that accepts one of several words."""

    def parse(value: Any) -> T:
        for allowed in choices:
            if value == allowed:
                return allowed
        raise ValueError(f"must be {' or '.join(choices)}")

    return parse


def number[N: (int, float)](kind: type[N], minimum: float, maximum: float = inf) -> Callable[[Any], N]:
    """Return a parser that accepts finite numbers from a minimum to a maximum."""

    def parse(value: Any) -> N:
        try:
            parsed = kind(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError("must be a number") from None
        if isinstance(value, bool) or not minimum <= parsed <= maximum or parsed == inf:
            raise ValueError(
                f"must be {minimum:g} or more" if maximum == inf else f"must be from {minimum:g} to {maximum:g}"
            )
        return parsed

    return parse


def rate(value: Any) -> Rate | None:
    """Parse a rate such as `10/minute`. Return None for `off`."""
    if value == "off":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,5})/(second|minute|hour)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a rate such as 10/minute (or second, or hour), or off")
    unit: Any = match[2]
    return Rate(int(match[1]), unit)


def items(value: Any) -> tuple[str, ...]:
    """Parse a list of strings, or a comma-separated string. Skip empty items."""
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise ValueError("must be a list of strings, or a comma-separated string")
    return tuple(item.strip() for item in listed if item.strip())


def networks(value: Any) -> tuple[str, ...]:
    """Parse a list of IP addresses and networks."""
    parsed = items(value)
    for network in parsed:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(f"must contain IP addresses or networks such as 10.0.0.0/8, not {network!r}") from None
    return parsed


def origin(value: Any) -> str:
    """Parse an HTTP origin (RFC 6454). Return it in lower case and without a trailing slash."""
    stripped = text(value).removesuffix("/")
    explanation = "must be an origin such as https://api.example.com"
    try:
        parts = urlsplit(stripped)
        has_port = parts.port is not None or not parts.netloc.endswith(":")
    except ValueError:
        raise ValueError(explanation) from None
    plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or not has_port:
        raise ValueError(explanation)
    return stripped.lower()


def origins(value: Any) -> frozenset[str]:
    """Parse a list of HTTP origins."""
    return frozenset(origin(item) for item in items(value))


def database_url(value: Any) -> str:
    """Parse the URL of a SQLite file or a PostgreSQL database."""
    url = text(value)
    explanation = "must be sqlite:///FILE or postgresql://…"
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        raise ValueError(explanation) from None
    if scheme == "sqlite" and url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return url
    if scheme in ("postgresql", "postgres"):
        return url
    raise ValueError(explanation)


def valkey_url(value: Any) -> str:
    """Parse the URL of a Valkey or Redis server. The database number is optional."""
    url = text(value)
    try:
        parts = urlsplit(url)
        is_server = parts.scheme in VALKEY_SCHEMES and bool(parts.hostname) and parts.port != 0
        is_database = re.fullmatch(r"/?|/[0-9]+", parts.path) is not None
        is_valid = is_server and is_database and not parts.query and not parts.fragment
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("must be redis://host:port/number, or rediss:// for TLS")
    return url


def mail_url(value: Any) -> str:
    """Parse the URL of a mail server or of a file outbox (`file:DIRECTORY`)."""
    url = text(value)
    if url.startswith("file:") and url.removeprefix("file:").strip("/"):
        return url
    explanation = "must be smtp://user:password@host:port, smtps://… or file:DIRECTORY"
    try:
        parts = urlsplit(url)
        is_server = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(explanation) from None
    has_empty_user = "@" in parts.netloc and not parts.username
    if not is_server or has_empty_user or parts.path.strip("/") or parts.fragment:
        raise ValueError(explanation)
    options = {"", "starttls=required", "starttls=off"} if parts.scheme == "smtp" else {""}
    if parts.query not in options:
        raise ValueError("accepts only the options ?starttls=required and ?starttls=off, and only with smtp://")
    if parts.username and parts.query == "starttls=off":
        raise ValueError("must not send a password without TLS: remove ?starttls=off")
    return url


def mail_from(value: Any) -> str:
    """Parse an ASCII e-mail address with an optional display name."""
    mailbox = text(value)
    if not MAILBOX.fullmatch(mailbox) or ("<" in mailbox) != mailbox.endswith(">"):
        raise ValueError("must be an address such as no-reply@example.com, or Example <no-reply@example.com>")
    return mailbox
