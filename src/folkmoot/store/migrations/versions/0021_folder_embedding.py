"""A folder whose embedding changed is searched by the earlier one until its files are embedded anew."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column(
        "folders",
        sa.Column(
            "embedding_changes",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="how often the embedding changed",
        ),
    )
    op.add_column(
        "folders",
        sa.Column(
            "earlier_embedding",
            sa.Text(),
            nullable=True,
            comment="whose vectors are searched too while the files are embedded anew",
        ),
    )
    op.add_column(
        "folders", sa.Column("earlier_version", sa.Integer(), nullable=True, comment="under which they stand")
    )
