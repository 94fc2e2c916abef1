"""The table of jobs."""

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text

from kingpost.storage.columns import Identifier, Name, Time, metadata

# No foreign key: a job may be about an account that does not exist (yet). `due_at` is null once it was given up.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("kind", Name, nullable=False),
    Column("user_id", Identifier),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("due_at", Time),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Index(None, "due_at"),
    Index(None, "user_id"),
)
