"""The table of accounts, how its rows become values, and what others do to it in their own transactions."""

from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Update,
    bindparam,
    null,
    update,
)

from kingpost.accounts.users.store import UserChange
from kingpost.model import User
from kingpost.storage.columns import Document, Identifier, Name, Time, metadata
from kingpost.storage.database import Row

users = Table(
    "users",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_verified", Boolean(create_constraint=False), nullable=False),
    Column("name", Text),
    Column("metadata", Document, nullable=False),
    Column("roles", Document, nullable=False),
    Column("status", Name, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Column("email_key", Name, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("roles_changed_at", Time),
    # The address that the owner has asked for; its token is among the one-time tokens.
    Column("pending_email", Text),
    Column("pending_email_expires_at", Time),
    UniqueConstraint("email_key"),
    Index(None, "updated_at", "id"),
    Index(None, "roles_changed_at"),
)

NO_PENDING_CHANGE = {"pending_email": null(), "pending_email_expires_at": null()}

USER = [users.c[field] for field in User.__struct_fields__]


def user_of(row: Row) -> User:
    """The account in a row that starts with the columns `USER`."""
    metadata, roles = msgspec.Raw(row[4]), roles_of(row[5])
    return User(row[0], row[1], bool(row[2]), row[3], metadata, roles, *row[6 : len(USER)])


def roles_of(text: str) -> tuple[str, ...]:
    """The roles in their column."""
    return tuple(msgspec.json.decode(text, type=list[str]))


def user_columns(values: User | UserChange) -> dict[str, Any]:
    """The columns of an account or of a change to one; documents as JSON text, `UNSET` kept."""
    columns = msgspec.structs.asdict(values)
    if isinstance(columns["metadata"], msgspec.Raw):
        columns["metadata"] = bytes(columns["metadata"]).decode()
    if isinstance(columns["roles"], tuple):
        columns["roles"] = msgspec.json.encode(columns["roles"]).decode()
    return columns


def end_pending_change() -> Update:
    """Return the statement that ends the pending change of address of the account `user_id`, if there is one.

    `at` is the time of the change, which changes the version.
    """
    at = bindparam("at", type_=users.c.updated_at.type)
    values = {**NO_PENDING_CHANGE, "version": users.c.version + 1, "updated_at": at}
    return update(users).where(users.c.id == bindparam("user_id"), users.c.pending_email.is_not(None)).values(values)
