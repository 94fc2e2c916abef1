"""How rows become values and values become columns."""

from typing import Any

import msgspec

from kingpost.accounts.users.store import UserChange
from kingpost.model import AuditEntry, Resource, Session, User
from kingpost.storage.sql.database import Row
from kingpost.storage.sql.schema import audit, resources, sessions, users

AUDIT_ENTRY = [audit.c[field] for field in AuditEntry.__struct_fields__]
RESOURCE = [resources.c[field] for field in Resource.__struct_fields__]
SESSION = [sessions.c[field] for field in Session.__struct_fields__]
USER = [users.c[field] for field in User.__struct_fields__]


def audit_entry_of(row: Row) -> AuditEntry:
    """The entry in a row that starts with the columns `AUDIT_ENTRY`."""
    entry = AuditEntry(*row[: len(AUDIT_ENTRY)])
    return msgspec.structs.replace(entry, details=msgspec.Raw(row[len(AUDIT_ENTRY) - 1]))


def resource_of(row: Row) -> Resource:
    """The resource in a row of the columns `RESOURCE`."""
    return Resource(row[0], row[1], row[2], msgspec.Raw(row[3]), row[4], row[5], row[6])


def session_of(row: Row) -> Session:
    """The session in a row of the columns `SESSION`."""
    return Session(*row)


def user_of(row: Row) -> User:
    """The account in a row that starts with the columns `USER`."""
    metadata, roles = msgspec.Raw(row[4]), roles_of(row[5])
    return User(row[0], row[1], bool(row[2]), row[3], metadata, roles, row[6], row[7], row[8], row[9])


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
