"""Generate the SQL of migrations for a dialect with Alembic's offline mode. It never opens a connection.

`storage/migration.py` executes the SQL.
"""

from alembic import context

from kingpost.storage.columns import metadata

context.configure(
    dialect_name=context.config.attributes["dialect_name"],
    target_metadata=metadata,
    as_sql=True,
    literal_binds=True,
    # Our drivers run the migrations in their own transaction.
    transactional_ddl=False,
)
context.run_migrations()
