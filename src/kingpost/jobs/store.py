"""The port that stores work that is stored with its cause and done afterwards."""

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
    """A job in the hands of a worker. `attempt` counts from 1."""

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
    """Jobs that wait. They are added as effects of a write, or by themselves.

    A job is due at once, and is done by whoever claims it. All times are the database's own: the one clock
    that all nodes share.
    """

    async def add(self, *jobs: SealedJob) -> None:
        """Store jobs."""
        ...

    async def claim(self, most: int, lease: int) -> Sequence[ClaimedJob]:
        """Take up to so many jobs that are due, those longest due, and return them in the order of their making.

        Each is due again after `lease` seconds, unless it is finished or put off before: a worker that dies
        loses nothing. Of N concurrent calls no two get the same job.
        """
        ...

    async def finish(self, claim: Claim) -> None:
        """Drop a job that is done. Nothing happens if the claim is no longer good."""
        ...

    async def put_off(self, claim: Claim, error: str, seconds: int | None) -> None:
        """Note why a job failed, and make it due again in so many seconds; None gives it up for good.

        Nothing happens if the claim is no longer good.
        """
        ...

    async def forget_given_up(self, before: str) -> None:
        """Drop the jobs that were given up and were made before a time."""
        ...

    async def export(self, user_id: str) -> Sequence[ExportedJob]:
        """Return the jobs that are about an account, oldest first, for its export."""
        ...
