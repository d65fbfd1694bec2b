"""What was deleted, or taken from an agent, is told for a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of departures."""
    op.create_table(
        "departures",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("thing", sa.Text(), nullable=False, comment="agent, block, archive, folder or conversation"),
        sa.Column("thing_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="what it was called"),
        sa.Column("agent_id", sa.Text(), nullable=True, comment="whom it was taken from; whose conversation it was"),
        sa.Column("author", sa.Text(), nullable=False, comment="JSON: who did it"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("departures_by_age", "departures", ["organization_id", "created_at", "id"], unique=False)
    op.create_index("departures_by_age_of_all", "departures", ["created_at"], unique=False)
