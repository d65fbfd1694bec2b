"""What members' keys reach."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "api_keys",
        sa.Column(
            "grants",
            sa.Text(),
            nullable=True,
            comment="JSON: what a member's key reaches; NULL for keys that their role alone limits",
        ),
    )
