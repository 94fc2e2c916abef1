"""The master secret and the keys that derive from it.

All nodes share one secret, and it is kept out of the database: who steals the database alone can open
no signing key and make no token or cursor.
"""

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE = 12
"""Bytes of an AES-GCM nonce (NIST SP 800-38D, section 8.2.2)."""


class SecretFileError(Exception):
    """The secret's file cannot be used; the message is a sentence for the operator."""


class MasterSecret:
    """`KINGPOST_SECRET`, from which every symmetric key derives. It shows itself to no log."""

    def __init__(self, value: str) -> None:
        """Take the secret exactly as it is.

        Raises:
            ValueError: it is empty.
        """
        if not value:
            raise ValueError("The master secret is empty.")
        # An environment variable may hold any bytes; Python hands what is not UTF-8 over in this form.
        self._value = value.encode("utf-8", "surrogateescape")

    def derive(self, purpose: str) -> bytes:
        """The 32-byte key for a purpose (HKDF-SHA256, RFC 5869).

        The same on every node and for good; keys of different purposes tell nothing about each other.
        """
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"kingpost/{purpose}".encode())
        return hkdf.derive(self._value)

    def sealer(self, purpose: str) -> "Sealer":
        """Return a sealer whose key is derived for a purpose."""
        return Sealer(self.derive(purpose))

    def __repr__(self) -> str:
        return "MasterSecret(…)"


class BrokenSeal(Exception):
    """A sealed value does not open: another master secret, another context, changed bytes, or too few of them."""


class Sealer:
    """Encrypts and authenticates values for storage (AES-256-GCM, NIST SP 800-38D).

    A sealed value is a random nonce of 12 bytes, followed by the ciphertext with its tag.
    """

    def __init__(self, key: bytes) -> None:
        """Use a key of 32 bytes."""
        self._cipher = AESGCM(key)

    def seal(self, context: str, plaintext: bytes) -> bytes:
        """Encrypt a value and bind it to a context, which is authenticated but not stored.

        Sealing one value twice gives different results.
        """
        nonce = os.urandom(NONCE)
        return nonce + self._cipher.encrypt(nonce, plaintext, context.encode())

    def open(self, context: str, sealed: bytes) -> bytes:
        """Decrypt a value that was sealed under the same key and context.

        Raises:
            BrokenSeal: it was sealed under another key or for another context, or was changed or truncated.
        """
        try:
            return self._cipher.decrypt(sealed[:NONCE], sealed[NONCE:], context.encode())
        # cryptography raises ValueError where there are too few bytes for a nonce.
        except (InvalidTag, ValueError) as error:
            raise BrokenSeal from error


def load_or_create(path: Path) -> str:
    """The secret kept in a file, which is made (mode 600, 256 random bits) where there is none.

    Of any number of processes that start at once all get the same secret. The file appears whole or not
    at all, and is on the disk before anything can be encrypted under it.

    Raises:
        SecretFileError: the file cannot be read or made, or holds nothing.
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
    """Make the file with a new secret, unless another process is quicker."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces what another process has put there meanwhile.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Put a directory's entries on the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
