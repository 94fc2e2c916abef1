"""Request and response bodies of accounts."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kingpost.http.app.fields import END, AnyPassword, Cursor, Email, Id, OneTimeCode, Time
from kingpost.http.app.lists import ListQuery, sorting
from kingpost.model import User

DisplayName = Annotated[str, Meta(max_length=200, examples=["Ada Lovelace"])]

_USER_METADATA = Meta(description="The user's own JSON object, 4 KiB at most.", examples=[{"theme": "dark"}])

UserMetadata = Annotated[dict[str, Any], _USER_METADATA]

StoredMetadata = Annotated[msgspec.Raw, _USER_METADATA, Meta(extra_json_schema={"type": "object"})]
"""The same as stored JSON text, which is sent without decoding it."""

Role = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,62}" + END, examples=["user"])]

Roles = Annotated[tuple[Role, ...], Meta(max_length=32)]


CurrentPassword = Annotated[AnyPassword, Meta(description="Required to change your own `email`.")]

CodeForEmail = Annotated[
    OneTimeCode, Meta(description="Required to change your own `email` if the account has a second factor.")
]


class ReplaceUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """New values of an account. An absent `name` or `metadata` is cleared; absent `roles` and `status` are kept."""

    email: Email
    name: DisplayName | None = None
    metadata: UserMetadata = {}
    roles: Roles | UnsetType = UNSET
    status: Literal["active", "suspended"] | UnsetType = UNSET
    current_password: CurrentPassword | None = None
    otp: CodeForEmail | None = None


class ChangeUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of an account: absent fields are kept, `null` clears one, `metadata` is merged."""

    email: Email | UnsetType = UNSET
    name: DisplayName | UnsetType | None = UNSET
    metadata: UserMetadata | UnsetType | None = UNSET
    roles: Roles | UnsetType = UNSET
    status: Literal["active", "suspended"] | UnsetType = UNSET
    current_password: CurrentPassword | None = None
    otp: CodeForEmail | None = None


PendingEmail = Annotated[
    Email,
    Meta(
        description="The address that waits for its confirmation; null if there is none. Only the owner of the account "
        "sees this field. To withdraw the change, set `email` to the present address.",
        examples=["countess@example.com"],
    ),
]


class UserBody(msgspec.Struct, frozen=True):
    """An account."""

    id: Id
    email: Email
    email_verified: bool
    name: DisplayName | None
    metadata: StoredMetadata
    roles: Roles
    status: Literal["active", "suspended"]
    created_at: Time
    updated_at: Time
    pending_email: PendingEmail | UnsetType | None = UNSET

    @classmethod
    def of(cls, user: User, *, for_owner: bool = False) -> "UserBody":
        """Return the body for an account. Only its owner sees `pending_email`."""
        return cls(
            user.id,
            user.email,
            user.email_verified,
            user.name,
            user.metadata,
            user.roles,
            user.status,
            user.created_at,
            user.updated_at,
            user.pending_email if for_owner else UNSET,
        )


class UserList(msgspec.Struct, frozen=True):
    """One page of accounts."""

    items: list[UserBody]
    next_cursor: Cursor | None
    total: Annotated[int, Meta(ge=0, description="Only with `count=exact`.")] | UnsetType = UNSET


USER_SORT_FIELDS = frozenset({"id", "email", "created_at", "updated_at"})


class UserQuery(ListQuery, frozen=True, forbid_unknown_fields=True):
    """The requested page of the list of accounts."""

    sort: Annotated[str, sorting(USER_SORT_FIELDS)] = "-created_at"
