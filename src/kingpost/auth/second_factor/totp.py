"""Time-based one-time passwords (RFC 6238): SHA-1, six digits, a step of 30 seconds, as every app knows them."""

import hmac

import pyotp

from kingpost.secret import BrokenSeal, MasterSecret

DIGITS = 6
STEP = 30
"""Seconds for which a code is shown."""
WINDOW = 1
"""Steps by which the other's clock may be off, either way (RFC 6238, section 5.2)."""
SECRET_LENGTH = 32
"""Base32 characters of a secret, 160 bits (RFC 4226, section 4, R6)."""


def new_secret() -> str:
    """A random secret in base32, as apps want it typed."""
    return pyotp.random_base32(SECRET_LENGTH)


def code_at(secret: str, step: int) -> str:
    """The code of a time step: the HOTP of its number (RFC 6238, section 4.2)."""
    return pyotp.HOTP(secret, digits=DIGITS).at(step)


def matching_step(secret: str, code: str, seconds: float) -> int | None:
    """The step, now or next to it, that has this code; None if no step has. The time taken tells nothing.

    Args:
        secret: as `new_secret` made it.
        code: as somebody typed it; spaces between the digits do not count.
        seconds: since 1970.
    """
    typed = "".join(code.split()).encode()
    now = int(seconds) // STEP
    found = None
    for step in range(now - WINDOW, now + WINDOW + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), typed):
            found = step
    return found


def provisioning_uri(secret: str, account: str, issuer: str) -> str:
    """The `otpauth://` URI that apps read from a QR code."""
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP).provisioning_uri(name=account, issuer_name=issuer)


class UnreadableSecret(Exception):
    """A secret that was sealed under another master secret or for another account, or was tampered with."""


class TOTPSealer:
    """Encrypts TOTP secrets for the database, each bound to its account."""

    def __init__(self, secret: MasterSecret) -> None:
        self._sealer = secret.sealer("second-factors")

    def seal(self, user_id: str, secret: str) -> bytes:
        """Encrypt the secret of an account. Sealing it twice gives different results."""
        return self._sealer.seal(user_id, secret.encode())

    def open(self, user_id: str, sealed: bytes) -> str:
        """Decrypt the secret of an account.

        Raises:
            UnreadableSecret: it was sealed under another master secret or for another account, or was changed.
        """
        try:
            return self._sealer.open(user_id, sealed).decode()
        except BrokenSeal as error:
            raise UnreadableSecret(f"The second factor of {user_id} cannot be opened") from error
