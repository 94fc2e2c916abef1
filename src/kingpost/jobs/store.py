"""The port that stores background jobs."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.jobs.schemas import ExportedJob


class SealedJob(msgspec.Struct, frozen=True):
    """Work to be done after the write that caused it. As an effect of a write, it is enqueued with it.

    `kind` names its handler. `sealed` is encrypted, since it may hold a token. `user_id` is the account that the job
    is about, if any: it is deleted with the account.
    """

    id: str
    kind: str
    user_id: str | None
    sealed: bytes
    created_at: str


class Claim(msgspec.Struct, frozen=True):
    """A worker's hold on a job: valid until the job is claimed again, which increments `attempt`."""

    job_id: str
    attempt: int


class FinishJob(Claim, frozen=True):
    """The effect of a write that does the work of a claimed job: the job is done with the write.

    If the claim is no longer valid, the whole write is undone with `Superseded`. So the work takes effect once, however
    many workers try.
    """


class Superseded(Exception):
    """The worker's claim on the job is no longer valid: it was done, given up, dropped or claimed again."""


class ClaimedJob(msgspec.Struct, frozen=True):
    """A job that a worker has claimed. `attempt` counts from 1."""

    job: SealedJob
    attempt: int

    @property
    def claim(self) -> Claim:
        return Claim(self.job.id, self.attempt)

    @property
    def finish(self) -> FinishJob:
        """The effect of a write that does the work of this job."""
        return FinishJob(self.job.id, self.attempt)


class JobStore(Protocol):
    """A queue of jobs. They are enqueued as effects of a write, or with `add`.

    A new job is due at once. Due times use the database's clock, which is the same for all nodes.
    """

    async def add(self, *jobs: SealedJob) -> None:
        """Enqueue jobs."""
        ...

    async def claim(self, most: int, lease: int) -> Sequence[ClaimedJob]:
        """Claim up to `most` due jobs, those due longest first, and return them in the order of their creation.

        Each job becomes due again after `lease` seconds, unless it is finished or put off before. So no job is lost
        when a worker dies. No two concurrent calls claim the same job.
        """
        ...

    async def finish(self, claim: Claim) -> None:
        """Delete a job that has succeeded. Do nothing if the claim is no longer valid."""
        ...

    async def put_off(self, claim: Claim, error: str, seconds: int | None) -> None:
        """Store why a job failed, and make it due again after `seconds`; None gives it up for good.

        Do nothing if the claim is no longer valid.
        """
        ...

    async def pull_forward(self, seconds: int) -> None:
        """Make the jobs due now that would be due only after `seconds`: the database's clock has been set back."""
        ...

    async def forget_given_up(self, before: str) -> None:
        """Delete the jobs that were given up and were created before a time."""
        ...

    async def export(self, user_id: str) -> Sequence[ExportedJob]:
        """Return the jobs that are about an account, oldest first, for its export."""
        ...
