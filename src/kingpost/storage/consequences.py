"""What commits together with a write: the one place where a write gathers it."""

from typing import Literal

import msgspec

from kingpost.model import AuditEntry


class SealedJob(msgspec.Struct, frozen=True):
    """Work to be done after the write that caused it: a message to send, for one.

    `kind` says who does it. `sealed` is encrypted, since it may hold a token. `user_id` is the account that
    it is about, if any: with the account the job goes too.
    """

    id: str
    kind: str
    user_id: str | None
    sealed: bytes
    created_at: str


type Purpose = Literal["verify-email", "change-email", "reset-password"]


class OneTimeToken(msgspec.Struct, frozen=True):
    """A token that a link in a mail carries, as it is stored. An account has one of each purpose at most.

    `email` is the address that the mail goes to, and that whoever knows the token has proved to read.
    """

    user_id: str
    purpose: Purpose
    token_hash: bytes
    email: str
    email_key: str
    created_at: str
    expires_at: str


class Claim(msgspec.Struct, frozen=True):
    """A worker's hold on a job: good until the job is claimed anew, which counts `attempt` up."""

    job_id: str
    attempt: int


class Superseded(Exception):
    """The job is not this worker's any more: it was done, given up, dropped or claimed anew. Nothing was written."""


class Consequences(msgspec.Struct, frozen=True):
    """What is stored in the same transaction as a write, or not at all if the write fails.

    Attributes:
        audit: what the audit log says of it.
        jobs: work that follows from it.
        finishes: the job that this write does the work of, if any. It is done with the write, or the whole
            write is undone with `Superseded`: so the work takes effect once however many workers try.
        tokens: one-time tokens. Each takes the place of its account's older one of the same purpose.
        session_id: the session that asks for a write which outlives it, such as a new API key. If it has ended,
            also a moment ago on another node, the whole write is undone with `Unauthenticated`.
    """

    audit: tuple[AuditEntry, ...] = ()
    jobs: tuple[SealedJob, ...] = ()
    finishes: Claim | None = None
    tokens: tuple[OneTimeToken, ...] = ()
    session_id: str | None = None


NONE = Consequences()
