"""Work that is stored with its cause and done afterwards, as often as it takes and once."""

import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kingpost import clock
from kingpost.secret import MasterSecret
from kingpost.storage.consequences import SealedJob

NONCE = 12
"""Bytes of an AES-GCM nonce (NIST SP 800-38D, section 8.2.2)."""


class TryLater(Exception):
    """A job did not succeed, but may another time. The reason is kept and logged: no token, address or name in it."""


class GiveUp(Exception):
    """A job can never succeed. The reason is kept and logged: no token, address or name in it."""


class UnreadableJob(Exception):
    """A job that was sealed under another master secret, tampered with, or made by another release."""


class JobSealer:
    """Makes and opens jobs. What they hold (tokens, addresses) is encrypted at rest, bound to their id and kind."""

    def __init__(self, secret: MasterSecret) -> None:
        self._cipher = AESGCM(secret.derive("jobs"))

    def seal(self, kind: str, payload: msgspec.Struct, user_id: str | None) -> SealedJob:
        """A new job.

        Args:
            kind: who does it.
            payload: what it needs.
            user_id: the account that it is about: with the account the job goes too.
        """
        job_id, now = clock.new_id()
        nonce = os.urandom(NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, msgspec.json.encode(payload), _context(job_id, kind))
        return SealedJob(job_id, kind, user_id, sealed, now)

    def open[T: msgspec.Struct](self, job: SealedJob, payload_type: type[T]) -> T:
        """What a job holds.

        Raises:
            UnreadableJob: it was not sealed here.
        """
        nonce, ciphertext = job.sealed[:NONCE], job.sealed[NONCE:]
        try:
            return msgspec.json.decode(
                self._cipher.decrypt(nonce, ciphertext, _context(job.id, job.kind)), type=payload_type
            )
        except (InvalidTag, ValueError) as error:
            raise UnreadableJob(f"The {job.kind} job {job.id} cannot be opened") from error


def _context(job_id: str, kind: str) -> bytes:
    return f"{kind}\n{job_id}".encode()
