"""The port that stores accounts."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kingpost.model import Page, Status, User
from kingpost.storage.effects import NO_EFFECTS, Effects
from kingpost.storage.listing import Listing


class UserChange(msgspec.Struct, frozen=True):
    """New values of an account; `UNSET` leaves a field as it is."""

    email: str | msgspec.UnsetType = msgspec.UNSET
    email_key: str | msgspec.UnsetType = msgspec.UNSET
    email_verified: bool | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    roles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    status: Status | msgspec.UnsetType = msgspec.UNSET


class UserStore(Protocol):
    """Accounts. `email_key` is the address as it is compared: no two accounts share one."""

    async def create(self, user: User, email_key: str, password_hash: str, effects: Effects = NO_EFFECTS) -> None:
        """Store a new account.

        Raises:
            Conflict: the `email_key` is taken. Of N concurrent calls with one key exactly one succeeds.
        """
        ...

    async def find(self, user_id: str) -> User | None:
        """The account, or None."""
        ...

    async def find_by_email(self, email_key: str) -> User | None:
        """Return the account with this address, or None."""
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
        effects: Effects = NO_EFFECTS,
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

    async def delete(
        self, user_id: str, versions: Sequence[int] | None, effects: Effects = NO_EFFECTS
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
