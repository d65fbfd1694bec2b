"""Blocks that are not overwritten unseen; which program wrote a version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column(
        "blocks",
        sa.Column(
            "require_version", sa.Boolean(), nullable=False, server_default=sa.false(), comment="no overwriting unseen"
        ),
    )
    op.add_column(
        "block_versions",
        sa.Column("client", sa.Text(), nullable=True, comment="the author's program, as it names itself"),
    )
