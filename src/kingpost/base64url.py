"""base64url without padding, strictly (RFC 4648, section 5): every value has exactly one spelling."""

import base64
import binascii


def encode(value: bytes) -> str:
    """The text of some bytes, without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes of a text that `encode` could have written.

    Raises:
        ValueError: it could not have: padding, another alphabet, white space, or set bits behind the
            last byte (RFC 4648, section 3.5), which would give one value many spellings.
    """
    try:
        value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    # Python's decoder skips what it does not know; only the way back shows that nothing was skipped.
    if encode(value) != text:
        raise ValueError("not canonical base64url")
    return value
