"""The port that stores accounts."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.model import Page, Status, User
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.listing import Listing


class UserChange(msgspec.Struct, frozen=True):
    """New values of an account; `UNSET` keeps a field."""

    email: str | msgspec.UnsetType = msgspec.UNSET
    email_key: str | msgspec.UnsetType = msgspec.UNSET
    email_verified: bool | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    roles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    status: Status | msgspec.UnsetType = msgspec.UNSET
    pending_email: str | msgspec.UnsetType | None = msgspec.UNSET
    pending_email_expires_at: str | msgspec.UnsetType | None = msgspec.UNSET


class UserStore(Protocol):
    """Accounts. `email_key` is the normalised address, which is unique."""

    async def create(self, user: User, email_key: str, password_hash: str, effects: Effects = NO_EFFECTS) -> None:
        """Store a new account.

        Raises:
            Conflict: another account has the `email_key`. Of N concurrent calls with one key exactly one succeeds.
        """
        ...

    async def find(self, user_id: str) -> User | None:
        """Return the account with this id, or None."""
        ...

    async def find_by_email(self, email_key: str) -> User | None:
        """Return the account with this address, or None."""
        ...

    async def list(self, listing: Listing, *, status: Status | None = None, role: str | None = None) -> Page[User]:
        """Return one page of accounts in the order of `listing.sort`, ties by id.

        Args:
            listing: can sort by `created_at`, `updated_at`, `email` and `id`.
            status: only accounts with this status.
            role: only accounts with this role.
        """
        ...

    async def change(
        self,
        user_id: str,
        change: UserChange,
        at: str,
        versions: Sequence[int] | None,
        effects: Effects = NO_EFFECTS,
        *,
        by_admin: str | None = None,
    ) -> tuple[User, Sequence[str]]:
        """Change an account and increment its version; return it with the ids of the sessions that this ended.

        A suspension ends all sessions of the account in the same transaction. New roles become visible in
        `RevocationStore.roles_changed_within`. A new address revokes the one-time tokens that were sent to the old
        one. A new address, a suspension, and a change of `pending_email` end the pending change of address that there
        was, with its tokens.

        Args:
            user_id: the account to change.
            change: the new values.
            at: the time of the change.
            versions: the versions that may be changed; None allows any.
            effects: stored in the same transaction.
            by_admin: the account that makes the change as an administrator. It must still be an active one: an
                administrator who is demoted cannot undo that with a token that another node still trusts.

        Raises:
            NotFound: no account has this id.
            Forbidden: `by_admin` is no active administrator any more.
            VersionMismatch: the account has another version. Of N concurrent calls that name one version exactly one
                succeeds.
            Conflict: another account has the new address; or no active administrator would be left, also when several
                are demoted concurrently.
        """
        ...

    async def end_expired_change(self, user_id: str, at: str) -> User | None:
        """End the pending change of an account's address if it has expired at a time, which changes the version.

        Return the account, changed or not, or None if no account has this id.
        """
        ...

    async def with_expired_changes(self, at: str) -> Sequence[str]:
        """Return the ids of the accounts whose pending change of address has expired at a time."""
        ...

    async def delete(
        self, user_id: str, versions: Sequence[int] | None, effects: Effects = NO_EFFECTS
    ) -> Sequence[str]:
        """Delete an account and everything it owns; return the ids of the sessions that this ended.

        This deletes the account's resources, API keys, second factor, one-time tokens and waiting jobs, and its
        e-mail address becomes free. Audit entries keep the account's id, but their client addresses are cleared if
        the account is their actor or target.

        Raises:
            NotFound, VersionMismatch: as for `change`.
            Conflict: no active administrator would be left.
        """
        ...
