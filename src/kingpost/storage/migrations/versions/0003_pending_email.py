"""The address of an account that waits for its confirmation.

New columns without a default take no time, also in a large table.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.Text().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")

# Changes that were asked for before are pending from now on. Their owners see them, which is a new version.
SHOW_PENDING_CHANGES = """UPDATE users SET
    pending_email = (SELECT email FROM one_time_tokens WHERE purpose = 'change-email' AND user_id = users.id),
    pending_email_expires_at =
        (SELECT expires_at FROM one_time_tokens WHERE purpose = 'change-email' AND user_id = users.id),
    version = version + 1
WHERE id IN (SELECT user_id FROM one_time_tokens WHERE purpose = 'change-email')"""


def upgrade() -> None:
    op.add_column("users", sa.Column("pending_email", sa.Text))
    op.add_column("users", sa.Column("pending_email_expires_at", TIME))
    op.execute(SHOW_PENDING_CHANGES)
