"""Refuse plain HTTP, and tell the operator what a proxy that is set up wrongly did."""

import logging
import re
import time
from collections.abc import Mapping
from typing import Any, Final

from kingpost.problems import HttpsRequired

WARNING_SECONDS: Final = 60.0
"""Between two lines in the log. Scanners try plain HTTP all the time."""
_WORDS: Final = re.compile(rb"[A-Za-z, ]{1,40}")
"""What is shown of `X-Forwarded-Proto`: anything else is no scheme, and may be anything."""

logger = logging.getLogger("kingpost.http")


class PlainHTTP:
    """Refuses requests over plain HTTP, and logs the reason once a minute."""

    def __init__(self) -> None:
        self._warned_at = -WARNING_SECONDS

    def refuse(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> HttpsRequired:
        """Return the problem.

        `scope["kingpost.peer"]` has the address of the peer, and whether it is a trusted proxy. Only the log has them:
        the addresses of proxies are none of a client's business.
        """
        received = _received(headers.get(b"x-forwarded-proto"))
        now = time.monotonic()
        if now - self._warned_at >= WARNING_SECONDS:
            self._warned_at = now
            peer, is_trusted = scope.get("kingpost.peer") or (None, False)
            advice = (
                "This trusted proxy must send X-Forwarded-Proto: https for requests that it received over HTTPS"
                if is_trusted
                else "If this is a proxy that terminates TLS, add its address to KINGPOST_TRUSTED_PROXIES"
            )
            logger.warning("plain HTTP is refused: %s sent %s. %s", peer or "a client", received, advice)
        return HttpsRequired(
            f"The server received this request over plain HTTP, with {received}. Use https://. If a proxy terminates "
            "TLS, its address must be in KINGPOST_TRUSTED_PROXIES, and it must send X-Forwarded-Proto: https"
        )


def _received(proto: bytes | None) -> str:
    if proto is None:
        return "no X-Forwarded-Proto"
    shown = proto.decode() if _WORDS.fullmatch(proto) else "(no scheme)"
    return f"X-Forwarded-Proto: {shown}"
