"""Identities: for whom agents and blocks are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "identities",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("identifier_key", sa.Text(), nullable=False, comment="what the program that made it calls it"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("identity_type", sa.Text(), nullable=False, comment="org, user or other"),
        sa.Column("project_id", sa.Text(), nullable=False, comment="empty for none"),
        sa.Column("properties", sa.Text(), nullable=False, comment="JSON: a list of key, value and type"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.UniqueConstraint("organization_id", "identifier_key", "project_id", name="identities_key"),
    )
    op.create_index("identities_by_age", "identities", ["organization_id", "created_at", "id"])
    for name, column, table in (
        ("identity_agents", "agent_id", "agents"),
        ("identity_blocks", "block_id", "blocks"),
    ):
        op.create_table(
            name,
            sa.Column("organization_id", sa.Text(), nullable=False),
            sa.Column("identity_id", sa.Text(), nullable=False),
            sa.Column(column, sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint("organization_id", "identity_id", column),
            sa.ForeignKeyConstraint(
                ["organization_id", "identity_id"], ["identities.organization_id", "identities.id"], ondelete="CASCADE"
            ),
            sa.ForeignKeyConstraint(
                ["organization_id", column], [f"{table}.organization_id", f"{table}.id"], ondelete="CASCADE"
            ),
        )
        op.create_index(f"{name}_by_holder", name, ["organization_id", column, "identity_id"])
