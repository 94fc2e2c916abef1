"""The audit log on SQL."""

from functools import lru_cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, bindparam, exists, func, literal, or_, select, update

from kingpost import clock
from kingpost.accounts.users.tables import users
from kingpost.audit.store import AuditListing
from kingpost.audit.tables import AUDIT_ENTRY, audit, audit_entry_of
from kingpost.model import AuditEntry, Page, SortKey
from kingpost.storage.columns import Identifier
from kingpost.storage.consequences import Consequences
from kingpost.storage.database import Database, Statement
from kingpost.storage.effects import ConsequenceScripts
from kingpost.storage.owned import Owned
from kingpost.storage.paging import Order

CONDITIONS: dict[str, ColumnElement[bool]] = {
    "actor_id": audit.c.actor_id == bindparam("actor_id"),
    "target_id": audit.c.target_id == bindparam("target_id"),
    "action": audit.c.action == bindparam("action"),
    # Entries carry their time in their id, which the indexes are sorted by.
    "since": audit.c.id >= bindparam("since", type_=Identifier),
    "until": audit.c.id < bindparam("until", type_=Identifier),
}


class SQLAuditLog:
    """`kingpost.audit.store.AuditStore` on SQL."""

    def __init__(self, database: Database, consequences: ConsequenceScripts) -> None:
        self._database = database
        self._consequences = consequences
        self._page = lru_cache(maxsize=64)(self._make_page)
        self._count = lru_cache(maxsize=64)(self._make_count)
        gone = or_(
            _is_gone(audit.c.actor_id), and_(audit.c.target_type == literal("user"), _is_gone(audit.c.target_id))
        )
        told = update(audit).where(CONDITIONS["since"], audit.c.address.is_not(None), gone)
        self._forget_addresses = Statement(told.values(address=None), database.dialect)

    async def add(self, *entries: AuditEntry) -> None:
        await self._database.transact(self._consequences.store(Consequences(audit=entries)))

    async def list(self, listing: AuditListing) -> Page[AuditEntry]:
        given = {name: getattr(listing, name) for name in CONDITIONS if getattr(listing, name) is not None}
        given |= {name: clock.first_id_of(given[name]) for name in ("since", "until") if name in given}
        order, statement = self._page(tuple(given), listing.sort, listing.after is not None)
        part = {"limit": listing.limit + 1, "offset": listing.offset}
        rows = await self._database.read(statement(**given, **part, **order.parameters(listing.after)))
        total = None
        if listing.count:
            total = (await self._database.scan(self._count(tuple(given))(**given)))[0][0]
        items = [audit_entry_of(row) for row in rows[: listing.limit]]
        more = len(rows) > listing.limit
        # The columns of the order stand at the end of each row.
        return Page(items, tuple(rows[listing.limit - 1][len(AUDIT_ENTRY) :]) if more else None, total)

    async def forget_addresses_of_deleted(self, since: str) -> None:
        await self._database.write(self._forget_addresses(since=clock.first_id_of(since)))

    def _make_page(self, given: tuple[str, ...], sort: tuple[SortKey, ...], behind: bool) -> tuple[Order, Statement]:
        order = Order(audit, sort, {"created_at": "id"})
        key = [audit.c[name].label(f"key_{name}") for name in order.columns]
        wanted = select(*AUDIT_ENTRY, *key).where(*[CONDITIONS[name] for name in given])
        statement: Select[Any] = order.apply(wanted, behind)
        return order, Statement(statement.limit(bindparam("limit")).offset(bindparam("offset")), self._database.dialect)

    def _make_count(self, given: tuple[str, ...]) -> Statement:
        counted = select(func.count()).select_from(audit).where(*[CONDITIONS[name] for name in given])
        return Statement(counted, self._database.dialect)


def _is_gone(account: Column[str]) -> ColumnElement[bool]:
    return and_(account.is_not(None), ~exists().where(users.c.id == account))


def _owned() -> Owned:
    user_id = bindparam("user_id", type_=Identifier)
    # Where someone was is personal. That an account with this id did something is not, once the account is gone.
    about = or_(audit.c.actor_id == user_id, audit.c.target_id == user_id)
    return Owned([update(audit).where(about, audit.c.address.is_not(None)).values(address=None)])


OWNED = _owned()
