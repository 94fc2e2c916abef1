"""Frozen values that several rooms share.

Times are text in the form that clients see, RFC 3339 in UTC with milliseconds and `Z`
(`2026-11-22T10:15:30.123Z`). The form sorts as text, and answers need no conversion. Ids are UUIDv7 in lower case.
Documents (`data`, `metadata`) are JSON text that was checked once, and is passed through unchanged.
"""

from typing import Literal

import msgspec

from kingpost.problems import Forbidden, Unauthenticated

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
    """A caller: what an access token or an API key stands for, once it has been verified.

    A token belongs to a session and may do all that its account may. A key has no session and may do only
    what its scopes allow; `scopes` is None for sessions.
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

    def may_manage(self, user_id: str) -> bool:
        """Return whether the caller may read and change this account: its own, or any as an administrator."""
        return self.user_id == user_id or self.is_admin


class Origin(msgspec.Struct, frozen=True):
    """Where a request comes from: the client's address, its user agent, and the request's id in logs."""

    address: str | None = None
    device: str | None = None
    request_id: str | None = None


type Actor = Principal | Literal["operator", "system"] | None
"""Who acts: a caller, the operator at the command line, the server itself, or an anonymous client."""


class Context(msgspec.Struct, frozen=True):
    """Who acts, from where, and in which request.

    Made once for each request, command, job and background task. It is the first argument of everything that writes.
    """

    actor: Actor = None
    origin: Origin = Origin()

    @property
    def caller(self) -> Principal:
        """The caller who acts.

        Raises:
            Unauthenticated: the actor is not a caller.
        """
        if not isinstance(self.actor, Principal):
            raise Unauthenticated()
        return self.actor


OPERATOR = Context("operator")
"""The operator at the command line."""
SYSTEM = Context("system")
"""The server itself, in background work."""


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
