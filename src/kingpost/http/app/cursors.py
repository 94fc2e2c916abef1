"""Cursors: authenticated tokens for positions in lists."""

import hashlib
import hmac
from typing import Final, Never

import msgspec

from kingpost import base64url
from kingpost.model import Position
from kingpost.problems import Fault, InvalidRequest

MAX_CURSOR: Final = 2048
"""Maximum number of characters in a cursor."""

MAX_POSITION: Final = 8
"""Maximum number of values in a position."""

_TAG_SIZE: Final = 16

_encode_payload: Final = msgspec.msgpack.Encoder().encode
_decode_payload: Final = msgspec.msgpack.Decoder(tuple[str | int, ...]).decode


class Cursors:
    """Encodes and decodes cursors with a key that all nodes share.

    A cursor is a tag and a payload in base64url. The payload is the position in MessagePack. It is not encrypted, so
    clients can read it. The tag is HMAC-SHA256 truncated to 16 bytes (RFC 2104, section 5). It binds the position to
    a query.
    """

    def __init__(self, key: bytes) -> None:
        """Use a key of at least 16 bytes that has no other purpose."""
        if len(key) < 16:
            raise ValueError("a cursor key needs 16 bytes")
        self._key = key

    def encode(self, position: Position, binding: bytes | str) -> str:
        """Return a cursor of at most 2,048 URL-safe characters. `decode` accepts it only with the same binding.

        Args:
            position: the position, at most 8 values.
            binding: the canonical form of the query that the cursor belongs to.

        Raises:
            ValueError: the position is too long.
        """
        payload = _encode_payload(position)
        text = base64url.encode(self._tag(payload, binding) + payload)
        if len(position) > MAX_POSITION or len(text) > MAX_CURSOR:
            raise ValueError("the position is too long for a cursor")
        return text

    def decode(self, text: str, binding: bytes | str) -> Position:
        """Return the position in a cursor.

        Raises:
            InvalidRequest: the cursor is not the result of `encode` with this binding.
        """
        if len(text) > MAX_CURSOR:
            _reject()
        try:
            content = base64url.decode(text)
        except ValueError:
            _reject()
        tag, payload = content[:_TAG_SIZE], content[_TAG_SIZE:]
        if not hmac.compare_digest(tag, self._tag(payload, binding)):
            _reject()
        try:
            return _decode_payload(payload)
        except msgspec.DecodeError:  # The tag is valid: a release with other types of positions issued it.
            _reject()

    def _tag(self, payload: bytes, binding: bytes | str) -> bytes:
        bound = binding.encode(errors="surrogatepass") if isinstance(binding, str) else binding
        message = len(bound).to_bytes(8) + bound + payload
        return hmac.digest(self._key, message, hashlib.sha256)[:_TAG_SIZE]


def _reject() -> Never:
    detail = "The cursor is invalid or belongs to a different query. Start again without a cursor"
    raise InvalidRequest.of(Fault(detail, "cursor", parameter="cursor"))
