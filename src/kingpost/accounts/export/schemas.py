"""What the export of an account holds."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from kingpost.accounts.users.schemas import UserBody
from kingpost.audit.schemas import AuditEntryBody
from kingpost.http.app.fields import Time
from kingpost.resources.schemas import ResourceBody

AuditEntries = Annotated[list[AuditEntryBody], Meta(description="What the account did, then what others did to it.")]


def account_export(rooms: Mapping[str, Any]) -> type[msgspec.Struct]:
    """Return the struct of an export, given the fields for what each room stores about an account, with their types."""
    doc = "Everything that is kept about an account, but for what would open it: no secret, and no hash of one."
    fields: list[tuple[str, Any]] = [
        ("exported_at", Time),
        ("user", UserBody),
        *rooms.items(),
        ("audit", AuditEntries),
        ("resources", list[ResourceBody]),
    ]
    return msgspec.defstruct("AccountExportBody", fields, frozen=True, namespace={"__doc__": doc})
