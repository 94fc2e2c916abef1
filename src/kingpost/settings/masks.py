"""Convert settings to values that can be printed: JSON-compatible and without secrets."""

import re
from typing import Any
from urllib.parse import urlsplit

from kingpost.settings.parsers import Rate

PASSWORD_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)


def as_is(value: Any) -> Any:
    """Return a value that is not secret unchanged."""
    return value


def hidden(value: str | None) -> str | None:
    """Mask a whole secret. None stays None."""
    return "***" if value else None


def without_password(url: str) -> str:
    """Mask the passwords in a URL, both in the user info and in the query parameters."""
    if password := urlsplit(url).password:
        url = url.replace(f":{password}@", ":***@")
    return PASSWORD_PARAMETER.sub(r"\1***", url)


def without_user(url: str | None) -> str | None:
    """Mask the user and the password in a URL. Some providers use the user name as a token."""
    if url and (user := urlsplit(url).netloc.rpartition("@")[0]):
        return url.replace(f"{user}@", "***@")
    return url


def or_off(rate: Rate | None) -> str:
    """Format a rate as in the configuration. None is `off`."""
    return str(rate or "off")
