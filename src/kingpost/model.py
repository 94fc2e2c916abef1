"""Immutable values that several features share.

Times are RFC 3339 text in UTC with milliseconds and `Z` (`2026-11-22T10:15:30.123Z`), as clients see them. They sort
as text, and responses contain them unchanged. Ids are UUIDv7 in lower case. Documents (`data`, `metadata`) are JSON
text that was validated once and is not decoded again.
"""

from typing import Literal

import msgspec

from kingpost.problems import Forbidden, Unauthenticated

type Status = Literal["active", "suspended"]

ADMIN = "admin"
DEFAULT_ROLES = ("user",)


class User(msgspec.Struct, frozen=True):
    """An account without its password hash. `version` counts its changes and is its entity tag.

    `pending_email` is the address that its owner has asked for and not confirmed yet.
    """

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
    pending_email: str | None = None
    pending_email_expires_at: str | None = None

    def has_expired_change(self, at: str) -> bool:
        """Return whether the pending change of address has expired at a time."""
        return self.pending_email_expires_at is not None and self.pending_email_expires_at <= at

    def as_of(self, at: str) -> "User":
        """Return the account as it is at a time: a pending change of address that has expired is none."""
        if not self.has_expired_change(at):
            return self
        return msgspec.structs.replace(self, pending_email=None, pending_email_expires_at=None)


class Session(msgspec.Struct, frozen=True):
    """A sign-in on a device: a family of refresh tokens with one absolute expiry."""

    id: str
    user_id: str
    device: str | None
    address: str | None
    created_at: str
    last_used_at: str
    expires_at: str


class Resource(msgspec.Struct, frozen=True, gc=False):
    """A JSON document with a type and an owner. Encoding it with msgspec gives the representation that clients see."""

    id: str
    type: str
    owner_id: str
    data: msgspec.Raw
    version: int
    created_at: str
    updated_at: str


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller, identified by an access token or an API key.

    A token belongs to a session and has all permissions of its account; its `scopes` are None. A key has no
    session and is limited to its scopes.
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
        """Return the id of the caller's session.

        Raises:
            Forbidden: the caller has no session.
        """
        if self.session_id is None:
            raise Forbidden("This requires an access token")
        return self.session_id

    def require_scope(self, *scopes: str) -> None:
        """Check that the caller's credential includes one of these scopes. An access token includes all.

        Raises:
            Forbidden: the caller is an API key without these scopes.
        """
        if self.scopes is None or not self.scopes.isdisjoint(scopes):
            return
        needed = " or ".join(scopes)
        raise Forbidden(f"The API key needs the scope {needed}" if needed else "This requires an access token")

    def refuse_own_key(self, user_id: str, detail: str) -> None:
        """Check that the caller is not an API key of this account.

        A key is a limited credential that its owner can revoke. It must not take over or destroy its owner.

        Raises:
            Forbidden: it is one. `detail` says what a key cannot do.
        """
        if self.api_key_id is not None and self.user_id == user_id:
            raise Forbidden(f"{detail}: use an access token")

    def may_manage(self, user_id: str) -> bool:
        """Return whether the caller may read and change an account: its own, or any if it is an administrator."""
        return self.user_id == user_id or self.is_admin


class Origin(msgspec.Struct, frozen=True):
    """The origin of a request: client address, user agent (`device`), and the request id in logs."""

    address: str | None = None
    device: str | None = None
    request_id: str | None = None


type Actor = Principal | Literal["operator", "system"] | None
"""A caller, the operator at the command line, the server itself, or an anonymous client (None)."""


class Context(msgspec.Struct, frozen=True):
    """The actor and origin of an operation.

    One is created for each request, command, job and background task. It is the first argument of every operation
    that writes.
    """

    actor: Actor = None
    origin: Origin = Origin()

    @property
    def caller(self) -> Principal:
        """Return the actor as a caller.

        Raises:
            Unauthenticated: the actor is not a caller.
        """
        if not isinstance(self.actor, Principal):
            raise Unauthenticated()
        return self.actor


OPERATOR = Context("operator")
"""The context of commands at the command line."""
SYSTEM = Context("system")
"""The context of background tasks."""


type ActorType = Literal["user", "api_key", "anonymous", "operator", "system"]
type TargetType = Literal["user", "api_key", "signing_key", "audit_log"]


class AuditEntry(msgspec.Struct, frozen=True):
    """An entry of the audit log: actor, action, target, time and origin.

    It never contains a secret, a name or an e-mail address. `actor_id` is the id of an account; for an API key, of
    its owner. Entries keep the id of a deleted account, which then no longer identifies a person. An `operator`
    acts at the command line; `system` is the server itself.
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
"""A position in a sorted list: the values of the sort fields of the last row seen, then its id."""


class Page[T](msgspec.Struct, frozen=True):
    """A page of a list.

    `next` is the position of the last item, None on the last page. `total` is None unless the listing counts.
    `is_cut` says that the page has fewer items than the listing asks for, because it would have been too large.
    """

    items: list[T]
    next: Position | None
    total: int | None = None
    is_cut: bool = False
