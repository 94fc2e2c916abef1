"""The format of API keys: `kp_`, 43 random characters, and a checksum of six characters.

Secret scanners can find keys with `PATTERN`, and rule out false positives by the checksum, without a request.
"""

import re
import secrets
import string
import zlib

PREFIX = "kp_"
"""The start of every key. No access token can start with it."""
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 43
"""Characters that hold 256 random bits."""
CHECKSUM_LENGTH = 6
HINT_LENGTH = 7
"""Characters of a key that its owner can recognise it by. They do not help to guess the rest."""

PATTERN = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}")


def new_key() -> str:
    """Return a new random key."""
    body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """Return whether a text has the form of a key and a valid checksum, which detects any single wrong character."""
    return PATTERN.fullmatch(text) is not None and text[-CHECKSUM_LENGTH:] == _checksum(text[:-CHECKSUM_LENGTH])


def hint(key: str) -> str:
    """Return the first characters of a key, by which its owner can recognise it."""
    return key[:HINT_LENGTH]


def _checksum(body: str) -> str:
    """Return the CRC-32 of the rest of a key, in base 62."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
