"""The table of signing keys."""

from sqlalchemy import Column, LargeBinary, Table, Text

from kingpost.storage.columns import Identifier, Time, metadata

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("algorithm", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
)
