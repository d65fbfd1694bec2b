"""Who waits for a run's answer, when its callback is due; what somebody thinks of a step."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and their indexes."""
    op.add_column(
        "runs",
        sa.Column(
            "asked_by",
            sa.Text(),
            nullable=True,
            comment="conversation whose turn waits for this run, when an agent asks another",
        ),
    )
    op.add_column(
        "runs",
        sa.Column(
            "callback_due",
            sa.BigInteger(),
            nullable=True,
            comment="when any process may call callback_url, if nobody has by then",
        ),
    )
    op.add_column(
        "steps",
        sa.Column("feedback", sa.Text(), nullable=True, comment="positive or negative, when somebody said so"),
    )
    op.add_column("steps", sa.Column("feedback_tags", sa.Text(), nullable=True, comment="JSON: a list of strings"))
    for name, column in (("runs_by_asker", "asked_by"), ("runs_by_callback", "callback_due")):
        some = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, "runs", ["organization_id", column], sqlite_where=some, postgresql_where=some)
