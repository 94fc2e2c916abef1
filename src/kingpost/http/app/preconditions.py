"""Preconditions of requests (RFC 9110, section 13).

They are evaluated here for every route with a `target`, in the order of section 13.2.2: `If-Match`, then
`If-None-Match`. Before a write this is a quick answer only. `versions` are what the write statement itself must find.
Nothing here has a modification date, so `If-Modified-Since` and `If-Unmodified-Since` are ignored (section 13.1.4).
"""

from collections.abc import Mapping

from kingpost.http.app.etags import Tags, format_etag, parse_tags, version_of
from kingpost.problems import VersionMismatch

IF_MATCH, IF_NONE_MATCH = b"if-match", b"if-none-match"


class Preconditions:
    """The preconditions of one request."""

    __slots__ = ("_if_match", "_if_none_match")

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        """Parse the headers, whose names are in lower case.

        Raises:
            InvalidRequest: a header is malformed.
        """
        self._if_match = _tags(headers, IF_MATCH, "If-Match")
        self._if_none_match = _tags(headers, IF_NONE_MATCH, "If-None-Match")

    def check_match(self, version: int, current: object) -> None:
        """Evaluate `If-Match` by strong comparison (section 13.1.1).

        Args:
            version: the stored version.
            current: what is stored, for the problem.

        Raises:
            VersionMismatch: the header does not name the version.
        """
        if self._if_match is None:
            return
        (tags,) = self._if_match
        if tags is not None and version not in map(version_of, tags):
            raise VersionMismatch(current, _advice(tags, version))

    def not_modified(self, version: int) -> str | None:
        """Evaluate `If-None-Match` by weak comparison (section 13.1.2).

        Return the tag that the client named, if it is one of the stored version; "*" if the client named all, and
        None if the condition holds.
        """
        if self._if_none_match is None:
            return None
        (tags,) = self._if_none_match
        if tags is None:
            return "*"
        strong = (tag.removeprefix("W/") for tag in tags)
        return next((tag for tag in strong if version_of(tag) == version), None)

    def versions(self, version: int) -> tuple[int, ...] | None:
        """Return the versions that a write may change, now that all preconditions hold for the stored `version`.

        None allows any version. `If-None-Match` excludes versions, so with it only the one that was checked is left.
        """
        if self._if_none_match is not None:
            return (version,)
        if self._if_match is None or self._if_match[0] is None:
            return None
        return tuple(named for tag in self._if_match[0] if (named := version_of(tag)) is not None)


def _tags(headers: Mapping[bytes, bytes], name: bytes, shown: str) -> tuple[Tags] | None:
    """Return the tags of a header in a tuple, because they are None for `*`; None if there is no such header."""
    value = headers.get(name)
    return None if value is None else (parse_tags(shown, value.decode("latin-1")),)


def _advice(tags: list[str], version: int) -> str | None:
    """Explain a mismatch that only `W/` causes. Proxies that compress responses weaken their tags."""
    if version not in (version_of(tag.removeprefix("W/")) for tag in tags):
        return None
    return (
        "If-Match has a weak entity tag (W/), which never matches (RFC 9110, section 13.1.1). A proxy may have made it "
        f"weak. Send the `version` in quotes instead: {format_etag(version)}"
    )
