"""Where a message stood that was deleted from a conversation is known for a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("gone_items", sa.Column("sequence", sa.BigInteger(), nullable=True, comment="of a message"))
