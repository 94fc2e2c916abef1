"""What the export of an account holds."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kingpost.accounts.users.schemas import DisplayName, UserBody
from kingpost.audit.schemas import AuditEntryBody
from kingpost.http.app.fields import Email, Id, Time
from kingpost.resources.schemas import ResourceBody

Device = Annotated[str, Meta(examples=["curl/8.14.1"])]
Address = Annotated[str, Meta(examples=["192.0.2.1"])]


class ExportedSession(msgspec.Struct, frozen=True):
    """A sign-in. Of one that has ended, device and address are forgotten."""

    id: Id
    device: Device | None
    address: Address | None
    created_at: Time
    last_used_at: Time
    expires_at: Time
    ended_at: Time | None


class ExportedKey(msgspec.Struct, frozen=True):
    """An API key. The key itself is kept nowhere; `hint` is its start."""

    id: Id
    name: DisplayName
    scopes: Annotated[list[str], Meta(examples=[["resources:read"]])]
    hint: Annotated[str, Meta(examples=["kp_7fQ2"])]
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None


class ExportedSecondFactor(msgspec.Struct, frozen=True):
    """A second factor. `confirmed_at` is null until it is in force."""

    created_at: Time
    confirmed_at: Time | None
    recovery_codes_left: Annotated[int, Meta(ge=0, examples=[10])]


class ExportedToken(msgspec.Struct, frozen=True):
    """A link that was sent and not used yet."""

    purpose: Annotated[str, Meta(examples=["verify-email"])]
    email: Email
    created_at: Time
    expires_at: Time


class ExportedJob(msgspec.Struct, frozen=True):
    """A message that waits to be sent, or that could not be."""

    id: Id
    kind: Annotated[str, Meta(examples=["mail"])]
    created_at: Time
    attempts: Annotated[int, Meta(ge=0, examples=[1])]


class AccountHead(msgspec.Struct, frozen=True):
    """What stands first in the export of an account."""

    exported_at: Time
    user: UserBody
    sessions: list[ExportedSession]
    api_keys: list[ExportedKey]
    second_factor: ExportedSecondFactor | None
    one_time_tokens: list[ExportedToken]
    jobs: list[ExportedJob]


class AccountExportBody(AccountHead, frozen=True):
    """Everything that is kept about an account, but for what would open it: no secret, and no hash of one."""

    audit: Annotated[list[AuditEntryBody], Meta(description="What the account did, then what others did to it.")]
    resources: list[ResourceBody]
