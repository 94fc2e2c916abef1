"""Everything that is kept about an account, for whom it is about."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from kingpost import audit
from kingpost.accounts.users.store import UserStore
from kingpost.audit.service import OLDEST_FIRST, pages
from kingpost.audit.store import AuditListing, AuditStore
from kingpost.model import AuditEntry, Context, Resource, User
from kingpost.problems import Forbidden, NotFound
from kingpost.resources.store import ResourceListing, ResourceStore

ENTRIES = 200
"""Audit entries that are held in memory at a time."""
RESOURCES = 10
"""Resources that are: each may be as long as a body."""


type Read = Callable[[str], Awaitable[Any]]
"""Return what a room stores about an account, given its id. No secret, and no hash of one."""


class AccountExport(msgspec.Struct, frozen=True):
    """What is stored about an account. What may be long comes a page at a time, oldest first."""

    user: User
    rooms: dict[str, Any]
    audit: AsyncGenerator[Sequence[AuditEntry]]
    resources: AsyncGenerator[Sequence[Resource]]


class Exports:
    """Gives people what is kept about them."""

    def __init__(
        self, users: UserStore, rooms: Mapping[str, Read], audit_log: AuditStore, resources: ResourceStore
    ) -> None:
        """`rooms` reads what each room stores about an account, by the field of the export that shows it."""
        self._users = users
        self._rooms = rooms
        self._audit_log = audit_log
        self._stored_resources = resources

    async def export(self, context: Context, user_id: str) -> AccountExport:
        """Everything that is kept about an account. That it was exported is in the audit log before this returns.

        Raises:
            Forbidden: it is neither the caller's own nor is the caller an administrator; or the caller is an
                API key that may not read resources.
            NotFound: there is no such account.
        """
        principal = context.caller
        if principal.scopes is not None and "resources:read" not in principal.scopes:
            raise Forbidden("An export holds resources: this needs an API key with the scope resources:read, too")
        user = await self._users.find(user_id)
        if user is None:
            raise NotFound()
        if not principal.may_manage(user_id):
            raise Forbidden()
        await self._audit_log.add(audit.entry(context, "user.exported", "user", user_id))
        rooms = {name: await read(user_id) for name, read in self._rooms.items()}
        return AccountExport(user, rooms, self._entries(user_id), self._resources(user_id))

    async def _entries(self, user_id: str) -> AsyncGenerator[Sequence[AuditEntry]]:
        """What the account did, then what others did to it."""
        log = self._audit_log
        async for entries in pages(log, AuditListing(OLDEST_FIRST, ENTRIES, actor_id=user_id)):
            yield entries
        async for entries in pages(log, AuditListing(OLDEST_FIRST, ENTRIES, target_id=user_id)):
            yield [_without_another_place(entry) for entry in entries if entry.actor_id != user_id]

    async def _resources(self, user_id: str) -> AsyncGenerator[Sequence[Resource]]:
        listing = ResourceListing(OLDEST_FIRST, RESOURCES, owner_id=user_id)
        while True:
            page = await self._stored_resources.list(listing)
            yield page.items
            if page.next is None:
                return
            listing = msgspec.structs.replace(listing, after=page.next)


def _without_another_place(entry: AuditEntry) -> AuditEntry:
    """An entry about the account without where an administrator was. Where a stranger was, who tried, is told."""
    return entry if entry.actor_id is None else msgspec.structs.replace(entry, address=None)
