"""The response body of an account's export."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from kingpost.accounts.users.schemas import UserBody
from kingpost.audit.schemas import AuditEntryBody
from kingpost.http.app.fields import Time
from kingpost.resources.schemas import ResourceBody

AuditEntries = Annotated[
    list[AuditEntryBody], Meta(description="Actions of the account, then actions of others on the account.")
]


def account_export(record_types: Mapping[str, Any]) -> type[msgspec.Struct]:
    """Return the type of an export. `record_types` are the types of the fields that the features add, by name."""
    doc = "All data stored about an account, except secrets and hashes of secrets."
    fields: list[tuple[str, Any]] = [
        ("exported_at", Time),
        ("user", UserBody),
        *record_types.items(),
        ("audit", AuditEntries),
        ("resources", list[ResourceBody]),
    ]
    return msgspec.defstruct("AccountExportBody", fields, frozen=True, namespace={"__doc__": doc})
