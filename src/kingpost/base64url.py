"""Strict base64url without padding (RFC 4648, section 5): every value has exactly one encoding."""

import base64
import binascii


def encode(value: bytes) -> str:
    """Encode bytes as base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Decode the exact output of `encode`.

    Raises:
        ValueError: the text has padding, white space or a character outside of the alphabet. Or the unused bits
            of its last character are not zero, so that one value had several encodings (RFC 4648, section 3.5).
    """
    try:
        value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    # Python's decoder skips unknown characters. Encoding the result again detects that.
    if encode(value) != text:
        raise ValueError("not canonical base64url")
    return value
