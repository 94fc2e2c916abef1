"""Entity tags (RFC 9110, section 8.8.3).

A tag is the version in quotes, `"3"`. A compressed representation has a tag of its own with the name of the coding,
`"3-gzip"`, because strong tags of different bytes must differ. In a precondition all of them name version 3.
"""

import re
from typing import Final

from kingpost.problems import Fault, InvalidRequest

# RFC 9110, section 8.8.3; a list may have empty elements (section 5.6.1).
_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*+"'
_LIST: Final = re.compile(rf"[ \t,]*+{_TAG}(?:[ \t]*+,[ \t,]*+{_TAG})*+[ \t,]*+")
_ONE_TAG: Final = re.compile(_TAG)
_OURS: Final = re.compile(r'"(0|[1-9][0-9]{0,17})(?:-gzip|-zstd)?"', re.ASCII)

type Tags = list[str] | None
"""The tags of a precondition, with their quotes and `W/`. None stands for `*`."""


def format_etag(version: int, coding: str | None = None) -> str:
    """Return the strong entity tag of a version, in a content coding or without one: `"3"`, `"3-gzip"`."""
    return f'"{version}"' if coding is None else f'"{version}-{coding}"'


def parse_tags(name: str, header: str) -> Tags:
    """Parse the value of `If-Match` or `If-None-Match`, whose lines are joined by commas.

    Raises:
        InvalidRequest: the header is malformed. `name` is its name in the fault.
    """
    if header.strip(" \t") == "*":
        return None
    if not _LIST.fullmatch(header):
        detail = f'{name} must be * or a list of entity tags such as "3", including the quotes'
        raise InvalidRequest.of(Fault(detail, "etag", header=name))
    return _ONE_TAG.findall(header)


def version_of(tag: str) -> int | None:
    """Return the version that a strong tag names; None for a weak tag and for one that this server did not issue."""
    match = _OURS.fullmatch(tag)
    return None if match is None else int(match[1])
