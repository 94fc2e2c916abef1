"""The table of one-time tokens."""

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint

from kingpost.storage.columns import Identifier, Name, Time, metadata

# One of a purpose for each account: a new one takes the place of the one before.
one_time_tokens = Table(
    "one_time_tokens",
    metadata,
    Column("user_id", Identifier, ForeignKey("users.id"), primary_key=True),
    Column("purpose", Name, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False),
    Column("email", Text, nullable=False),
    Column("email_key", Name, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time, nullable=False),
    Column("address", Text),
    Column("device", Text),
    UniqueConstraint("token_hash"),
    Index(None, "expires_at"),
)
