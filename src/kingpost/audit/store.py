"""The port that stores the audit log."""

from typing import Protocol

from kingpost.model import AuditEntry, Page
from kingpost.storage.listing import Listing


class AuditListing(Listing, frozen=True):
    """The conditions, order and page of a listing. `since` is inclusive, `until` is exclusive."""

    actor_id: str | None = None
    target_id: str | None = None
    action: str | None = None
    since: str | None = None
    until: str | None = None


class AuditStore(Protocol):
    """Append-only log of actions: the database itself refuses to change or delete an entry.

    Entries are stored as effects of the write that they record, or with `add`. Deleting an account clears
    the addresses in its entries; nothing else in an entry ever changes.
    """

    async def add(self, *entries: AuditEntry) -> None:
        """Store entries about actions that write nothing else, such as a refused login."""
        ...

    async def list(self, listing: AuditListing) -> Page[AuditEntry]:
        """Return one page of entries in the order of `listing.sort`: `created_at` or `id`, which are equivalent."""
        ...

    async def forget_addresses_of_deleted(self, since: str) -> None:
        """Clear the addresses in entries made since a time, where the actor or the target is a deleted account.

        `Users.delete` does this for all entries that it sees. It misses an entry that is stored concurrently, for
        example by a login that is being refused.
        """
        ...
