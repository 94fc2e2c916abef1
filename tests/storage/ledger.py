"""A small schema for the tests of writes as values: versioned documents, and the effects stored with them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text, delete, select, update
from sqlalchemy.schema import CreateTable

from kingpost.clock import new_id
from kingpost.storage.columns import Document, Identifier
from kingpost.storage.database import Database, Query, Row, Statement
from kingpost.storage.statements import typed, versions_in, versions_row, versions_shape
from kingpost.storage.writes import Kind, Parameters, Writes, insertion

metadata = MetaData()
documents = Table(
    "documents",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("name", Text, unique=True),
    Column("data", Document, nullable=False),
    Column("version", Integer, nullable=False),
)
history = Table(
    "history",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("data", Document, nullable=False),
)
receipts = Table(
    "receipts", metadata, Column("key", Text, primary_key=True), Column("document_id", Identifier, nullable=False)
)
outbox = Table("outbox", metadata, Column("id", Identifier, primary_key=True), Column("text", Text, nullable=False))
links = Table(
    "links",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("document_id", Identifier, ForeignKey("documents.id"), nullable=False),
)
notes = Table("notes", metadata, Column("key", Text, primary_key=True), Column("text", Text, nullable=False))
gates = Table("gates", metadata, Column("id", Identifier, primary_key=True), Column("closed", Integer, nullable=False))
tickets = Table("tickets", metadata, Column("id", Identifier, primary_key=True), Column("attempt", Integer))


class Create(NamedTuple):
    id: str
    data: str
    name: str | None = None


class Replace(NamedTuple):
    id: str
    data: str
    versions: tuple[int, ...] | None = None


class Delete(NamedTuple):
    id: str
    versions: tuple[int, ...] | None = None


class Receipt(NamedTuple):
    """Marks a request as done; a second receipt with the same key fails."""

    key: str
    document_id: str


class Message(NamedTuple):
    id: str
    text: str


class Link(NamedTuple):
    id: str
    document_id: str


class Note(NamedTuple):
    """Replaces the note with the same key."""

    key: str
    text: str


class OpenGate(NamedTuple):
    """A guard: the gate must be open."""

    id: str


class UsedTicket(NamedTuple):
    """A condition with a change: the ticket must exist, and is deleted."""

    id: str
    attempt: int


class Closed(Exception): ...


class NoTicket(Exception): ...


def _is_it(row: Parameters) -> Any:
    return documents.c.id == row.id, *versions_in(documents.c.version, row)


def _record(row: Parameters, written: Parameters) -> Any:
    return row.insert(history, id=written.id, version=written.version, data=written.data)


def _put(row: Parameters) -> Any:
    statement = row.insert(notes, key=row.key, text=row.text)
    return statement.on_conflict_do_update(index_elements=["key"], set_={"text": statement.excluded.text})


VERSIONED = list(documents.c)
KINDS: dict[type, Kind[Any]] = {
    Create: insertion(documents, lambda w: (w.id, w.name, w.data, 1), VERSIONED)._replace(key=("id",), then=(_record,)),
    Replace: Kind[Replace](
        row=lambda w: (w.id, w.data, *versions_row(w.versions)),
        parameters=lambda shape: typed([documents.c.id, documents.c.data], shape),
        shape=lambda w: versions_shape(w.versions),
        build=lambda row: update(documents).where(*_is_it(row)).values(data=row.data, version=documents.c.version + 1),
        key=("id",),
        returning=VERSIONED,
        then=(_record,),
    ),
    Delete: Kind[Delete](
        row=lambda w: (w.id, *versions_row(w.versions)),
        parameters=lambda shape: typed([documents.c.id], shape),
        shape=lambda w: versions_shape(w.versions),
        build=lambda row: delete(documents).where(*_is_it(row)),
        key=("id",),
        returning=[documents.c.id],
    ),
    Receipt: insertion(receipts, tuple, list(receipts.c))._replace(key=("key",), early=True),
    Message: insertion(outbox, tuple, list(outbox.c)),
    Link: insertion(links, tuple, list(links.c)),
    Note: Kind[Note](
        row=tuple,
        parameters=lambda shape: typed(list(notes.c)),
        build=_put,
        key=("key",),
    ),
    OpenGate: Kind[OpenGate](
        row=tuple,
        parameters=lambda shape: typed([gates.c.id]),
        build=lambda row: (
            select(gates.c.id).where(gates.c.id == row.id, gates.c.closed == 0).with_for_update(read=True, of=gates)
        ),
        returning=[gates.c.id],
        refusal=Closed,
    ),
    UsedTicket: Kind[UsedTicket](
        row=tuple,
        parameters=lambda shape: typed(list(tickets.c)),
        build=lambda row: delete(tickets).where(tickets.c.id == row.id, tickets.c.attempt == row.attempt),
        key=("id",),
        returning=[tickets.c.id],
        refusal=NoTicket,
    ),
}


class Ledger:
    """The schema in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.writes = Writes(database, KINDS)

    async def prepare(self) -> None:
        """Create the tables."""
        for table in metadata.sorted_tables:
            await self.database.write(Query(str(CreateTable(table).compile(dialect=self.database.dialect)), ()))

    async def rows(self, table: Table) -> list[tuple[Any, ...]]:
        """Return all rows of a table, in the order of their keys."""
        statement = select(*table.c).order_by(*table.primary_key)
        return [tuple(row) for row in await self.database.scan(Statement(statement, self.database.dialect)())]

    async def counts(self) -> dict[str, int]:
        """Return the number of rows of each table that is not empty."""
        counts = {table.name: len(await self.rows(table)) for table in metadata.sorted_tables}
        return {name: count for name, count in counts.items() if count}

    async def create(self, data: str = "{}", name: str | None = None) -> str:
        """Store a new document and return its id."""
        document_id = new_id()[0]
        await self.writes.commit([Create(document_id, data, name)])
        return document_id

    async def gate(self, *, closed: int = 0) -> str:
        """Store a gate and return its id."""
        gate_id = new_id()[0]
        await self._insert(gates, id=gate_id, closed=closed)
        return gate_id

    async def ticket(self, attempt: int = 1) -> str:
        """Store a ticket and return its id."""
        ticket_id = new_id()[0]
        await self._insert(tickets, id=ticket_id, attempt=attempt)
        return ticket_id

    async def _insert(self, table: Table, **values: Any) -> None:
        await self.database.write(Statement(table.insert().values(values), self.database.dialect)())


def typical_effects(document_id: str, key: str | None = None) -> Sequence[Any]:
    """Return the effects of a typical write: a receipt and a message."""
    message_id = new_id()[0]
    return [Receipt(key or message_id, document_id), Message(message_id, f"about {document_id}")]


def document_of(row: Row | None) -> tuple[Any, ...]:
    assert row is not None
    return tuple(row)
