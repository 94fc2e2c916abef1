"""The things Kingpost keeps, as frozen values.

Times are text in the form that clients see, RFC 3339 in UTC with milliseconds and `Z`
(`2026-11-22T10:15:30.123Z`): the form sorts as text, and nothing needs to convert it on the way out.
Ids are UUIDv7 in lower case. Documents (`data`, `metadata`) are JSON text that has been checked once
and is handed through as it is.
"""

from typing import Literal

import msgspec

from kingpost.problems import Forbidden

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
    """Who is calling: what an access token or an API key says once it has been verified.

    A token stands for a session and may do all that its account may. A key has no session, and does only
    what its scopes name: `scopes` is None for sessions.
    """

    user_id: str
    session_id: str | None
    roles: frozenset[str]
    api_key_id: str | None = None
    scopes: frozenset[str] | None = None

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.roles

    @property
    def own_session(self) -> str:
        """The id of the caller's session.

        Raises:
            Forbidden: an API key has none.
        """
        if self.session_id is None:
            raise Forbidden("This needs an access token: an API key has no session")
        return self.session_id


class Origin(msgspec.Struct, frozen=True):
    """Where a request comes from: the client's address, its user agent, and the request's id in logs."""

    address: str | None = None
    device: str | None = None
    request_id: str | None = None


class APIKey(msgspec.Struct, frozen=True):
    """A machine's credentials. `hint` is the start of the key, to tell it by; the key itself is never stored."""

    id: str
    user_id: str
    name: str
    scopes: tuple[str, ...]
    hint: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None


type ActorType = Literal["user", "api_key", "anonymous", "operator", "system"]
type TargetType = Literal["user", "api_key", "signing_key", "audit_log"]


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what to what, when and from where. It never holds a secret, a name or an e-mail address.

    `actor_id` is an account's id (of an API key: its owner's); ids are what remains of a deleted account,
    and name nobody. An `operator` acts at the command line, the `system` by itself.
    """

    id: str
    created_at: str
    actor_type: ActorType
    actor_id: str | None
    action: str
    target_type: TargetType
    target_id: str | None
    address: str | None
    request_id: str | None
    details: msgspec.Raw


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
