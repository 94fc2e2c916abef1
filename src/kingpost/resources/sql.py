"""Resources on SQL."""

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from kingpost.model import Page, Resource
from kingpost.problems import NotFound, Unauthenticated, VersionMismatch
from kingpost.resources.store import ResourceListing
from kingpost.resources.tables import RESOURCE, resource_of, resources
from kingpost.storage.columns import Identifier
from kingpost.storage.database import Database, ForeignKeyViolation, Insert, Lookup, Statement
from kingpost.storage.owned import Owned
from kingpost.storage.paging import Filter, Pages
from kingpost.storage.statements import insert_many, versions_in

SORTED_BY = {"created_at": "id"}
FILTERS = {
    "type": Filter(resources.c.type == bindparam("type"), pins="type"),
    "owner_id": Filter(resources.c.owner_id == bindparam("owner_id"), pins="owner_id"),
}


class SQLResources:
    """`kingpost.resources.store.ResourceStore` on SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.dialect
        found = select(*RESOURCE)
        self._find = Statement(found.where(resources.c.id == bindparam("id")), dialect)
        if dialect.name == "postgresql":
            some = found.where(resources.c.id == func.any(bindparam("ids", type_=ARRAY(UUID(as_uuid=False)))))
            self._lookup = Lookup(self._find.text, Statement(some, dialect).text)
        else:
            self._lookup = Lookup(self._find.text, "")
        self._insert = Insert(
            Statement(insert(resources).values({c.name: bindparam(c.name) for c in RESOURCE}), dialect).text,
            insert_many(RESOURCE, dialect),
        )
        self._replace = lru_cache(maxsize=8)(self._make_replace)
        self._delete = lru_cache(maxsize=8)(self._make_delete)
        self._pages = Pages(database, RESOURCE, resource_of, filters=FILTERS, aliases=SORTED_BY)

    async def create(self, resource: Resource) -> None:
        row = (
            resource.id,
            resource.type,
            resource.owner_id,
            bytes(resource.data).decode(),
            resource.version,
            resource.created_at,
            resource.updated_at,
        )
        try:
            await self._database.insert(self._insert, row)
        except ForeignKeyViolation as error:
            raise Unauthenticated("The account does not exist any more") from error

    async def find(self, resource_id: str) -> Resource | None:
        row = await self._database.lookup(self._lookup, resource_id)
        return None if row is None else resource_of(row)

    async def list(self, listing: ResourceListing) -> Page[Resource]:
        given = {name: value for name in FILTERS if (value := getattr(listing, name)) is not None}
        return await self._pages.list(listing, **given)

    async def replace(self, resource_id: str, data: msgspec.Raw, at: str, versions: Sequence[int] | None) -> Resource:
        if versions is not None and not versions:  # `IN ()` is no SQL, and nothing is in it.
            raise await self._why_not(resource_id)
        statement = self._replace(None if versions is None else len(versions))
        named = {f"v{index}": version for index, version in enumerate(versions or ())}
        rows = await self._database.write(
            statement(resource_id=resource_id, document=bytes(data).decode(), at=at, **named)
        )
        if not rows:
            raise await self._why_not(resource_id)
        return resource_of(rows[0])

    async def delete(self, resource_id: str, versions: Sequence[int] | None) -> None:
        if versions is not None and not versions:  # `IN ()` is no SQL, and nothing is in it.
            raise await self._why_not(resource_id)
        statement = self._delete(None if versions is None else len(versions))
        named = {f"v{index}": version for index, version in enumerate(versions or ())}
        if not await self._database.write(statement(resource_id=resource_id, **named)):
            raise await self._why_not(resource_id)

    async def _why_not(self, resource_id: str) -> NotFound | VersionMismatch:
        current = await self.find(resource_id)
        return NotFound() if current is None else VersionMismatch(current)

    def _make_replace(self, versions: int | None) -> Statement:
        statement = (
            update(resources)
            .where(resources.c.id == bindparam("resource_id"), *versions_in(resources.c.version, versions))
            .values(
                data=bindparam("document", type_=resources.c.data.type),
                version=resources.c.version + 1,
                updated_at=bindparam("at", type_=resources.c.updated_at.type),
            )
            .returning(*RESOURCE)
        )
        return Statement(statement, self._database.dialect)

    def _make_delete(self, versions: int | None) -> Statement:
        statement = (
            delete(resources)
            .where(resources.c.id == bindparam("resource_id"), *versions_in(resources.c.version, versions))
            .returning(resources.c.id)
        )
        return Statement(statement, self._database.dialect)


OWNED = Owned([delete(resources).where(resources.c.owner_id == bindparam("user_id", type_=Identifier))])
