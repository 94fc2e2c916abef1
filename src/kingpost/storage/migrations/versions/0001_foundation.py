"""Accounts, sessions, signing keys and resources."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

IDENTIFIER = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
TIME = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
DOCUMENT = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
NAME = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    _users()
    _sessions()
    _signing_keys()
    _resources()


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_verified", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("metadata", DOCUMENT, nullable=False),
        sa.Column("roles", DOCUMENT, nullable=False),
        sa.Column("status", NAME, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("email_key", NAME, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("roles_changed_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email_key", name=op.f("uq_users_email_key")),
    )
    op.create_index(op.f("ix_users_roles_changed_at"), "users", ["roles_changed_at"])
    op.create_index(op.f("ix_users_updated_at_id"), "users", ["updated_at", "id"])


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("user_id", IDENTIFIER, nullable=False),
        sa.Column("device", sa.Text),
        sa.Column("address", sa.Text),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_used_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("parent_hash", sa.LargeBinary),
        sa.Column("rotated_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_ended_at"), "sessions", ["ended_at"])
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"])
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"])


def _signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
    )


def _resources() -> None:
    op.create_table(
        "resources",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("type", NAME, nullable=False),
        sa.Column("owner_id", IDENTIFIER, nullable=False),
        sa.Column("data", DOCUMENT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resources")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_resources_owner_id")),
    )
    op.create_index(op.f("ix_resources_owner_id_id"), "resources", ["owner_id", "id"])
    op.create_index(op.f("ix_resources_owner_id_type_id"), "resources", ["owner_id", "type", "id"])
    op.create_index(op.f("ix_resources_owner_id_updated_at_id"), "resources", ["owner_id", "updated_at", "id"])
    op.create_index(op.f("ix_resources_type_id"), "resources", ["type", "id"])
    op.create_index(op.f("ix_resources_updated_at_id"), "resources", ["updated_at", "id"])
