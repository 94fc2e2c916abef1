"""The OpenAPI document as it is served: encoded once, and again when what it describes has changed."""

from collections.abc import Callable
from typing import Any

import msgspec


class PublishedDocument:
    """Keeps the encoded document until the generation of what it describes changes."""

    def __init__(self, make: Callable[[], dict[str, Any]], generation: Callable[[], int]) -> None:
        """Encode nothing yet.

        Args:
            make: returns the document as of now.
            generation: returns a number that is different whenever `make` would return another document. It is
                asked at each request, so it must be cheap.
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
