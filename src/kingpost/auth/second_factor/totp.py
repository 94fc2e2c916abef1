"""Time-based one-time passwords (RFC 6238) with the parameters that all apps support: SHA-1, six digits, 30 seconds."""

import hmac

import pyotp

from kingpost.secret import BrokenSeal, MasterSecret

DIGITS = 6
STEP = 30
"""Seconds for which a code is valid."""
WINDOW = 1
"""Steps by which the device's clock may differ, in both directions (RFC 6238, section 5.2)."""
SECRET_LENGTH = 32
"""Base32 characters of a secret: 160 bits (RFC 4226, section 4, R6)."""


def new_secret() -> str:
    """Return a random secret in base32, the form that authenticator apps accept."""
    return pyotp.random_base32(SECRET_LENGTH)


def code_at(secret: str, step: int) -> str:
    """Return the code of a time step: the HOTP of its number (RFC 6238, section 4.2)."""
    return pyotp.HOTP(secret, digits=DIGITS).at(step)


def matching_step(secret: str, code: str, seconds: float) -> int | None:
    """Return the time step of a code, or None if the code is wrong. The time this takes does not depend on the result.

    Args:
        secret: a secret made by `new_secret`.
        code: the code as the user typed it; white space is ignored.
        seconds: the present time, in seconds since 1970.
    """
    digits = "".join(code.split()).encode()
    now = int(seconds) // STEP
    matching = None
    for step in range(now - WINDOW, now + WINDOW + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), digits):
            matching = step
    return matching


def provisioning_uri(secret: str, account: str, issuer: str) -> str:
    """Return the `otpauth://` URI that authenticator apps read from a QR code."""
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP).provisioning_uri(name=account, issuer_name=issuer)


class UnreadableSecret(Exception):
    """A secret was encrypted with another master secret or for another account, or was tampered with."""


class TOTPSealer:
    """Encrypts TOTP secrets for the database. Each is bound to its account."""

    def __init__(self, secret: MasterSecret) -> None:
        self._sealer = secret.sealer("second-factors")

    def seal(self, user_id: str, secret: str) -> bytes:
        """Encrypt the secret of an account. Each call returns a different result."""
        return self._sealer.seal(user_id, secret.encode())

    def open(self, user_id: str, sealed: bytes) -> str:
        """Decrypt the secret of an account.

        Raises:
            UnreadableSecret: it was encrypted with another master secret or for another account, or was tampered with.
        """
        try:
            return self._sealer.open(user_id, sealed).decode()
        except BrokenSeal as error:
            raise UnreadableSecret(f"The second factor of {user_id} cannot be decrypted") from error
