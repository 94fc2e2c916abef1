"""The port that stores the audit log."""

from typing import Protocol

from kingpost.model import AuditEntry, Page
from kingpost.storage.listing import Listing


class AuditListing(Listing, frozen=True):
    """Which entries are wanted. `since` is the first time that counts, `until` the first that does not."""

    actor_id: str | None = None
    target_id: str | None = None
    action: str | None = None
    since: str | None = None
    until: str | None = None


class AuditStore(Protocol):
    """What was done, append-only: the database itself refuses to change or delete an entry.

    Entries are added as effects of the write that they describe, or by themselves. When an account is
    deleted, the addresses in the entries about it are forgotten; nothing else ever changes.
    """

    async def add(self, *entries: AuditEntry) -> None:
        """Store entries about what was no write: a login that was refused, for one."""
        ...

    async def list(self, listing: AuditListing) -> Page[AuditEntry]:
        """Entries in the order of `listing.sort` (`created_at` or `id`, which is the same), a page at a time."""
        ...

    async def forget_addresses_of_deleted(self, since: str) -> None:
        """Forget the addresses in entries, made since a time, by or about accounts that are not there any more.

        `Users.delete` does this with all entries that it sees. One that is on its way at that moment, as of a login
        that is being refused, comes too late for it.
        """
        ...
