"""Organisations and their keys; sessions of stored keys; what is looked for in all organisations at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, the column and the indexes. Sessions end: their cookies have another form now."""
    op.create_table(
        "organizations",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id"),
        sa.UniqueConstraint("name", name="organizations_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False, comment="SHA-256 of the key, in hexadecimal"),
        sa.Column("prefix", sa.Text(), nullable=False, comment="the key's first characters, to tell it by"),
        sa.Column("role", sa.Text(), nullable=False, comment="reader, member or admin"),
        sa.Column(
            "policy",
            sa.Text(),
            nullable=True,
            comment="JSON: what a scoped token reaches; NULL for keys that their role alone limits",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False, comment="name of who made it"),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True, comment="written once a minute at most"),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("api_keys_by_hash", "api_keys", ["hash"])
    op.drop_table("sessions")
    op.create_table(
        "sessions",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False, comment="SHA-256 of the cookie, in hexadecimal"),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "key_id",
            sa.Text(),
            nullable=True,
            comment="the stored key it was begun with; NULL for FOLKMOOT_API_KEY",
        ),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("sessions_by_id", "sessions", ["id"])
    op.drop_index("runs_by_callback", "runs")
    for name, column in (("runs_by_lease", "lease_expires_at"), ("runs_by_callback", "callback_due")):
        some = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, "runs", [column], sqlite_where=some, postgresql_where=some)
    op.create_index("runs_by_time", "runs", ["created_at"])
