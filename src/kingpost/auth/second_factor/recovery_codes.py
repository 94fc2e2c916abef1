"""Recovery codes: each replaces one code of the second factor, for users who have lost it."""

import hmac
import secrets
from collections.abc import Sequence

from kingpost.secret import MasterSecret

COUNT = 10
GROUPS, GROUP_LENGTH = 4, 6
"""A code has four groups of six characters with five bits each. These 120 bits are enough for a fast hash (OWASP ASVS
5.0, 6.5.2)."""
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32, which avoids characters that look alike."""
CORRECTIONS = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None})
"""Corrects characters that people misread, and removes dashes."""


def new_codes() -> Sequence[str]:
    """Return random codes of the form `xxxxxx-xxxxxx-xxxxxx-xxxxxx`."""
    return ["-".join(_random_group() for _ in range(GROUPS)) for _ in range(COUNT)]


def _random_group() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH))


class RecoveryCodes:
    """Hashes codes for the database. Without the master secret, the hashes cannot be used to check guesses."""

    def __init__(self, secret: MasterSecret) -> None:
        self._key = secret.derive("recovery-codes")

    def hash(self, user_id: str, code: str) -> bytes:
        """Return the HMAC-SHA256 of the account's id and the normalised code.

        Case, dashes and spaces are ignored, and the letters o, i and l count as the digits that they look like.
        """
        normalised = "".join(code.casefold().split()).translate(CORRECTIONS)
        return hmac.digest(self._key, f"{user_id}\n{normalised}".encode(), "sha256")
