"""The table of API keys."""

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint

from kingpost.storage.columns import Document, Identifier, Time, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("user_id", Identifier, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", Document, nullable=False),
    Column("hint", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("last_used_at", Time),
    UniqueConstraint("key_hash"),
    Index(None, "user_id", "id"),
)
