"""Tools of one's own, and those of servers of tools."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, and an index by which a deleted tool is taken from the agents that have it."""
    op.create_table(
        "tools",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "tool_type",
            sa.Text(),
            nullable=False,
            comment="custom: made of source code; external_mcp: of a server of tools",
        ),
        sa.Column(
            "server_id",
            sa.Text(),
            nullable=False,
            comment="the server whose tool it is; empty for those of one's own",
        ),
        sa.Column("description", sa.Text()),
        sa.Column("source_type", sa.Text(), comment="python or typescript; NULL where there is no source"),
        sa.Column("source_code", sa.Text()),
        sa.Column(
            "json_schema",
            sa.Text(),
            nullable=False,
            comment="JSON: what a model is told: name, description, parameters",
        ),
        sa.Column(
            "args_json_schema",
            sa.Text(),
            comment="JSON: the schema that the parameters were made from, if it was given",
        ),
        sa.Column(
            "return_char_limit", sa.Integer(), nullable=False, comment="characters of a return that a model is shown"
        ),
        sa.Column("default_requires_approval", sa.Boolean()),
        sa.Column("enable_parallel_execution", sa.Boolean(), nullable=False),
        sa.Column(
            "extra",
            sa.Text(),
            nullable=False,
            comment="JSON: tags, requirements, metadata, and how the schema came to be",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False, comment="JSON: its author"),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False, comment="JSON: the author of the last change"),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.UniqueConstraint("organization_id", "server_id", "name", name="tools_name"),
    )
    op.create_index("tools_by_age", "tools", ["organization_id", "created_at", "id"])
    op.create_index("tools_by_server", "tools", ["organization_id", "server_id", "created_at"])
    op.create_index("agent_tools_by_tool", "agent_tools", ["organization_id", "tool_id", "agent_id"])
    op.create_table(
        "sandbox_configs",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "config", sa.Text(), nullable=False, comment="JSON: what holds for every call of a tool of one's own"
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_table(
        "sandbox_variables",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("config_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="of the environment variable"),
        sa.Column("sealed_value", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.UniqueConstraint("organization_id", "config_id", "name", name="sandbox_variables_name"),
        sa.ForeignKeyConstraint(
            ["organization_id", "config_id"],
            ["sandbox_configs.organization_id", "sandbox_configs.id"],
            ondelete="CASCADE",
        ),
    )
