"""Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13.1)."""

import re
from typing import Final

from kingpost.problems import Fault, InvalidRequest

# RFC 9110, section 8.8.3; a list may have empty elements (section 5.6.1).
_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*+"'
_LIST: Final = re.compile(rf"[ \t,]*+{_TAG}(?:[ \t]*+,[ \t,]*+{_TAG})*+[ \t,]*+")
_ONE_TAG: Final = re.compile(_TAG)
_OURS: Final = re.compile(r'"(0|[1-9][0-9]{0,17})"', re.ASCII)


def format_etag(version: int) -> str:
    """Return the strong entity tag of a version, including the quotes: `"3"`."""
    return f'"{version}"'


def if_match(header: str | None) -> tuple[int, ...] | None:
    """Return the versions that an `If-Match` header allows (RFC 9110, section 13.1.1). None allows any version.

    The comparison is strong: weak tags, and tags that this server did not issue, match no version. A header with only
    such tags gives an empty tuple.

    Args:
        header: the value of the header, or None if it is absent. Repeated headers are joined by commas.

    Raises:
        InvalidRequest: the header is malformed.
    """
    if header is None or header.strip(" \t") == "*":
        return None
    matches = [_OURS.fullmatch(tag) for tag in _parse("If-Match", header)]
    return tuple(int(match[1]) for match in matches if match)


def if_none_match(header: str | None, version: int) -> bool:
    """Return whether an `If-None-Match` header contains this version (RFC 9110, section 13.1.2).

    If it does, the response to a GET is 304. The comparison is weak, and `*` matches any version. An absent header
    matches none.

    Raises:
        InvalidRequest: the header is malformed.
    """
    if header is None:
        return False
    tag = format_etag(version)
    if header == tag or header.strip(" \t") == "*":
        return True
    return any(candidate.removeprefix("W/") == tag for candidate in _parse("If-None-Match", header))


def _parse(name: str, header: str) -> list[str]:
    """Return the entity tags of a list without decoding them."""
    if not _LIST.fullmatch(header):
        detail = f'{name} must be * or a list of entity tags such as "3", including the quotes'
        raise InvalidRequest.of(Fault(detail, "etag", header=name))
    return _ONE_TAG.findall(header)
