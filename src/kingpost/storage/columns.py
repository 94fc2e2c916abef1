"""The column types of all tables, which each room describes in its `tables.py`.

Values that are compared or sorted have typed columns. Documents are JSON text, which is returned as it was stored:
PostgreSQL's `jsonb` would write numbers in another form and sort the members of objects (decision 25). Ids carry the
time of creation and increase with it (see `clock.new_id`), so the primary key is also the order by creation.
"""

from sqlalchemy import MetaData, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

Identifier: TypeEngine[str] = Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
Time: TypeEngine[str] = Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
Document: TypeEngine[str] = Text()
# Sorted by code point, so that the order is the same on every database and in every locale.
Name: TypeEngine[str] = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
