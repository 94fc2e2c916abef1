"""API keys, second factors, one-time tokens, jobs and the audit log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

IDENTIFIER = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
TIME = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
DOCUMENT = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
NAME = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

REFUSAL = "the audit log is append-only"
# The only permitted change of an entry sets its client address to null. This happens when the account is deleted.
APPEND_ONLY = {
    "postgresql": (
        f"""CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND NEW.address IS NULL AND to_jsonb(NEW) - 'address' = to_jsonb(OLD) - 'address' THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION '{REFUSAL}';
        END $$""",
        "CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()",
        "CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()",
    ),
    "sqlite": (
        f"CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END",
        f"""CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
        WHEN NEW.address IS NOT NULL OR
            (NEW.id, NEW.created_at, NEW.actor_type, NEW.actor_id, NEW.action, NEW.target_type, NEW.target_id,
             NEW.request_id, NEW.details) IS NOT
            (OLD.id, OLD.created_at, OLD.actor_type, OLD.actor_id, OLD.action, OLD.target_type, OLD.target_id,
             OLD.request_id, OLD.details)
        BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END""",
        # REPLACE deletes the conflicting row without firing the DELETE trigger.
        "CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit "
        "WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    ),
}


def upgrade() -> None:
    _credentials()
    _jobs()
    _audit()


def _credentials() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("user_id", IDENTIFIER, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", DOCUMENT, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("key_hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id")),
    )
    op.create_index(op.f("ix_api_keys_user_id_id"), "api_keys", ["user_id", "id"])

    op.create_table(
        "second_factors",
        sa.Column("user_id", IDENTIFIER, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("confirmed_at", TIME),
        sa.Column("last_step", sa.BigInteger),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_second_factors")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_second_factors_user_id")),
    )

    op.create_table(
        "recovery_codes",
        sa.Column("user_id", IDENTIFIER, nullable=False),
        sa.Column("code_hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "code_hash", name=op.f("pk_recovery_codes")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_recovery_codes_user_id")),
    )

    op.create_table(
        "one_time_tokens",
        sa.Column("user_id", IDENTIFIER, nullable=False),
        sa.Column("purpose", NAME, nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", NAME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "purpose", name=op.f("pk_one_time_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_one_time_tokens_token_hash")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_one_time_tokens_user_id")),
    )
    op.create_index(op.f("ix_one_time_tokens_expires_at"), "one_time_tokens", ["expires_at"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("user_id", IDENTIFIER),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("due_at", TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_due_at"), "jobs", ["due_at"])
    op.create_index(op.f("ix_jobs_user_id"), "jobs", ["user_id"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("actor_type", NAME, nullable=False),
        sa.Column("actor_id", IDENTIFIER),
        sa.Column("action", NAME, nullable=False),
        sa.Column("target_type", NAME, nullable=False),
        sa.Column("target_id", IDENTIFIER),
        sa.Column("address", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("details", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_action_id"), "audit", ["action", "id"])
    op.create_index(op.f("ix_audit_actor_id_id"), "audit", ["actor_id", "id"])
    op.create_index(op.f("ix_audit_target_id_id"), "audit", ["target_id", "id"])
    for statement in APPEND_ONLY[op.get_context().dialect.name]:
        op.execute(statement)
