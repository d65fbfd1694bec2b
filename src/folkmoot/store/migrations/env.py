"""Alembic's environment: it runs on the connection that `store/migrate.py` opened and locked."""

from __future__ import annotations

from alembic import context

from folkmoot.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    version_table_schema=connection.dialect.default_schema_name,  # and not one that others have behind it in the path
)
with context.begin_transaction():
    context.run_migrations()
