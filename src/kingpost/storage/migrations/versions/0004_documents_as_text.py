"""Documents are text, which PostgreSQL returns as it was stored.

On PostgreSQL this rewrites four tables, each under an exclusive lock. On SQLite documents have always been text.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DOCUMENTS = (
    ("api_keys", "scopes"),
    ("audit", "details"),
    ("resources", "data"),
    ("users", "metadata"),
    ("users", "roles"),
)


def upgrade() -> None:
    if op.get_context().dialect.name != "postgresql":
        return
    for table, column in DOCUMENTS:
        op.alter_column(table, column, type_=sa.Text(), postgresql_using=f"{column}::text")
