"""The tables, described once. SQLite, PostgreSQL and Alembic all start from here.

What is compared or sorted has a typed column; documents are JSON (`jsonb` on PostgreSQL). Ids carry the
time of creation and grow with it (see `clock.new_id`), so the primary key is also the order by creation.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
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

users = Table(
    "users",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_verified", Boolean(create_constraint=False), nullable=False),
    Column("name", Text),
    Column("metadata", Document, nullable=False),
    Column("roles", Document, nullable=False),
    Column("status", Name, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Column("email_key", Name, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("roles_changed_at", Time),
    UniqueConstraint("email_key"),
    Index(None, "updated_at", "id"),
    Index(None, "roles_changed_at"),
)

# No foreign key to the account: an ended session outlives a deleted account, until every node has heard of it.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("user_id", Identifier, nullable=False),
    Column("device", Text),
    Column("address", Text),
    Column("created_at", Time, nullable=False),
    Column("last_used_at", Time, nullable=False),
    Column("expires_at", Time, nullable=False),
    Column("ended_at", Time),
    Column("token_hash", LargeBinary, nullable=False),
    Column("parent_hash", LargeBinary),
    Column("rotated_at", Time),
    Index(None, "user_id"),
    Index(None, "expires_at"),
    Index(None, "ended_at"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("algorithm", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
)

resources = Table(
    "resources",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("type", Name, nullable=False),
    Column("owner_id", Identifier, ForeignKey("users.id"), nullable=False),
    Column("data", Document, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Index(None, "owner_id", "id"),
    Index(None, "owner_id", "type", "id"),
    Index(None, "type", "id"),
    Index(None, "updated_at", "id"),
    Index(None, "owner_id", "updated_at", "id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("user_id", Identifier, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", Document, nullable=False),
    Column("hint", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("last_used_at", Time),
    UniqueConstraint("key_hash"),
    Index(None, "user_id", "id"),
)

# A row without `confirmed_at` is an enrolment that was begun: it asks nothing of a login yet.
second_factors = Table(
    "second_factors",
    metadata,
    Column("user_id", Identifier, ForeignKey("users.id"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("confirmed_at", Time),
    Column("last_step", BigInteger),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("user_id", Identifier, ForeignKey("users.id"), primary_key=True),
    Column("code_hash", LargeBinary, primary_key=True),
)

# One of a purpose for each account: a new one takes the place of the one before.
one_time_tokens = Table(
    "one_time_tokens",
    metadata,
    Column("user_id", Identifier, ForeignKey("users.id"), primary_key=True),
    Column("purpose", Name, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False),
    Column("email", Text, nullable=False),
    Column("email_key", Name, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time, nullable=False),
    UniqueConstraint("token_hash"),
    Index(None, "expires_at"),
)

# No foreign key: a job may be about an account that does not exist (yet). `due_at` is null once it was given up.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("kind", Name, nullable=False),
    Column("user_id", Identifier),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("due_at", Time),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Index(None, "due_at"),
    Index(None, "user_id"),
)

# Append-only: triggers (see the migration) let nobody change or delete a row, but for forgetting its `address`.
audit = Table(
    "audit",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("created_at", Time, nullable=False),
    Column("actor_type", Name, nullable=False),
    Column("actor_id", Identifier),
    Column("action", Name, nullable=False),
    Column("target_type", Name, nullable=False),
    Column("target_id", Identifier),
    Column("address", Text),
    Column("request_id", Text),
    Column("details", Document, nullable=False),
    Index(None, "actor_id", "id"),
    Index(None, "target_id", "id"),
    Index(None, "action", "id"),
)
