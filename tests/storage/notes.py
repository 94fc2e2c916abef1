"""A small schema that the tests of the drivers share: notes that belong to owners."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Column, ForeignKey, MetaData, Table, Text, bindparam, insert, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.schema import CreateTable

from kingpost.clock import new_id, now
from kingpost.storage.columns import Document, Identifier, Time
from kingpost.storage.database import Database, Lookup, Query, Script, Statement
from kingpost.storage.writes import Kind, Refused, Writes, insertion

metadata = MetaData()
owners = Table("owners", metadata, Column("id", Identifier, primary_key=True))
notes = Table(
    "notes",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("owner_id", Identifier, ForeignKey("owners.id"), nullable=False),
    Column("name", Text, unique=True),
    Column("data", Document, nullable=False),
    Column("at", Time, nullable=False),
)


class NewNote(NamedTuple):
    """The write that inserts a note."""

    row: tuple[Any, ...]


KINDS: dict[type, Kind[Any]] = {NewNote: insertion(notes, lambda note: note.row, list(notes.columns))}


class Notes:
    """Statements about notes in one database."""

    def __init__(self, database: Database) -> None:
        self.use(database)
        self.owner = new_id()[0]
        dialect = database.dialect
        found = select(*notes.columns)
        one = Statement(found.where(notes.c.id == bindparam("id")), dialect).text
        many = ""
        if dialect.name == "postgresql":
            ids = bindparam("ids", type_=ARRAY(UUID(as_uuid=False)))
            many = Statement(found.where(notes.c.id == ids.any_()), dialect).text
        self.lookup = Lookup(one, many)
        self.statement = Statement(insert(notes).values({c.name: bindparam(c.name) for c in notes.columns}), dialect)
        self._owner_statement = Statement(insert(owners).values(id=bindparam("id")), dialect)

    def use(self, database: Database) -> None:
        """Switch to this database, which already has the tables."""
        self.database = database
        self._writes = Writes(database, KINDS)

    async def prepare(self) -> "Notes":
        """Create the tables and one owner."""
        for table in (owners, notes):
            await self.database.write(Query(str(CreateTable(table).compile(dialect=self.database.dialect)), ()))
        await self.database.write(self.new_owner(self.owner))
        return self

    def new_owner(self, identifier: str) -> Query:
        return self._owner_statement(id=identifier)

    def row(self, **values: Any) -> tuple[Any, ...]:
        """A new row; columns that are not given get valid values."""
        row = {"id": new_id()[0], "owner_id": self.owner, "name": None, "data": "{}", "at": now()} | values
        return tuple(row.values())

    def query(self, **values: Any) -> Query:
        return Query(self.statement.text, self.row(**values))

    async def add(self, **values: Any) -> str:
        """Insert a note in a shared batch, and return its id."""
        row = self.row(**values)
        try:
            await self._writes.commit([NewNote(row)])
        except Refused as refused:
            raise refused.reason or refused from refused
        identifier: str = row[0]
        return identifier

    async def find(self, identifier: str) -> tuple[Any, ...] | None:
        row = await self.database.lookup(self.lookup, identifier)
        return None if row is None else tuple(row)

    async def count(self) -> int:
        rows = await self.database.scan(Query("SELECT count(*) FROM notes", ()))
        count: int = rows[0][0]
        return count

    def adding(self, *names: str, then: Exception | None = None) -> Callable[[], Script[int]]:
        """Return a script that adds notes, counts all notes, and raises `then` at its end, if given."""

        def script() -> Script[int]:
            for name in names:
                yield self.query(name=name)
            rows = yield Query("SELECT count(*) FROM notes", ())
            if then is not None:
                raise then
            return int(rows[0][0])

        return script
