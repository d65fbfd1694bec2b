"""Work that outlives a request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    due = "when any process may take it: its time, or its lease's end; NULL when over"
    op.create_table(
        "jobs",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="what is done; a room says how"),
        sa.Column("subject_id", sa.Text(), nullable=False, comment="what it works on"),
        sa.Column("parent_id", sa.Text(), comment="what that is part of, such as a file's folder"),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False, comment="JSON: what it was given, its last error"),
        sa.Column("progress", sa.Text(), nullable=False, comment="JSON: stage, bytes and items done and in all"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claim", sa.Text(), comment="the token of who works on it; each take-over makes another one"),
        sa.Column("due_at", sa.BigInteger(), comment=due),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("completed_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("jobs_by_age", "jobs", ["organization_id", "created_at", "id"])
    op.create_index("jobs_by_parent", "jobs", ["organization_id", "parent_id", "created_at", "id"])
    op.create_index(
        "jobs_unfinished",
        "jobs",
        ["organization_id", "kind", "subject_id"],
        unique=True,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    for name, column in (("jobs_by_time", "due_at"), ("jobs_by_end", "completed_at")):
        some = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, "jobs", [column], sqlite_where=some, postgresql_where=some)
