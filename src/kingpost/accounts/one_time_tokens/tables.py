"""The table of one-time tokens, and what others do to it in their own transactions."""

from sqlalchemy import (
    Column,
    Delete,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    literal,
)

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


def delete_tokens_of_change() -> Delete:
    """Return the statement that deletes the tokens which confirm and stop a new address of the account `user_id`."""
    is_theirs = one_time_tokens.c.user_id == bindparam("user_id")
    of_change = one_time_tokens.c.purpose.in_([literal("change-email"), literal("stop-email-change")])
    return delete(one_time_tokens).where(is_theirs, of_change)
