"""The encoded OpenAPI document, cached until its content changes."""

from collections.abc import Callable
from typing import Any

import msgspec


class PublishedDocument:
    """Caches the encoded document until its generation changes."""

    def __init__(self, make: Callable[[], dict[str, Any]], generation: Callable[[], int]) -> None:
        """Encode nothing yet.

        Args:
            make: returns the current document.
            generation: returns a number that changes whenever the result of `make` changes. It is called for each
                request, so it must be cheap.
        """
        self._make = make
        self._generation = generation
        self._encoded = b""
        self._encoded_generation: int | None = None

    def encoded(self) -> bytes:
        """Return the document as JSON."""
        generation = self._generation()
        if generation != self._encoded_generation:
            self._encoded = msgspec.json.encode(self._make())
            self._encoded_generation = generation
        return self._encoded
