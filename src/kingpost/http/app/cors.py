"""Cross-origin requests (the Fetch standard, section 3.3): configured origins only, and never with cookies."""

from collections.abc import Iterable, Mapping

from kingpost.http.app.answers import Answer, Header

EXPOSED = b"Content-Disposition, ETag, Link, Location, Retry-After, WWW-Authenticate, X-Request-ID"
"""What a script may read of a response, beside what it always may."""
ALLOWED = b"Accept, Authorization, Content-Type, If-Match, If-None-Match, X-Request-ID"
"""What a script may send."""
REMEMBERED = b"7200"
"""Seconds for which a browser need not ask again; none keeps an answer longer."""


def is_preflight(method: str, headers: Mapping[bytes, bytes], origins: frozenset[str]) -> bool:
    """Whether this is a preflight request from a configured origin."""
    is_asking = method == "OPTIONS" and b"access-control-request-method" in headers
    return is_asking and headers.get(b"origin", b"").decode("latin-1") in origins


def preflight(methods: Iterable[str]) -> Answer:
    """The answer to a preflight request. `response_headers` adds the origin."""
    return Answer(
        204,
        b"",
        [
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", ALLOWED),
            (b"access-control-max-age", REMEMBERED),
        ],
    )


def response_headers(headers: Mapping[bytes, bytes], origins: frozenset[str]) -> Iterable[Header]:
    """What lets a script of a configured origin read a response."""
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") in origins:
        yield b"access-control-allow-origin", origin
        yield b"access-control-expose-headers", EXPOSED
