"""Resources on SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from kingpost.model import Page, Resource
from kingpost.problems import NotFound, Problem, Unauthenticated, VersionMismatch
from kingpost.resources.store import (
    CreateResource,
    DeleteResource,
    Refused,
    ReplaceResource,
    ResourceListing,
    ResourceWrite,
)
from kingpost.resources.tables import RESOURCE, resource_of, resources
from kingpost.storage.columns import Identifier
from kingpost.storage.database import Database, ForeignKeyViolation, Lookup, Row, Statement
from kingpost.storage.owned import Owned
from kingpost.storage.paging import Filter, Pages
from kingpost.storage.statements import typed, versions_in, versions_row, versions_shape
from kingpost.storage.writes import Kind, Parameters, Writes, insertion
from kingpost.storage.writes import Refused as UnitRefused

SORTED_BY = {"created_at": "id"}
FILTERS = {
    "type": Filter(resources.c.type == bindparam("type"), pins="type"),
    "owner_id": Filter(resources.c.owner_id == bindparam("owner_id"), pins="owner_id"),
}


KINDS: dict[type, Kind[Any]] = {
    CreateResource: insertion(resources, lambda write: _columns(write.resource), RESOURCE)._replace(key=("id",)),
    ReplaceResource: Kind[ReplaceResource](
        row=lambda write: (write.id, bytes(write.data).decode(), write.at, *versions_row(write.versions)),
        parameters=lambda shape: typed([resources.c.id, resources.c.data, resources.c.updated_at], shape),
        build=lambda row: (
            update(resources)
            .where(*_is_it(row))
            .values(data=row.data, version=resources.c.version + 1, updated_at=row.updated_at)
        ),
        shape=lambda write: versions_shape(write.versions),
        key=("id",),
        returning=RESOURCE,
    ),
    DeleteResource: Kind[DeleteResource](
        row=lambda write: (write.id, *versions_row(write.versions)),
        parameters=lambda shape: typed([resources.c.id], shape),
        build=lambda row: delete(resources).where(*_is_it(row)),
        shape=lambda write: versions_shape(write.versions),
        key=("id",),
        returning=[resources.c.id],
    ),
}


class SQLResources:
    """`kingpost.resources.store.ResourceStore` on SQL."""

    def __init__(self, database: Database, writes: Writes) -> None:
        self._database = database
        self._writes = writes
        dialect = database.dialect
        found = select(*RESOURCE)
        self._find = Statement(found.where(resources.c.id == bindparam("id")), dialect)
        if dialect.name == "postgresql":
            some = found.where(resources.c.id == func.any(bindparam("ids", type_=ARRAY(UUID(as_uuid=False)))))
            self._lookup = Lookup(self._find.text, Statement(some, dialect).text)
        else:
            self._lookup = Lookup(self._find.text, "")
        self._pages = Pages(
            database, RESOURCE, resource_of, filters=FILTERS, aliases=SORTED_BY, document=resources.c.data
        )

    async def commit(
        self, writes: Sequence[ResourceWrite], effects: Sequence[Any] = (), *, dry_run: bool = False
    ) -> Sequence[Resource | None]:
        try:
            rows = await self._writes.commit(writes, effects, dry_run=dry_run)
        except UnitRefused as refused:
            if refused.index >= len(writes):
                raise
            problem = await self._problem(writes[refused.index], refused)
            raise (problem if len(writes) == 1 else Refused(refused.index, problem)) from refused
        return [*map(_outcome, writes, rows)]

    async def find(self, resource_id: str) -> Resource | None:
        row = await self._database.lookup(self._lookup, resource_id)
        return None if row is None else resource_of(row)

    async def list(self, listing: ResourceListing) -> Page[Resource]:
        given = {name: value for name in FILTERS if (value := getattr(listing, name)) is not None}
        return await self._pages.list(listing, **given)

    async def _problem(self, write: ResourceWrite, refused: UnitRefused) -> Problem:
        """Find out why a write was refused."""
        if isinstance(write, CreateResource):
            if isinstance(refused.reason, ForeignKeyViolation):
                return Unauthenticated("The account does not exist any more")
            raise refused
        current = await self.find(write.id)
        return NotFound() if current is None else VersionMismatch(current)


def _columns(resource: Resource) -> tuple[Any, ...]:
    """Return the values of the columns `RESOURCE`."""
    data = bytes(resource.data).decode()
    return (
        resource.id,
        resource.type,
        resource.owner_id,
        data,
        resource.version,
        resource.created_at,
        resource.updated_at,
    )


def _outcome(write: ResourceWrite, row: Row | None) -> Resource | None:
    if isinstance(write, CreateResource):
        return write.resource
    if row is None or isinstance(write, DeleteResource):
        return None
    return resource_of(row)


def _is_it(row: Parameters) -> Sequence[ColumnElement[bool]]:
    """Return the condition that a resource has the id, and one of the versions that a write names."""
    return [resources.c.id == row.id, *versions_in(resources.c.version, row)]


OWNED = Owned([delete(resources).where(resources.c.owner_id == bindparam("user_id", type_=Identifier))])
