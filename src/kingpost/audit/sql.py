"""The audit log on SQL."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement, and_, bindparam, exists, literal, or_, update

from kingpost import clock
from kingpost.accounts.users.tables import users
from kingpost.audit.store import AuditListing
from kingpost.audit.tables import AUDIT_ENTRY, audit, audit_entry_of
from kingpost.model import AuditEntry, Page
from kingpost.storage.columns import Identifier
from kingpost.storage.database import Database, Statement
from kingpost.storage.owned import Owned
from kingpost.storage.paging import Filter, Pages
from kingpost.storage.writes import Kind, Writes, insertion

FILTERS = {
    "actor_id": Filter(audit.c.actor_id == bindparam("actor_id"), pins="actor_id"),
    "target_id": Filter(audit.c.target_id == bindparam("target_id"), pins="target_id"),
    "action": Filter(audit.c.action == bindparam("action"), pins="action"),
    # Entries carry their time in their id, which the indexes are sorted by.
    "since": Filter(audit.c.id >= bindparam("since", type_=Identifier), ranges="id"),
    "until": Filter(audit.c.id < bindparam("until", type_=Identifier), ranges="id"),
}
SORTED_BY = {"created_at": "id"}


def _row(entry: AuditEntry) -> tuple[Any, ...]:
    return (*msgspec.structs.astuple(entry)[:-1], bytes(entry.details).decode())


KINDS: Mapping[type, Kind[Any]] = {AuditEntry: insertion(audit, _row, AUDIT_ENTRY)}


class SQLAuditLog:
    """`kingpost.audit.store.AuditStore` on SQL."""

    def __init__(self, database: Database, writes: Writes) -> None:
        self._database = database
        self._writes = writes
        self._pages = Pages(database, AUDIT_ENTRY, audit_entry_of, filters=FILTERS, aliases=SORTED_BY)
        gone = or_(
            _is_gone(audit.c.actor_id), and_(audit.c.target_type == literal("user"), _is_gone(audit.c.target_id))
        )
        of_deleted = update(audit).where(FILTERS["since"].clause, audit.c.address.is_not(None), gone)
        self._forget_addresses = Statement(of_deleted.values(address=None), database.dialect)

    async def add(self, *entries: AuditEntry) -> None:
        await self._writes.commit((), entries)

    async def list(self, listing: AuditListing) -> Page[AuditEntry]:
        given = {name: getattr(listing, name) for name in FILTERS if getattr(listing, name) is not None}
        given |= {name: clock.first_id_of(given[name]) for name in ("since", "until") if name in given}
        return await self._pages.list(listing, **given)

    async def forget_addresses_of_deleted(self, since: str) -> None:
        await self._database.write(self._forget_addresses(since=clock.first_id_of(since)))


def _is_gone(account: Column[str]) -> ColumnElement[bool]:
    return and_(account.is_not(None), ~exists().where(users.c.id == account))


def _owned() -> Owned:
    user_id = bindparam("user_id", type_=Identifier)
    # Where someone was is personal. That an account with this id did something is not, once the account is gone.
    about = or_(audit.c.actor_id == user_id, audit.c.target_id == user_id)
    return Owned([update(audit).where(about, audit.c.address.is_not(None)).values(address=None)])


OWNED = _owned()
