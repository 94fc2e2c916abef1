"""Work that is stored with its cause and done afterwards, as often as it takes and once."""

import msgspec

from kingpost import clock
from kingpost.jobs.store import SealedJob
from kingpost.secret import BrokenSeal, MasterSecret


class TryLater(Exception):
    """A job did not succeed, but may another time. The reason is kept and logged: no token, address or name in it."""


class GiveUp(Exception):
    """A job can never succeed. The reason is kept and logged: no token, address or name in it."""


class UnreadableJob(Exception):
    """A job that was sealed under another master secret, tampered with, or made by another release."""


class JobSealer:
    """Encrypts the payloads of jobs (tokens, addresses), each bound to the id and the kind of its job."""

    def __init__(self, secret: MasterSecret) -> None:
        self._sealer = secret.sealer("jobs")

    def seal(self, kind: str, payload: msgspec.Struct, user_id: str | None) -> SealedJob:
        """Make a job with a new id, created now.

        Args:
            kind: selects the handler.
            payload: stored as JSON, sealed.
            user_id: the account that it concerns, or None. Deleting the account deletes the job.
        """
        job_id, now = clock.new_id()
        sealed = self._sealer.seal(_context(job_id, kind), msgspec.json.encode(payload))
        return SealedJob(job_id, kind, user_id, sealed, now)

    def open[T: msgspec.Struct](self, job: SealedJob, payload_type: type[T]) -> T:
        """Decrypt the payload of a job.

        Raises:
            UnreadableJob: it does not open under this master secret, or is no `payload_type`.
        """
        try:
            content = self._sealer.open(_context(job.id, job.kind), job.sealed)
            return msgspec.json.decode(content, type=payload_type)
        except (BrokenSeal, msgspec.DecodeError) as error:
            raise UnreadableJob(f"The {job.kind} job {job.id} cannot be opened") from error


def _context(job_id: str, kind: str) -> str:
    return f"{kind}\n{job_id}"
