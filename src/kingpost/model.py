"""The things Kingpost keeps, as frozen values.

Times are text in the form that clients see, RFC 3339 in UTC with milliseconds and `Z`
(`2026-11-22T10:15:30.123Z`): the form sorts as text, and nothing needs to convert it on the way out.
Ids are UUIDv7 in lower case. Documents (`data`, `metadata`) are JSON text that has been checked once
and is handed through as it is.
"""

from typing import Literal

import msgspec

type Status = Literal["active", "suspended"]

ADMIN = "admin"
DEFAULT_ROLES = ("user",)


class User(msgspec.Struct, frozen=True):
    """An account. `version` counts its changes and is its entity tag; the password hash is never in here."""

    id: str
    email: str
    email_verified: bool
    name: str | None
    metadata: msgspec.Raw
    roles: tuple[str, ...]
    status: Status
    version: int
    created_at: str
    updated_at: str


class Session(msgspec.Struct, frozen=True):
    """One sign-in on one device: a family of refresh tokens with one absolute end."""

    id: str
    user_id: str
    device: str | None
    address: str | None
    created_at: str
    last_used_at: str
    expires_at: str


class Resource(msgspec.Struct, frozen=True, gc=False):
    """A document of some type with an owner. Encoding it with msgspec gives its representation."""

    id: str
    type: str
    owner_id: str
    data: msgspec.Raw
    version: int
    created_at: str
    updated_at: str


class Principal(msgspec.Struct, frozen=True):
    """Who is calling: what an access token says once it has been verified."""

    user_id: str
    session_id: str
    roles: frozenset[str]

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.roles


class SortKey(msgspec.Struct, frozen=True):
    """One field of a sort order."""

    field: str
    descending: bool = False


type Position = tuple[str | int, ...]
"""Where a walk through a list stands: the sort fields' values of the last row seen, then its id."""


class Page[T](msgspec.Struct, frozen=True):
    """A part of a list. `next` is the position after the last item, None at the end; `total` only when asked for."""

    items: list[T]
    next: Position | None
    total: int | None = None
