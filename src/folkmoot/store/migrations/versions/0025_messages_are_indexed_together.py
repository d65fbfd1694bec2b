"""New messages wait to be put into SQLite's full-text index, so that many are indexed together."""

from __future__ import annotations

from alembic import op

from folkmoot.store import sqlite

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let them wait; those that are there are indexed."""
    if op.get_bind().dialect.name == "sqlite":
        for statement in sqlite.fulltext_behind("messages"):
            op.execute(statement)
