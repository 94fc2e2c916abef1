"""The master secret, and the keys that are derived from it.

All nodes share one secret, and it is not stored in the database. An attacker who steals only the database can
decrypt no signing key and forge no token or cursor.
"""

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kingpost.problems import OperatorError

NONCE_SIZE = 12
"""Bytes of an AES-GCM nonce (NIST SP 800-38D, section 8.2.2)."""


class SecretFileError(OperatorError):
    """The secret file cannot be used."""


class MasterSecret:
    """The value of `KINGPOST_SECRET`. All symmetric keys are derived from it. Its `repr` does not reveal it."""

    def __init__(self, value: str) -> None:
        """Use a secret as it is, without trimming.

        Raises:
            ValueError: the secret is empty.
        """
        if not value:
            raise ValueError("The master secret is empty.")
        # An environment variable may hold any bytes. Python decodes invalid UTF-8 to surrogate escapes.
        self._value = value.encode("utf-8", "surrogateescape")

    def derive(self, purpose: str) -> bytes:
        """Derive the 32-byte key for a purpose (HKDF-SHA256, RFC 5869).

        A purpose always gives the same key, on every node. A key reveals nothing about the keys of other purposes.
        """
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"kingpost/{purpose}".encode())
        return hkdf.derive(self._value)

    def sealer(self, purpose: str) -> "Sealer":
        """Return a sealer with the key for a purpose."""
        return Sealer(self.derive(purpose))

    def __repr__(self) -> str:
        return "MasterSecret(…)"


class BrokenSeal(Exception):
    """A sealed value cannot be opened: wrong master secret, wrong context, or changed or truncated bytes."""


class Sealer:
    """Encrypts and authenticates values for storage (AES-256-GCM, NIST SP 800-38D).

    A sealed value is a random 12-byte nonce, followed by the ciphertext and its tag.
    """

    def __init__(self, key: bytes) -> None:
        """Use a key of 32 bytes."""
        self._cipher = AESGCM(key)

    def seal(self, context: str, plaintext: bytes) -> bytes:
        """Encrypt a value and bind it to a context. The context is authenticated but not stored.

        Sealing the same value twice gives different results.
        """
        nonce = os.urandom(NONCE_SIZE)
        return nonce + self._cipher.encrypt(nonce, plaintext, context.encode())

    def open(self, context: str, sealed: bytes) -> bytes:
        """Decrypt a value that was sealed under the same key and context.

        Raises:
            BrokenSeal: the value was sealed under another key or context, or was changed or truncated.
        """
        try:
            return self._cipher.decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], context.encode())
        # cryptography raises ValueError if there are too few bytes for a nonce.
        except (InvalidTag, ValueError) as error:
            raise BrokenSeal from error


def load_or_create(path: Path) -> str:
    """Return the secret in a file. Create the file (mode 600, 256 random bits) if it does not exist.

    Processes that start at the same time all get the same secret. The file is created atomically. It is
    synced to disk before this function returns, so no value is encrypted under a secret that a crash could lose.

    Raises:
        SecretFileError: the file cannot be read or created, is empty, or is not UTF-8 text.
    """
    try:
        if not path.exists():
            _create(path)
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise SecretFileError(f"The secret file {path} cannot be used: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SecretFileError(f"The secret file {path} does not hold text.") from error
    if not secret:
        raise SecretFileError(f"The secret file {path} is empty.")
    return secret


def _create(path: Path) -> None:
    """Create the file with a new secret, unless another process creates it first."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces a file that another process has created meanwhile.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Sync the entries of a directory to disk. Only POSIX systems can do this."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
