"""Steps are found by agent and by feedback, and the runs in the background, without walking through all there are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes."""
    op.create_index("steps_by_agent", "steps", ["organization_id", "agent_id", "created_at", "id"])
    rated = sa.text("feedback IS NOT NULL")
    columns = ["organization_id", "feedback", "created_at", "id"]
    op.create_index("steps_by_feedback", "steps", columns, sqlite_where=rated, postgresql_where=rated)
    op.create_index(
        "runs_in_background",
        "runs",
        ["organization_id", "background", "created_at", "id"],
        sqlite_where=sa.text("background = 1"),
        postgresql_where=sa.text("background"),
    )
