"""The storage port: what the features ask of a database, and what every implementation promises.

Each method is one intent and is atomic: it happens whole or not at all, and what it has returned is
durable. Conditions (a version, a token not yet used, the last administrator) are decided in the write
itself, so of any number of concurrent callers exactly as many win as the docstring says. A database
that cannot be reached, or does not answer in time, raises `Unavailable`; nothing else leaks from a
driver. After a write has returned, every read by this process sees it.

Writes that have `Consequences` store them in their own transaction: all of it happens, or nothing.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from kingpost.model import Page, Resource, Session, Status, User
from kingpost.storage.api_keys import APIKeys
from kingpost.storage.audit import AuditLog
from kingpost.storage.consequences import NONE, Consequences
from kingpost.storage.jobs import Jobs
from kingpost.storage.listing import Listing
from kingpost.storage.one_time_tokens import OneTimeTokens
from kingpost.storage.records import Records
from kingpost.storage.second_factors import SecondFactors


class Credentials(msgspec.Struct, frozen=True):
    """What a login is checked against."""

    user: User
    password_hash: str


class UserChange(msgspec.Struct, frozen=True):
    """New values of an account; `UNSET` leaves a field as it is."""

    email: str | msgspec.UnsetType = msgspec.UNSET
    email_key: str | msgspec.UnsetType = msgspec.UNSET
    email_verified: bool | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    roles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    status: Status | msgspec.UnsetType = msgspec.UNSET


class CannotOpen(Exception):
    """A database that cannot be used. Its text is one sentence for the operator."""


class Users(Protocol):
    """Accounts. `email_key` is the address as it is compared: no two accounts share one."""

    async def create(self, user: User, email_key: str, password_hash: str, consequences: Consequences = NONE) -> None:
        """Store a new account.

        Raises:
            Conflict: the `email_key` is taken. Of N concurrent calls with one key exactly one succeeds.
        """
        ...

    async def find(self, user_id: str) -> User | None:
        """The account, or None."""
        ...

    async def find_credentials(self, email_key: str) -> Credentials | None:
        """The account with this address and its password hash, or None."""
        ...

    async def find_password_hash(self, user_id: str) -> str | None:
        """The password hash of an account, or None where there is no such account."""
        ...

    async def list(self, listing: Listing, *, status: Status | None = None, role: str | None = None) -> Page[User]:
        """Accounts in the order of `listing.sort` (`created_at`, `updated_at`, `email`, `id`), ties by id.

        All of them, or those that have a status or a role. The total counts the same ones.
        """
        ...

    async def change(
        self,
        user_id: str,
        change: UserChange,
        at: str,
        versions: Sequence[int] | None,
        consequences: Consequences = NONE,
    ) -> tuple[User, Sequence[str]]:
        """Change an account, add one to its version, and return it with the ids of the sessions this ended.

        A suspension ends all of the account's sessions with the change; `roles_changed_within` tells of new roles.
        A new address kills all one-time tokens that were sent to the old one.

        Args:
            at: the time of the change.
            versions: change only one of these versions; None changes any.

        Raises:
            NotFound: there is no such account.
            VersionMismatch: it has another version. Of N callers that name one version exactly one wins.
            Conflict: the new address is taken, or no active administrator would be left (also when
                several are demoted at the same moment).
        """
        ...

    async def change_password(
        self, user_id: str, password_hash: str, at: str, keep_session: str | None, consequences: Consequences = NONE
    ) -> Sequence[str]:
        """Set a new password hash and end every session of the account (but one, if so wished); return their ids.

        One-time tokens for a new password or another address are killed with it.

        Raises:
            NotFound: there is no such account.
        """
        ...

    async def upgrade_password_hash(self, user_id: str, old_hash: str, new_hash: str) -> None:
        """Put another hash of the same password in the place of one, if that is still the account's. No new version."""
        ...

    async def roles_changed_within(self, seconds: int) -> Sequence[tuple[str, tuple[str, ...]]]:
        """The accounts whose roles were set in the last so many seconds, by the database's own clock: ids and roles."""
        ...

    async def delete(
        self, user_id: str, versions: Sequence[int] | None, consequences: Consequences = NONE
    ) -> Sequence[str]:
        """Delete an account with all that it owns; return the ids of the sessions this ended.

        The address is free again. What becomes of the account's resources is decided here and nowhere else.
        Its API keys, second factor, one-time tokens and waiting jobs go with it. Of the audit log its id
        remains, which names nobody any more; the addresses in the entries by or about it are forgotten.

        Raises:
            NotFound, VersionMismatch: as for `change`.
            Conflict: no active administrator would be left.
        """
        ...


class Rotation(msgspec.Struct, frozen=True):
    """A refresh that succeeded. `session` is as after it."""

    user: User
    session: Session


class Sessions(Protocol):
    """Sign-ins, each a family of refresh tokens of which only hashes are known here."""

    async def create(
        self,
        session: Session,
        token_hash: bytes,
        password_hash: str | None = None,
        consequences: Consequences = NONE,
        *,
        second_factor: bytes | None = None,
    ) -> None:
        """Store a new session whose first refresh token has this hash.

        Where `password_hash` is given, it must still be the account's, and `second_factor` what is sealed of its
        confirmed second factor (None: it has none). So a login starts nothing that was checked against a
        password which has been changed meanwhile, or before a second factor came into force.

        Raises:
            Unauthenticated: the account is gone or suspended, or has got another password or second factor.
        """
        ...

    async def rotate(
        self,
        session_id: str,
        token_hash: bytes,
        successor_hash: bytes,
        at: str,
        not_before: str,
        idle_since: str,
        if_reused: Callable[[str], Consequences] = lambda user_id: NONE,
    ) -> Rotation | None:
        """Consume a refresh token and put its successor in its place.

        The token with `token_hash` is consumed if it is the session's present one. If it is the parent of
        the present one and was consumed at `not_before` or later, the same rotation is returned again and
        nothing changes (the successor is derived from the parent, so it is the same one). Of N concurrent
        calls with one token exactly one consumes it, the others get the same rotation.

        Any other token of the session is stolen or long used: the session ends, and None is returned. If that
        ended a session which was in use, what `if_reused` makes of its account's id is stored with it.
        None also if the session has ended, has expired, was last used before `idle_since`, or its account
        is gone or suspended.
        """
        ...

    async def find(self, session_id: str) -> Session | None:
        """The session, unless it has ended; it may have expired."""
        ...

    async def list(self, user_id: str, at: str, idle_since: str) -> Sequence[Session]:
        """The account's sessions that are alive at `at`, latest use first."""
        ...

    async def end(self, session_id: str, user_id: str | None, consequences: Consequences = NONE) -> str | None:
        """End one living session and return its account's id; None if there is no such living session.

        Where `user_id` is given, the session must be that account's.
        """
        ...

    async def end_all(
        self, user_id: str, *, keep_session: str | None = None, consequences: Consequences = NONE
    ) -> Sequence[str]:
        """End all sessions of an account, but one if so wished, and return their ids."""
        ...

    async def is_alive(self, session_id: str, at: str) -> bool:
        """Whether the session has neither ended nor expired."""
        ...

    async def ended_within(self, seconds: int) -> Sequence[str]:
        """The ids of the sessions that ended in the last so many seconds, by the database's own clock."""
        ...

    async def forget_expired(self, before: str) -> None:
        """Drop all sessions whose absolute end lies before a time."""
        ...


class SealedKey(msgspec.Struct, frozen=True):
    """A signing key at rest: the private part is encrypted, `sealed` means nothing without the master secret."""

    id: str
    algorithm: str
    sealed: bytes
    created_at: str


class SigningKeys(Protocol):
    """The keys that sign access tokens, the same for every node."""

    async def list(self) -> Sequence[SealedKey]:
        """All keys, oldest first."""
        ...

    async def add_first(self, key: SealedKey) -> None:
        """Store a key if there is none yet. Of N concurrent calls exactly one stores its key."""
        ...

    async def add_after(self, newest_id: str, key: SealedKey, consequences: Consequences = NONE) -> bool:
        """Store a key if the newest is still the one with this id; tell whether it was.

        Of N concurrent calls with one id exactly one stores its key.
        """
        ...

    async def remove(self, key_id: str, consequences: Consequences = NONE, *, superseded_by: str | None = None) -> bool:
        """Remove a key, unless it is the only one; tell whether this call did.

        Where `superseded_by` is given, that key must (still) be there. Of N concurrent calls with one id
        exactly one removes the key, and however many ids are removed at the same moment, one key stays.
        """
        ...


class ResourceListing(Listing, frozen=True):
    """Which resources are wanted: those of one type, those of one owner, or both, or all."""

    type: str | None = None
    owner_id: str | None = None


class Resources(Protocol):
    """Documents with owners."""

    async def create(self, resource: Resource) -> None:
        """Store a new resource.

        Raises:
            Unauthenticated: its owner is gone.
        """
        ...

    async def find(self, resource_id: str) -> Resource | None:
        """The resource, or None."""
        ...

    async def list(self, listing: ResourceListing) -> Page[Resource]:
        """Resources in the order of `listing.sort` (any field but `data`), ties by id.

        A walk by position never repeats a row and never misses one that was there all along, whatever is
        created or deleted meanwhile. By `created_at`, `updated_at` and `id` the thousandth page costs what
        the first did.
        """
        ...

    async def replace(self, resource_id: str, data: msgspec.Raw, at: str, versions: Sequence[int] | None) -> Resource:
        """Replace a resource's data, add one to its version, and return it.

        Args:
            at: the time of the change.
            versions: replace only one of these versions; None replaces any.

        Raises:
            NotFound: there is no such resource.
            VersionMismatch: it has another version. Of N callers that name one version exactly one wins.
        """
        ...

    async def delete(self, resource_id: str, versions: Sequence[int] | None) -> None:
        """Delete a resource.

        Raises:
            NotFound, VersionMismatch: as for `replace`.
        """
        ...


class Storage(Protocol):
    """A database that is open."""

    @property
    def users(self) -> Users: ...

    @property
    def sessions(self) -> Sessions: ...

    @property
    def second_factors(self) -> SecondFactors: ...

    @property
    def api_keys(self) -> APIKeys: ...

    @property
    def signing_keys(self) -> SigningKeys: ...

    @property
    def resources(self) -> Resources: ...

    @property
    def one_time_tokens(self) -> OneTimeTokens: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def audit(self) -> AuditLog: ...

    @property
    def records(self) -> Records: ...

    async def ping(self) -> None:
        """Do the least that proves the database answers.

        Raises:
            Unavailable: it does not.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""
        ...
