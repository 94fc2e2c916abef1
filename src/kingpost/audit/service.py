"""Reading the audit log, and taking it along."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec

from kingpost import audit, clock
from kingpost.audit.store import AuditListing, AuditStore
from kingpost.model import AuditEntry, Context, Page, SortKey

OLDEST_FIRST = (SortKey("id"),)
SWEPT = 60 * 60
"""Seconds: how old an entry may be that is swept. None is on its way for nearly as long."""
PAGE = 200
"""Entries that an export holds in memory at a time."""


class AuditFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which entries are wanted. `since` is the first time that counts, `until` the first that does not."""

    actor_id: str | None = None
    target_id: str | None = None
    action: audit.Action | None = None
    since: str | None = None
    until: str | None = None


class AuditLog:
    """What administrators may see of the audit log: all of it. That they are administrators, the route says."""

    def __init__(self, log: AuditStore) -> None:
        self._log = log

    async def list(self, listing: AuditListing) -> Page[AuditEntry]:
        """Entries, a page at a time."""
        return await self._log.list(listing)

    async def export(self, context: Context, wanted: AuditFilter) -> AsyncGenerator[Sequence[AuditEntry]]:
        """All entries that are wanted and were made before now, oldest first, a page at a time.

        That they were exported, and which, is an entry itself. It is stored before this returns.
        """
        entry = audit.entry(context, "audit.exported", "audit_log", None, filter=_given(wanted))
        await self._log.add(entry)
        # An end: else a walk would follow the log for as long as others write faster than the client reads.
        until = min(wanted.until or entry.created_at, entry.created_at)
        listing = AuditListing(OLDEST_FIRST, PAGE, **_given(wanted) | {"until": until})
        return pages(self._log, listing)

    async def sweep(self) -> None:
        """Forget where deleted accounts were, in entries that were on their way when they were deleted."""
        await self._log.forget_addresses_of_deleted(clock.after(-SWEPT))


async def pages(log: AuditStore, listing: AuditListing) -> AsyncGenerator[Sequence[AuditEntry]]:
    """All entries of a listing, a page at a time. Between two pages nothing of the database is held."""
    while True:
        page = await log.list(listing)
        yield page.items
        if page.next is None:
            return
        listing = msgspec.structs.replace(listing, after=page.next)


def _given(wanted: AuditFilter) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
