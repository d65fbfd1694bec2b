"""Templates, their versions, and the agents that are made from them; batches of messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and to agents where they come from."""
    op.add_column(
        "agents",
        sa.Column("deployment_id", sa.Text(), nullable=True, comment="with which others it was made from a template"),
    )
    op.add_column(
        "agents", sa.Column("entity_id", sa.Text(), nullable=True, comment="which of the template's agents it is")
    )
    some = sa.text("deployment_id IS NOT NULL")
    op.create_index(
        "agents_by_deployment",
        "agents",
        ["organization_id", "deployment_id"],
        sqlite_where=some,
        postgresql_where=some,
    )
    op.create_table(
        "templates",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False, comment="JSON: what is being worked on"),
        sa.Column("latest_version", sa.Integer(), nullable=False),
        sa.Column(
            "migration", sa.Text(), nullable=True, comment="JSON: to which version agents are to be led, and how"
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.UniqueConstraint("organization_id", "name", name="templates_name"),
    )
    op.create_table(
        "template_versions",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("template_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False, comment="JSON: its agents and their blocks"),
        sa.Column("message", sa.Text(), nullable=True, comment="what its saver said of it"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "template_id", "version"),
        _of_template(),
    )
    op.create_table(
        "deployments",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("template_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="at which its agents are"),
        sa.Column("attempted_version", sa.Integer(), nullable=False, comment="to which they were to be led last"),
        sa.Column("memory_variables", sa.Text(), nullable=False, comment="JSON: what was filled in"),
        sa.Column("error", sa.Text(), nullable=True, comment="why they could not be led there"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        _of_template(),
    )
    op.create_index("deployments_by_template", "deployments", ["organization_id", "template_id", "created_at", "id"])
    op.create_table(
        "batches",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False, comment="its job"),
        sa.Column("callback_url", sa.Text(), nullable=True),
        sa.Column("callback_sent_at", sa.BigInteger(), nullable=True),
        sa.Column("callback_status_code", sa.Integer(), nullable=True),
        sa.Column("callback_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.ForeignKeyConstraint(["organization_id", "id"], ["jobs.organization_id", "jobs.id"], ondelete="CASCADE"),
    )
    op.create_table(
        "batch_items",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column(
            "request", sa.Text(), nullable=False, comment="JSON: what is said to the agent, and how, until it was"
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="waiting, succeeded, failed or cancelled"),
        sa.Column("run_id", sa.Text(), nullable=True, comment="the run that was begun last for it"),
        sa.PrimaryKeyConstraint("organization_id", "batch_id", "place"),
        sa.ForeignKeyConstraint(
            ["organization_id", "batch_id"], ["batches.organization_id", "batches.id"], ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
    )
    op.create_index("batch_items_by_agent", "batch_items", ["organization_id", "agent_id"])


def _of_template() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id", "template_id"], ["templates.organization_id", "templates.id"], ondelete="CASCADE"
    )
