"""The table of the audit log, and how its rows become values."""

import msgspec
from sqlalchemy import Column, Index, Table, Text

from kingpost.model import AuditEntry
from kingpost.storage.columns import Document, Identifier, Name, Time, metadata
from kingpost.storage.database import Row

# Append-only: triggers (see the migration) reject all updates and deletes, except clearing `address`.
audit = Table(
    "audit",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("created_at", Time, nullable=False),
    Column("actor_type", Name, nullable=False),
    Column("actor_id", Identifier),
    Column("action", Name, nullable=False),
    Column("target_type", Name, nullable=False),
    Column("target_id", Identifier),
    Column("address", Text),
    Column("request_id", Text),
    Column("details", Document, nullable=False),
    Index(None, "actor_id", "id"),
    Index(None, "target_id", "id"),
    Index(None, "action", "id"),
)

AUDIT_ENTRY = [audit.c[field] for field in AuditEntry.__struct_fields__]


def audit_entry_of(row: Row) -> AuditEntry:
    """The entry in a row that starts with the columns `AUDIT_ENTRY`."""
    entry = AuditEntry(*row[: len(AUDIT_ENTRY)])
    return msgspec.structs.replace(entry, details=msgspec.Raw(row[len(AUDIT_ENTRY) - 1]))
