"""Sessions from elsewhere subscribe to blocks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of subscriptions."""
    op.create_table(
        "mcp_subscriptions",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("member", sa.Text(), nullable=False, comment="its key; empty for who needs none"),
        sa.Column("address", sa.Text(), nullable=False, comment="the resource"),
        sa.Column("seen_block", sa.Text(), nullable=True, comment="what stood behind it when it was subscribed to"),
        sa.Column("seen_version", sa.Integer(), nullable=True),
        sa.Column(
            "heard_at", sa.BigInteger(), nullable=False, comment="when somebody last began to listen to the session"
        ),
        sa.PrimaryKeyConstraint("organization_id", "session", "member", "address"),
    )
    op.create_index("mcp_subscriptions_by_member", "mcp_subscriptions", ["organization_id", "member"], unique=False)
    op.create_index("mcp_subscriptions_by_age", "mcp_subscriptions", ["organization_id", "heard_at"], unique=False)
