"""Alembic's entry: writes statements for a dialect, never opens a connection (see `migration.py`)."""

from alembic import context

from kingpost.storage.columns import metadata

context.configure(
    dialect_name=context.config.attributes["dialect_name"],
    target_metadata=metadata,
    as_sql=True,
    literal_binds=True,
    # The transaction is ours.
    transactional_ddl=False,
)
context.run_migrations()
