"""How settings are shown to people: without secrets, and as something that JSON can hold."""

import re
from typing import Any
from urllib.parse import urlsplit

from kingpost.settings.parsers import Rate

PASSWORD_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)


def as_is(value: Any) -> Any:
    """Return a value that is no secret."""
    return value


def hidden(value: str | None) -> str | None:
    """Mask a secret altogether; None stays None."""
    return "***" if value else None


def without_password(url: str) -> str:
    """Mask the passwords in a URL: the one before its host, and those among its parameters."""
    if password := urlsplit(url).password:
        url = url.replace(f":{password}@", ":***@")
    return PASSWORD_PARAMETER.sub(r"\1***", url)


def without_user(url: str | None) -> str | None:
    """Mask user and password in a URL: the user is a token with some providers."""
    if url and (user := urlsplit(url).netloc.rpartition("@")[0]):
        return url.replace(f"{user}@", "***@")
    return url


def or_off(rate: Rate | None) -> str:
    """Return a rate as it is written in the configuration."""
    return str(rate or "off")
