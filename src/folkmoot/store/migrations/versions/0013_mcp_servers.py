"""Servers of tools, and who signed in to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "mcp_servers",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("server_type", sa.Text(), nullable=False, comment="stdio, streamable_http or sse"),
        sa.Column("sealed_configuration", sa.Text(), nullable=False, comment="sealed: how it is reached, as JSON"),
        sa.Column("looked_at", sa.Text(), nullable=False, comment="JSON: what came of the last look at its tools"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False, comment="JSON: its author"),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False, comment="JSON: the author of the last change"),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.UniqueConstraint("organization_id", "name", name="mcp_servers_name"),
    )
    op.create_table(
        "mcp_authorizations",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column(
            "subject",
            sa.Text(),
            nullable=False,
            comment="whose they are: a digest of agents' variables; empty for the organisation's",
        ),
        sa.Column("sealed_tokens", sa.Text(), nullable=False, comment="sealed: tokens, and what the server is told"),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "server_id", "subject"),
        sa.ForeignKeyConstraint(
            ["organization_id", "server_id"], ["mcp_servers.organization_id", "mcp_servers.id"], ondelete="CASCADE"
        ),
    )
    op.create_table(
        "mcp_sign_ins",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False, comment="SHA-256 of the state that the browser comes back with"),
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("sealed_answer", sa.Text(), comment="sealed: what the browser came back with; NULL before"),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.ForeignKeyConstraint(
            ["organization_id", "server_id"], ["mcp_servers.organization_id", "mcp_servers.id"], ondelete="CASCADE"
        ),
    )
    op.create_index("mcp_sign_ins_by_id", "mcp_sign_ins", ["id"])
    op.create_index("mcp_sign_ins_by_end", "mcp_sign_ins", ["expires_at"])
