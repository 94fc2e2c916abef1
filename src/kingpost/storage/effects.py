"""What commits together with a write, on SQL: steps for the end of the write's own transaction."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, delete, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from kingpost.accounts.one_time_tokens.tables import one_time_tokens
from kingpost.audit.tables import AUDIT_ENTRY, audit
from kingpost.auth.sessions.tables import sessions
from kingpost.jobs.tables import jobs
from kingpost.model import AuditEntry
from kingpost.problems import Unauthenticated
from kingpost.storage.consequences import Claim, Consequences, OneTimeToken, SealedJob, Superseded
from kingpost.storage.database import Query, Script, Statement
from kingpost.storage.functions import database_now


def held() -> ColumnElement[bool]:
    """The condition that the claim on `job_id` which counts `attempt` is good. A job that was given up is nobody's."""
    is_claimed = jobs.c.id == bindparam("job_id"), jobs.c.attempts == bindparam("attempt")
    return and_(*is_claimed, jobs.c.due_at.is_not(None))


class ConsequenceScripts:
    """Stores `Consequences` inside a script."""

    def __init__(self, dialect: Dialect) -> None:
        entry = insert(audit).values({column.name: bindparam(column.name) for column in AUDIT_ENTRY})
        job: dict[str, Any] = {name: bindparam(name) for name in SealedJob.__struct_fields__}
        self._insert_entry = Statement(entry, dialect)
        self._insert_job = Statement(insert(jobs).values(**job, due_at=database_now(), attempts=literal(0)), dialect)
        self._finish = Statement(delete(jobs).where(held()).returning(jobs.c.id), dialect)
        living = sessions.c.id == bindparam("session_id"), sessions.c.ended_at.is_(None)
        self._lock_session = Statement(select(sessions.c.id).where(*living).with_for_update(read=True), dialect)
        self._upsert_token = Statement(_upsert_token(is_postgresql=dialect.name == "postgresql"), dialect)

    def store(self, consequences: Consequences) -> Script[None]:
        """Store all of it.

        Raises:
            Superseded: the job that this finishes is not held any more.
            Unauthenticated: the session that asks for it has ended.
        """
        session_id = consequences.session_id
        if session_id is not None and not (yield self._lock_session(session_id=session_id)):
            raise Unauthenticated("The session has ended")
        if consequences.finishes is not None and not (yield self.finish(consequences.finishes)):
            raise Superseded
        # A script receives rows where it yields, which `yield from` a list cannot.
        entries, jobs = self.entries(consequences.audit), self.jobs(consequences.jobs)
        for query in [*entries, *jobs, *self.tokens(consequences.tokens)]:  # noqa: UP028
            yield query

    def entries(self, entries: Sequence[AuditEntry]) -> Sequence[Query]:
        """The inserts of audit entries."""
        columns = [msgspec.structs.asdict(entry) | {"details": bytes(entry.details).decode()} for entry in entries]
        return [self._insert_entry(**values) for values in columns]

    def jobs(self, jobs: Sequence[SealedJob]) -> Sequence[Query]:
        """The inserts of jobs, due at once."""
        return [self._insert_job(**msgspec.structs.asdict(job)) for job in jobs]

    def tokens(self, tokens: Sequence[OneTimeToken]) -> Sequence[Query]:
        """The inserts of one-time tokens, in the place of those that they kill."""
        return [self._upsert_token(**msgspec.structs.asdict(token)) for token in tokens]

    def finish(self, claim: Claim) -> Query:
        """Drop a job if it is still held; a row comes back if so."""
        return self._finish(**msgspec.structs.asdict(claim))


def _upsert_token(*, is_postgresql: bool) -> postgresql.Insert | sqlite.Insert:
    insert_into = postgresql.insert if is_postgresql else sqlite.insert
    names = OneTimeToken.__struct_fields__
    statement = insert_into(one_time_tokens).values({name: bindparam(name) for name in names})
    key = ("user_id", "purpose")
    new = {name: statement.excluded[name] for name in names if name not in key}
    return statement.on_conflict_do_update(index_elements=key, set_=new)
