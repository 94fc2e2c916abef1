"""Jobs on SQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Text, and_, bindparam, delete, literal, null, select, update

from kingpost.jobs.schemas import ExportedJob
from kingpost.jobs.store import Claim, ClaimedJob, FinishJob, SealedJob, Superseded
from kingpost.jobs.tables import jobs
from kingpost.storage.columns import Identifier, Time
from kingpost.storage.database import Database, Statement
from kingpost.storage.functions import database_after, database_now
from kingpost.storage.owned import Owned, owned_rows
from kingpost.storage.writes import Kind, Writes, insertion

JOB = [jobs.c[field] for field in SealedJob.__struct_fields__]


def _is_held() -> ColumnElement[bool]:
    """Return the condition that the claim (`job_id`, `attempt`) is valid. There is none on a job that was given up."""
    is_claimed = jobs.c.id == bindparam("job_id"), jobs.c.attempts == bindparam("attempt")
    return and_(*is_claimed, jobs.c.due_at.is_not(None))


KINDS: Mapping[type, Kind[Any]] = {
    SealedJob: insertion(jobs, msgspec.structs.astuple, JOB, due_at=database_now(), attempts=literal(0)),
    FinishJob: Kind[FinishJob](
        row=msgspec.structs.astuple,
        parameters=lambda shape: {"id": jobs.c.id.type, "attempts": jobs.c.attempts.type},
        build=lambda row: delete(jobs).where(
            jobs.c.id == row.id, jobs.c.attempts == row.attempts, jobs.c.due_at.is_not(None)
        ),
        key=("id",),
        returning=[jobs.c.id],
        refusal=Superseded,
    ),
}


class SQLJobs:
    """`kingpost.jobs.store.JobStore` on SQL."""

    def __init__(self, database: Database, writes: Writes) -> None:
        self._database = database
        self._writes = writes
        dialect = database.dialect
        self._export = Statement(owned_rows(jobs, ExportedJob), dialect)
        due = select(jobs.c.id).where(jobs.c.due_at <= database_after(0)).order_by(jobs.c.due_at, jobs.c.id)
        self._is_any_due = Statement(due.limit(1), dialect)
        # A table expression is evaluated once. A sub-query may be run again for each row, and take more each time.
        taken = due.limit(bindparam("most")).with_for_update(skip_locked=True).cte("taken")
        self._claim = Statement(
            update(jobs)
            .where(jobs.c.id.in_(select(taken.c.id)))
            .values(due_at=database_after(bindparam("lease")), attempts=jobs.c.attempts + 1)
            .returning(*JOB, jobs.c.attempts),
            dialect,
        )
        failed = update(jobs).where(_is_held())
        self._finish = Statement(delete(jobs).where(_is_held()), dialect)
        error = bindparam("error", type_=Text)
        self._put_off = Statement(
            failed.values(last_error=error, due_at=database_after(bindparam("seconds"))).returning(jobs.c.id), dialect
        )
        self._give_up = Statement(failed.values(last_error=error, due_at=null()).returning(jobs.c.id), dialect)
        is_far_off = jobs.c.due_at > database_after(bindparam("seconds"))
        self._pull_forward = Statement(update(jobs).where(is_far_off).values(due_at=database_now()), dialect)
        given_up = jobs.c.due_at.is_(None), jobs.c.created_at < bindparam("before", type_=Time)
        self._forget = Statement(delete(jobs).where(*given_up), dialect)

    async def add(self, *jobs: SealedJob) -> None:
        await self._writes.commit((), jobs)

    async def claim(self, most: int, lease: int) -> Sequence[ClaimedJob]:
        # Most polls find no due job, so look with a read first: it takes no lock.
        if not await self._database.read(self._is_any_due()):
            return []
        rows = await self._database.write(self._claim(most=most, lease=lease))
        # The database returns them in any order.
        return sorted([ClaimedJob(SealedJob(*row[:-1]), row[-1]) for row in rows], key=lambda claimed: claimed.job.id)

    async def finish(self, claim: Claim) -> None:
        await self._database.write(self._finish(**msgspec.structs.asdict(claim)))

    async def put_off(self, claim: Claim, error: str, seconds: int | None) -> None:
        held = msgspec.structs.asdict(claim)
        if seconds is None:
            await self._database.write(self._give_up(**held, error=error))
        else:
            await self._database.write(self._put_off(**held, error=error, seconds=seconds))

    async def pull_forward(self, seconds: int) -> None:
        await self._database.write(self._pull_forward(seconds=seconds))

    async def forget_given_up(self, before: str) -> None:
        await self._database.write(self._forget(before=before))

    async def export(self, user_id: str) -> Sequence[ExportedJob]:
        # There may be many: a script may sign in all day.
        rows = await self._database.scan(self._export(user_id=user_id))
        return [ExportedJob(*row) for row in rows]


OWNED = Owned([delete(jobs).where(jobs.c.user_id == bindparam("user_id", type_=Identifier))])
