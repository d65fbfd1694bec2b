"""Alembic's environment: it runs on the connection that `store/migrate.py` opened and locked."""

from __future__ import annotations

from alembic import context

from folkmoot.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
