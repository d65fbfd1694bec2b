"""What a page about the past looks for: what waits for somebody, edits by time, traces by their size."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_traces = sa.table("step_traces", *map(sa.column, ("size", "request", "response")))


def upgrade() -> None:
    """Add the column and the indexes."""
    op.add_column(
        "step_traces",
        sa.Column(
            "size", sa.BigInteger(), nullable=False, server_default="0", comment="characters of both, as they are kept"
        ),
    )
    base = "the step whose request it begins with, when that is not repeated"
    op.add_column("step_traces", sa.Column("base_step_id", sa.Text(), nullable=True, comment=base))
    length = "how many characters of it"
    op.add_column("step_traces", sa.Column("base_length", sa.Integer(), nullable=True, comment=length))
    op.execute(sa.update(_traces).values(size=sa.func.length(_traces.c.request) + sa.func.length(_traces.c.response)))
    op.create_index("step_traces_by_size", "step_traces", ["organization_id", "created_at", "step_id", "size"])
    by_time = ["organization_id", "created_at", "block_id", "version"]
    op.create_index("block_versions_by_time", "block_versions", by_time)
    by_step = ["organization_id", "step_id", "block_id", "version"]
    op.create_index("block_readers_by_step", "block_readers", by_step)
    by_age = ["organization_id", "stop_reason", "created_at", "id"]
    waiting = sa.text("stop_reason = 'requires_approval'")
    op.create_index("runs_waiting", "runs", by_age, sqlite_where=waiting, postgresql_where=waiting)
