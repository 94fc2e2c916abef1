"""Reading and exporting the audit log."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec

from kingpost import audit, clock
from kingpost.audit.store import AuditListing, AuditStore
from kingpost.model import AuditEntry, Context, Page, SortKey

OLDEST_FIRST = (SortKey("id"),)
SWEEP_WINDOW = 60 * 60
"""Seconds that a sweep looks back: far longer than it takes to store an entry."""
PAGE = 200
"""Number of entries that an export holds in memory at a time."""


class AuditFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Conditions on entries; None matches all. `since` is inclusive, `until` is exclusive."""

    actor_id: str | None = None
    target_id: str | None = None
    action: audit.Action | None = None
    since: str | None = None
    until: str | None = None


class AuditLog:
    """The audit log for administrators. The routes check that the caller is one."""

    def __init__(self, log: AuditStore) -> None:
        self._log = log

    async def list(self, listing: AuditListing) -> Page[AuditEntry]:
        """Return one page of entries."""
        return await self._log.list(listing)

    async def export(self, context: Context, entry_filter: AuditFilter) -> AsyncGenerator[Sequence[AuditEntry]]:
        """Return all matching entries made before now, oldest first, in pages.

        The export itself is recorded in the audit log, with its filter, before this returns.
        """
        conditions = _conditions(entry_filter)
        entry = audit.entry(context, "audit.exported", "audit_log", None, filter=conditions)
        await self._log.add(entry)
        # Without an upper bound the export would never end while entries are added faster than the client reads.
        until = min(entry_filter.until or entry.created_at, entry.created_at)
        listing = AuditListing(OLDEST_FIRST, PAGE, **conditions | {"until": until})
        return pages(self._log, listing)

    async def sweep(self) -> None:
        """Clear the addresses of deleted accounts from entries that were stored during the deletion."""
        await self._log.forget_addresses_of_deleted(clock.after(-SWEEP_WINDOW))


async def pages(log: AuditStore, listing: AuditListing) -> AsyncGenerator[Sequence[AuditEntry]]:
    """Yield all entries of a listing in pages. No database connection or cursor is held between two pages."""
    while True:
        page = await log.list(listing)
        yield page.items
        if page.next is None:
            return
        listing = msgspec.structs.replace(listing, after=page.next)


def _conditions(entry_filter: AuditFilter) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(entry_filter).items() if value is not None}
