"""The table of resources, and how its rows become values."""

import msgspec
from sqlalchemy import Column, ForeignKey, Index, Integer, Table

from kingpost.model import Resource
from kingpost.storage.columns import Document, Identifier, Name, Time, metadata
from kingpost.storage.database import Row

resources = Table(
    "resources",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("type", Name, nullable=False),
    Column("owner_id", Identifier, ForeignKey("users.id"), nullable=False),
    Column("data", Document, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Index(None, "owner_id", "id"),
    Index(None, "owner_id", "type", "id"),
    Index(None, "type", "id"),
    Index(None, "updated_at", "id"),
    Index(None, "owner_id", "updated_at", "id"),
)

RESOURCE = [resources.c[field] for field in Resource.__struct_fields__]


def resource_of(row: Row) -> Resource:
    """The resource in a row of the columns `RESOURCE`."""
    return Resource(row[0], row[1], row[2], msgspec.Raw(row[3]), row[4], row[5], row[6])
