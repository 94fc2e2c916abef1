"""The encoded OpenAPI document, cached until its content changes."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from kingpost.http.app import compression
from kingpost.http.app.media_types import Encoding


class PublishedDocument:
    """Caches the encoded document, also compressed, until its generation changes.

    Anyone may ask for it, so a request must not cost more than sending it.
    """

    def __init__(self, make: Callable[[], dict[str, Any]], generation: Callable[[], int]) -> None:
        """Encode nothing yet.

        Args:
            make: returns the current document.
            generation: returns a number that changes whenever the result of `make` changes. It is called for each
                request, so it must be cheap.
        """
        self._make = make
        self._generation = generation
        self._cached: dict[tuple[int, Encoding | None], bytes] = {}

    async def encoded(self, encoding: Encoding | None = None) -> bytes:
        """Return the document as JSON, in a content coding or without one."""
        key = self._generation(), encoding
        if key not in self._cached:
            content = msgspec.json.encode(self._make())
            if encoding is not None:
                content = await asyncio.to_thread(compression.encode, encoding, content)
            self._cached = {known: value for known, value in self._cached.items() if known[0] == key[0]}
            self._cached[key] = content
        return self._cached[key]
