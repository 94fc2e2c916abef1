"""Everything that is kept about an account, for whom it is about."""

from collections.abc import AsyncGenerator, Sequence

import msgspec

from kingpost import audit
from kingpost.audit.service import OLDEST_FIRST, pages
from kingpost.model import AuditEntry, Origin, Principal, Resource
from kingpost.policy import may_touch_account
from kingpost.problems import Forbidden, NotFound
from kingpost.storage import ResourceListing, Storage
from kingpost.storage.audit import AuditListing
from kingpost.storage.records import AccountRecords

ENTRIES = 200
"""Audit entries that are held in memory at a time."""
RESOURCES = 10
"""Resources that are: each may be as long as a body."""


class AccountExport(msgspec.Struct, frozen=True):
    """The records of an account, and what may be long a page at a time, oldest first."""

    records: AccountRecords
    audit: AsyncGenerator[Sequence[AuditEntry]]
    resources: AsyncGenerator[Sequence[Resource]]


class Exports:
    """Gives people what is kept about them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def export(self, principal: Principal, user_id: str, origin: Origin) -> AccountExport:
        """Everything that is kept about an account. That it was exported is in the audit log before this returns.

        Raises:
            Forbidden: it is neither the caller's own nor is the caller an administrator; or the caller is an
                API key that may not read resources.
            NotFound: there is no such account.
        """
        if principal.scopes is not None and "resources:read" not in principal.scopes:
            raise Forbidden("An export holds resources: this needs an API key with the scope resources:read, too")
        records = await self._storage.records.find(user_id)
        if records is None:
            raise NotFound()
        if not may_touch_account(principal, user_id):
            raise Forbidden()
        await self._storage.audit.add(audit.entry("user.exported", "user", user_id, principal, origin))
        return AccountExport(records, self._entries(user_id), self._resources(user_id))

    async def _entries(self, user_id: str) -> AsyncGenerator[Sequence[AuditEntry]]:
        """What the account did, then what others did to it."""
        log = self._storage.audit
        async for entries in pages(log, AuditListing(OLDEST_FIRST, ENTRIES, actor_id=user_id)):
            yield entries
        async for entries in pages(log, AuditListing(OLDEST_FIRST, ENTRIES, target_id=user_id)):
            yield [_without_another_place(entry) for entry in entries if entry.actor_id != user_id]

    async def _resources(self, user_id: str) -> AsyncGenerator[Sequence[Resource]]:
        listing = ResourceListing(OLDEST_FIRST, RESOURCES, owner_id=user_id)
        while True:
            page = await self._storage.resources.list(listing)
            yield page.items
            if page.next is None:
                return
            listing = msgspec.structs.replace(listing, after=page.next)


def _without_another_place(entry: AuditEntry) -> AuditEntry:
    """An entry about the account without where an administrator was. Where a stranger was, who tried, is told."""
    return entry if entry.actor_id is None else msgspec.structs.replace(entry, address=None)
