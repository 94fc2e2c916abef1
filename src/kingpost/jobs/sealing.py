"""Encryption of job payloads, and the exceptions by which a handler reports that a job failed."""

import msgspec

from kingpost import clock
from kingpost.jobs.store import SealedJob
from kingpost.secret import BrokenSeal, MasterSecret


class TryLater(Exception):
    """A job failed, and is retried later. The message is stored and logged: no token, address or name in it."""


class GiveUp(Exception):
    """A job failed for good. The message is stored and logged: no token, address or name in it."""


class UnreadableJob(Exception):
    """A payload was sealed under another master secret or by another release, or was tampered with."""


class JobSealer:
    """Encrypts job payloads (tokens, addresses). Each is bound to the id and the kind of its job."""

    def __init__(self, secret: MasterSecret) -> None:
        self._sealer = secret.sealer("jobs")

    def seal(self, kind: str, payload: msgspec.Struct, user_id: str | None) -> SealedJob:
        """Return a new job, created now.

        Args:
            kind: the kind of job, which selects the handler.
            payload: the payload, stored as encrypted JSON.
            user_id: the account that the job concerns, or None. Deleting the account deletes the job.
        """
        job_id, now = clock.new_id()
        sealed = self._sealer.seal(_context(job_id, kind), msgspec.json.encode(payload))
        return SealedJob(job_id, kind, user_id, sealed, now)

    def open[T: msgspec.Struct](self, job: SealedJob, payload_type: type[T]) -> T:
        """Decrypt the payload of a job.

        Raises:
            UnreadableJob: the payload cannot be decrypted with this master secret, or is not a `payload_type`.
        """
        try:
            content = self._sealer.open(_context(job.id, job.kind), job.sealed)
            return msgspec.json.decode(content, type=payload_type)
        except (BrokenSeal, msgspec.DecodeError) as error:
            raise UnreadableJob(f"The {job.kind} job {job.id} cannot be decrypted") from error


def _context(job_id: str, kind: str) -> str:
    return f"{kind}\n{job_id}"
