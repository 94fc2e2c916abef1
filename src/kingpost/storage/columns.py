"""What the tables of all rooms are made of. SQLite, PostgreSQL and Alembic all start from here.

A room describes its tables in its `tables.py`. What is compared or sorted has a typed column; documents are JSON
(`jsonb` on PostgreSQL). Ids carry the time of creation and grow with it (see `clock.new_id`), so the primary key is
also the order by creation.
"""

from sqlalchemy import MetaData, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

Identifier: TypeEngine[str] = Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
Time: TypeEngine[str] = Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
Document: TypeEngine[str] = Text().with_variant(postgresql.JSONB(), "postgresql")
# The same order on every database and in every locale: by code point.
Name: TypeEngine[str] = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
