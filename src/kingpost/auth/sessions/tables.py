"""The table of sessions, and what others do to it in their own transactions."""

from sqlalchemy import Column, Index, LargeBinary, Table, Text, Update, bindparam, or_, update

from kingpost.model import Session
from kingpost.storage.columns import Identifier, Time, metadata
from kingpost.storage.functions import database_now

# No foreign key to the account: an ended session outlives a deleted account, until every node has heard of it.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("user_id", Identifier, nullable=False),
    Column("device", Text),
    Column("address", Text),
    Column("created_at", Time, nullable=False),
    Column("last_used_at", Time, nullable=False),
    Column("expires_at", Time, nullable=False),
    Column("ended_at", Time),
    Column("token_hash", LargeBinary, nullable=False),
    Column("parent_hash", LargeBinary),
    Column("rotated_at", Time),
    Index(None, "user_id"),
    Index(None, "expires_at"),
    Index(None, "ended_at"),
)

SESSION = [sessions.c[field] for field in Session.__struct_fields__]


def end_sessions() -> Update:
    """Return the statement that ends all sessions of the account `user_id`, except `kept`; it returns their ids."""
    kept = bindparam("kept", type_=Identifier)
    return (
        update(sessions)
        .where(
            sessions.c.user_id == bindparam("user_id"),
            sessions.c.ended_at.is_(None),
            or_(kept.is_(None), sessions.c.id != kept),
        )
        .values(ended_at=database_now(), device=None, address=None)
        .returning(sessions.c.id)
    )
