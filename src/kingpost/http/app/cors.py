"""Cross-origin requests (Fetch standard, section 3.3), allowed for configured origins only and without cookies."""

from collections.abc import Iterable, Mapping

from kingpost.http.app.answers import Answer, Header

EXPOSED_HEADERS = b"Content-Disposition, ETag, Link, Location, Retry-After, WWW-Authenticate, X-Request-ID"
"""Response headers that a script may read in addition to the CORS-safelisted ones."""
ALLOWED_HEADERS = b"Accept, Authorization, Content-Type, If-Match, If-None-Match, X-Request-ID"
"""Request headers that a script may send."""
MAX_AGE = b"7200"
"""Seconds for which a browser caches the result of a preflight request. No browser caches it for longer."""


def is_preflight(method: str, headers: Mapping[bytes, bytes], origins: frozenset[str]) -> bool:
    """Return whether this is a preflight request from a configured origin."""
    has_form = method == "OPTIONS" and b"access-control-request-method" in headers
    return has_form and headers.get(b"origin", b"").decode("latin-1") in origins


def preflight(methods: Iterable[str]) -> Answer:
    """Return the response to a preflight request. `response_headers` adds the origin."""
    return Answer(
        204,
        b"",
        [
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", MAX_AGE),
        ],
    )


def response_headers(headers: Mapping[bytes, bytes], origins: frozenset[str]) -> Iterable[Header]:
    """Return the headers that allow a script of a configured origin to read a response."""
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") in origins:
        yield b"access-control-allow-origin", origin
        yield b"access-control-expose-headers", EXPOSED_HEADERS
