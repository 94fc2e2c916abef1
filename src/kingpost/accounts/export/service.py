"""The export of all data stored about an account."""

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

ENTRIES_PER_PAGE = 200
RESOURCES_PER_PAGE = 10
"""Few, because each resource may be as large as a request body, and a page is held in memory."""


type Read = Callable[[str], Awaitable[Any]]
"""Returns the data that a feature stores about the account with this id, without secrets and hashes of secrets."""


class AccountExport(msgspec.Struct, frozen=True):
    """The data stored about an account. `audit` and `resources` yield pages, oldest first."""

    user: User
    records: dict[str, Any]
    audit: AsyncGenerator[Sequence[AuditEntry]]
    resources: AsyncGenerator[Sequence[Resource]]


class Exports:
    """Exports the data of accounts."""

    def __init__(
        self, users: UserStore, readers: Mapping[str, Read], audit_log: AuditStore, resources: ResourceStore
    ) -> None:
        """`readers` read the data that the features store about an account, by field of the export."""
        self._users = users
        self._readers = readers
        self._audit_log = audit_log
        self._stored_resources = resources

    async def export(self, context: Context, user_id: str) -> AccountExport:
        """Return all data stored about an account. The export is recorded in the audit log before this returns.

        Raises:
            Forbidden: the account is not the caller's own, and the caller is not an administrator; or the caller is
                limited to scopes, and `resources:read` is not among them.
            NotFound: no account has this id.
        """
        principal = context.caller
        if principal.scopes is not None and "resources:read" not in principal.scopes:
            raise Forbidden("An export contains resources: the credential also needs the scope resources:read")
        user = await self._users.find(user_id)
        if user is None:
            raise NotFound()
        if not principal.may_manage(user_id):
            raise Forbidden()
        await self._audit_log.add(audit.entry(context, "user.exported", "user", user_id))
        records = {name: await read(user_id) for name, read in self._readers.items()}
        return AccountExport(user, records, self._entries(user_id), self._resources(user_id))

    async def _entries(self, user_id: str) -> AsyncGenerator[Sequence[AuditEntry]]:
        """Yield the actions of the account, then the actions of others on the account."""
        log = self._audit_log
        async for entries in pages(log, AuditListing(OLDEST_FIRST, ENTRIES_PER_PAGE, actor_id=user_id)):
            yield entries
        async for entries in pages(log, AuditListing(OLDEST_FIRST, ENTRIES_PER_PAGE, target_id=user_id)):
            yield [_without_address_of_others(entry) for entry in entries if entry.actor_id != user_id]

    async def _resources(self, user_id: str) -> AsyncGenerator[Sequence[Resource]]:
        listing = ResourceListing(OLDEST_FIRST, RESOURCES_PER_PAGE, owner_id=user_id)
        while True:
            page = await self._stored_resources.list(listing)
            yield page.items
            if page.next is None:
                return
            listing = msgspec.structs.replace(listing, after=page.next)


def _without_address_of_others(entry: AuditEntry) -> AuditEntry:
    """Return an entry without the client address of another account, such as an administrator's.

    The address of an anonymous client is kept: it shows the owner where failed logins came from.
    """
    return entry if entry.actor_id is None else msgspec.structs.replace(entry, address=None)
