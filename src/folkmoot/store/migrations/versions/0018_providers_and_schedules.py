"""Providers that organisations add, projects, and what is said to agents at times to come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "projects",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False, comment="its name in addresses"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.UniqueConstraint("organization_id", "slug", name="projects_slug"),
    )
    op.create_table(
        "schedules",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False, comment="JSON: what was asked for, as the wire format has it"),
        sa.Column("said", sa.Text(), nullable=False, comment="JSON: the messages, as runs keep them"),
        sa.Column("details", sa.Text(), nullable=False, comment="JSON: what each run says of the request"),
        sa.Column("max_steps", sa.Integer(), nullable=False),
        sa.Column("cron", sa.Text(), comment="NULL for what is said once"),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False, comment="when it is due next"),
        sa.Column("created_by", sa.Text(), nullable=False, comment="JSON: on whose behalf its turns are taken"),
        sa.Column("last_run_id", sa.Text()),
        sa.Column("last_due_at", sa.BigInteger(), comment="when the last run was due"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
    )
    op.create_index("schedules_by_agent", "schedules", ["organization_id", "agent_id", "created_at", "id"])
    op.create_index("schedules_by_due", "schedules", ["due_at"])
    op.create_table(
        "model_providers",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="what its models' handles begin with"),
        sa.Column("provider_type", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), comment="NULL for the type's usual address"),
        sa.Column("region", sa.Text()),
        sa.Column("api_version", sa.Text()),
        sa.Column("sealed", sa.Text(), comment="its keys, encrypted"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "last_synced", sa.BigInteger(), comment="when its models were last listed because somebody asked for that"
        ),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.UniqueConstraint("organization_id", "name", name="model_providers_name"),
    )
    op.create_index("model_providers_by_age", "model_providers", ["organization_id", "created_at", "id"])
