"""Deletions under way, which go on after a crash."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; long versions keep their change too."""
    op.create_table(
        "deletions",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False, comment="the agent, conversation or block"),
        sa.Column("kind", sa.Text(), nullable=False, comment="agent, conversation, block or reset"),
        sa.Column("before", sa.BigInteger(), nullable=False, comment="the first message that a reset leaves"),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column(
            "block_versions",
            "delta",
            existing_type=sa.Text(),
            existing_nullable=True,
            comment="JSON: the change from the version before, unless the text is short",
        )
