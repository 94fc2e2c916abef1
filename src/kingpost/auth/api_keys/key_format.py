"""How an API key looks: `kp_`, 43 random characters, and six that check the rest.

Secret scanners find keys by `PATTERN`, and can tell by the check whether one is real without asking anybody.
"""

import re
import secrets
import string
import zlib

PREFIX = "kp_"
"""What every key starts with, and no access token can."""
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 43
"""Characters that hold 256 random bits."""
CHECK_LENGTH = 6
HINT_LENGTH = 7
"""Characters of a key that tell it from others, and tell nobody the rest."""

PATTERN = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECK_LENGTH}}}")


def new_key() -> str:
    """A new random key."""
    body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return body + _check(body)


def is_well_formed(text: str) -> bool:
    """Whether a text is a key, as far as its form tells: no key survives a single wrong character."""
    return PATTERN.fullmatch(text) is not None and text[-CHECK_LENGTH:] == _check(text[:-CHECK_LENGTH])


def hint(key: str) -> str:
    """The start of a key, to tell it by."""
    return key[:HINT_LENGTH]


def _check(body: str) -> str:
    """The CRC-32 of what stands before, in base 62."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECK_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
