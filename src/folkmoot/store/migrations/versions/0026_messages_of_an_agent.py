"""An agent's messages are found by time, in whichever of its conversations they were said."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("messages_by_agent", "messages", ["organization_id", "agent_id", "created_at", "sequence"])
