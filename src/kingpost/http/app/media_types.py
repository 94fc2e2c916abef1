"""Parse media types, and negotiate media types and content codings (RFC 9110, sections 8.3 and 12.5)."""

import re
from functools import lru_cache
from typing import Final, Literal

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED: Final = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\U0010ffff]|\\[\t\x20-\x7e\x80-\U0010ffff])*+"'
_PARAMETER: Final = re.compile(rf"[ \t]*+;[ \t]*+(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?")
_MEDIA_TYPE: Final = re.compile(rf"[ \t]*+({_TOKEN}/{_TOKEN})")
_CODING: Final = re.compile(rf"[ \t]*+({_TOKEN})")
_SEPARATOR: Final = re.compile(r"[ \t]*+(?:,[ \t,]*+|\Z)")
_WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_ESCAPED: Final = re.compile(r"\\(.)")

type _Ranges = list[tuple[str, float]]


def parse_content_type(header: str | None) -> tuple[str, dict[str, str]]:
    """Return a media type and its parameters, all in lower case (RFC 9110, section 8.3.1).

    The result is ("", {}) if the header is absent or malformed, or if it repeats a parameter.
    """
    if header is None or header == "application/json":
        return header or "", {}
    match = _MEDIA_TYPE.match(header)
    if not match:
        return "", {}
    parameters, end = _parameters(header, match.end())
    if parameters is None or header[end:].strip(" \t"):
        return "", {}
    return match[1].lower(), parameters


def accepts(accept_header: str | None, offered: str) -> bool:
    """Return whether an Accept header allows a media type (RFC 9110, section 12.5.1).

    The most specific matching range decides, and `q=0` excludes the media type. Other parameters are ignored. An
    absent or malformed header allows any media type.

    Args:
        accept_header: the value of the header. Repeated headers are joined by commas.
        offered: a media type in lower case, without parameters.
    """
    if accept_header is None or accept_header in ("*/*", offered):
        return True
    return _accepts(accept_header, offered)


@lru_cache(maxsize=128)
def _accepts(header: str, offered: str) -> bool:
    ranges = _weighted(header, _MEDIA_TYPE)
    if not ranges or any(name.startswith("*/") and name != "*/*" for name, _ in ranges):
        return True
    for name in (offered, f"{offered.partition('/')[0]}/*", "*/*"):
        weights = [weight for candidate, weight in ranges if candidate == name]
        if weights:
            return max(weights) > 0
    return False


type Encoding = Literal["zstd", "gzip"]


def accepted_encoding(accept_encoding: str | None) -> Encoding | None:
    """Return the content coding that the client prefers, or None for no coding (RFC 9110, section 12.5.3).

    At equal weights, zstd is preferred to gzip, and both to no coding. The result is also None if the header is absent
    or malformed, because every client understands a body without coding.
    """
    return _accepted_encoding(accept_encoding) if accept_encoding else None


@lru_cache(maxsize=128)
def _accepted_encoding(header: str) -> Encoding | None:
    weights = {name.removeprefix("x-"): weight for name, weight in _weighted(header, _CODING) or ()}
    rest = weights.get("*", 0.0)
    zstd, gzip = weights.get("zstd", rest), weights.get("gzip", rest)
    best = max(zstd, gzip)
    if best == 0 or weights.get("identity", 0.0) > best:
        return None
    return "zstd" if zstd == best else "gzip"


def _weighted(header: str, name: re.Pattern[str]) -> _Ranges | None:
    """Parse a list to pairs of a lower-case name and its weight (RFC 9110, section 12.4.2); None if it is malformed."""
    ranges: _Ranges = []
    position = len(header) - len(header.lstrip(" \t,"))
    while position < len(header):
        match = name.match(header, position)
        if not match:
            return None
        parameters, position = _parameters(header, match.end())
        separator = _SEPARATOR.match(header, position)
        weight = (parameters or {}).get("q", "1")
        if parameters is None or not separator or not _WEIGHT.fullmatch(weight):
            return None
        ranges.append((match[1].lower(), float(weight)))
        position = separator.end()
    return ranges


def _parameters(header: str, position: int) -> tuple[dict[str, str] | None, int]:
    """Parse parameters from a position on. Return them in lower case (None if one is repeated) and the end position."""
    parameters: dict[str, str] = {}
    while match := _PARAMETER.match(header, position):
        position = match.end()
        name, value = match.groups()
        if name is None:
            continue
        if name.lower() in parameters:
            return None, position
        if value.startswith('"'):
            value = _ESCAPED.sub(r"\1", value[1:-1])
        parameters[name.lower()] = value.lower()
    return parameters, position
