"""Cursors: where a walk through a list stands, as a text that only this service can make."""

import hashlib
import hmac
from typing import Final, Never

import msgspec

from kingpost import base64url
from kingpost.model import Position
from kingpost.problems import Fault, InvalidRequest

MAX_CURSOR: Final = 2048
"""Characters of the longest cursor."""

MAX_POSITION: Final = 8
"""Items of the longest position."""

_TAG_SIZE: Final = 16

_encode_payload: Final = msgspec.msgpack.Encoder().encode
_decode_payload: Final = msgspec.msgpack.Decoder(tuple[str | int, ...]).decode


class Cursors:
    """Makes and reads cursors under one key, which every node shares.

    A cursor is the base64url text of a tag and a payload. The payload is the position in MessagePack, to
    be read by anyone who cares to; the tag, HMAC-SHA256 cut to 16 bytes (RFC 2104, section 5), binds it to
    the query that it belongs to.
    """

    def __init__(self, key: bytes) -> None:
        """`key` is at least 16 bytes, kept for this purpose alone."""
        if len(key) < 16:
            raise ValueError("a cursor key needs 16 bytes")
        self._key = key

    def encode(self, position: Position, binding: bytes | str) -> str:
        """A cursor of at most 2,048 URL-safe characters that `decode` takes with the same binding only.

        Args:
            position: where the walk stands, at most 8 items.
            binding: whatever tells one query from another, in one canonical spelling.

        Raises:
            ValueError: the position does not fit.
        """
        payload = _encode_payload(position)
        text = base64url.encode(self._tag(payload, binding) + payload)
        if len(position) > MAX_POSITION or len(text) > MAX_CURSOR:
            raise ValueError("the position is too long for a cursor")
        return text

    def decode(self, text: str, binding: bytes | str) -> Position:
        """The position in a cursor.

        Raises:
            InvalidRequest: `encode` did not make this very text with this binding.
        """
        if len(text) > MAX_CURSOR:
            _refuse()
        try:
            content = base64url.decode(text)
        except ValueError:
            _refuse()
        tag, payload = content[:_TAG_SIZE], content[_TAG_SIZE:]
        if not hmac.compare_digest(tag, self._tag(payload, binding)):
            _refuse()
        try:
            return _decode_payload(payload)
        except msgspec.DecodeError:  # Genuine, but made by a release with other positions.
            _refuse()

    def _tag(self, payload: bytes, binding: bytes | str) -> bytes:
        bound = binding.encode(errors="surrogatepass") if isinstance(binding, str) else binding
        message = len(bound).to_bytes(8) + bound + payload
        return hmac.digest(self._key, message, hashlib.sha256)[:_TAG_SIZE]


def _refuse() -> Never:
    detail = "The cursor was not made by this service, or belongs to another query"
    raise InvalidRequest.of(Fault(detail, "cursor", parameter="cursor"))
