"""The tables of second factors and their recovery codes."""

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table

from kingpost.storage.columns import Identifier, Time, metadata

# A row without `confirmed_at` is an enrolment that was begun: it asks nothing of a login yet.
second_factors = Table(
    "second_factors",
    metadata,
    Column("user_id", Identifier, ForeignKey("users.id"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("confirmed_at", Time),
    Column("last_step", BigInteger),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("user_id", Identifier, ForeignKey("users.id"), primary_key=True),
    Column("code_hash", LargeBinary, primary_key=True),
)
