"""Where a link in a mail was asked for.

New columns without a default take no time, also in a large table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("one_time_tokens", sa.Column("address", sa.Text))
    op.add_column("one_time_tokens", sa.Column("device", sa.Text))
