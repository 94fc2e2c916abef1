"""Responses that handlers return."""

from collections.abc import AsyncGenerator, Iterable
from typing import Any

import msgspec

type Header = tuple[bytes, bytes]

JSON = "application/json"
HTML = "text/html"
HTML_UTF_8 = "text/html; charset=utf-8"

NO_STORE: Header = (b"cache-control", b"no-store")
"""For responses that contain tokens."""
PRIVATE: Header = (b"cache-control", b"private, no-cache")
"""For responses to a signed-in caller. The client may cache them, but must revalidate before each use."""
PUBLIC: Header = (b"cache-control", b"public, max-age=300")
"""For responses that are the same for all clients."""
STRICT_CSP: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Answer:
    """A response. `headers` are sent in addition to those of every response.

    `content_security_policy` is separate from them, so that pages can replace the strict default. `version` becomes
    the entity tag, which depends on the content coding. With status 304 the body is not sent.
    """

    __slots__ = ("body", "content_security_policy", "headers", "media_type", "status", "tag", "version")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: Iterable[Header] = (),
        media_type: str = JSON,
        content_security_policy: Header = STRICT_CSP,
        version: int | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.media_type = media_type
        self.content_security_policy = content_security_policy
        self.version = version
        self.tag: str | None = None
        """The entity tag of a 304 response, if it is not the one of `version` in the negotiated content coding."""


class StreamedAnswer(Answer):
    """A response whose body is generated while it is sent.

    The status is sent before the body, so raise problems before creating one.
    """

    __slots__ = ("chunks",)

    def __init__(self, chunks: AsyncGenerator[bytes], headers: Iterable[Header], media_type: str = JSON) -> None:
        """Send `chunks` as fast as the client reads. The generator is closed when the client disconnects."""
        super().__init__(200, b"", headers, media_type)
        self.chunks = chunks


def answer(value: Any, *headers: Header, status: int = 200, version: int | None = None) -> Answer:
    """Return a value as a JSON response. `version` becomes its entity tag."""
    return Answer(status, msgspec.json.encode(value), headers, version=version)
