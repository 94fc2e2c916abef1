"""Entity tags and the conditions that name them (RFC 9110, sections 8.8.3 and 13.1)."""

import re
from typing import Final

from kingpost.problems import Fault, InvalidRequest

# RFC 9110, section 8.8.3; a list may have empty elements (section 5.6.1).
_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*+"'
_LIST: Final = re.compile(rf"[ \t,]*+{_TAG}(?:[ \t]*+,[ \t,]*+{_TAG})*+[ \t,]*+")
_ONE_TAG: Final = re.compile(_TAG)
_OURS: Final = re.compile(r'"(0|[1-9][0-9]{0,17})"', re.ASCII)


def format_etag(version: int) -> str:
    """The strong entity tag of a version: `"3"`, with the quotes."""
    return f'"{version}"'


def if_match(header: str | None) -> tuple[int, ...] | None:
    """The versions that an `If-Match` admits (RFC 9110, section 13.1.1); None admits any.

    The comparison is strong: weak tags, and tags that are none of ours, admit nothing. So a header with
    only such tags gives (), which no version satisfies.

    Args:
        header: the field's value, several lines joined by commas; None when absent.

    Raises:
        InvalidRequest: the header is malformed.
    """
    if header is None or header.strip(" \t") == "*":
        return None
    matches = [_OURS.fullmatch(tag) for tag in _parse("If-Match", header)]
    return tuple(int(match[1]) for match in matches if match)


def if_none_match(header: str | None, version: int) -> bool:
    """Whether an `If-None-Match` names this version (RFC 9110, section 13.1.2): then GET answers 304.

    The comparison is weak, and `*` names any version. An absent header names none.

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
    """The entity tags of a list, as they are spelt."""
    if not _LIST.fullmatch(header):
        detail = f'{name} takes * or entity tags such as "3", quotes included'
        raise InvalidRequest.of(Fault(detail, "etag", header=name))
    return _ONE_TAG.findall(header)
