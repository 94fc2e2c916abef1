"""Recovery codes: what opens an account once where the second factor is lost."""

import hmac
import secrets
from collections.abc import Sequence

from kingpost.secret import MasterSecret

COUNT = 10
GROUPS, GROUP = 4, 6
"""A code has four groups of six characters, of five bits each: 120 bits, so that a fast hash keeps them (OWASP ASVS
5.0, 6.5.2)."""
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32: no letter can be taken for a digit or for another letter."""
READ_AS = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None})
"""What people read and type in the place of what is written."""


def new_codes() -> Sequence[str]:
    """Random codes as they are shown: `xxxxxx-xxxxxx-xxxxxx-xxxxxx`."""
    return ["-".join(_random_group() for _ in range(GROUPS)) for _ in range(COUNT)]


def _random_group() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(GROUP))


class RecoveryCodes:
    """Hashes codes for the database: who steals that alone can neither read them nor try them out."""

    def __init__(self, secret: MasterSecret) -> None:
        self._key = secret.derive("recovery-codes")

    def hash(self, user_id: str, code: str) -> bytes:
        """What is stored: HMAC-SHA256 of the account and the code, however it is typed.

        Case, dashes and spaces do not count, and letters that look like a digit count as the digit.
        """
        typed = "".join(code.casefold().split()).translate(READ_AS)
        return hmac.digest(self._key, f"{user_id}\n{typed}".encode(), "sha256")
