"""Groups of agents, what sleep-time agents have read, and which versions a run wrote."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and the index by which a run's edits are found."""
    op.create_table(
        "groups",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "manager_type",
            sa.Text(),
            nullable=False,
            comment="round_robin, supervisor, dynamic, sleeptime, voice_sleeptime",
        ),
        sa.Column(
            "manager_agent_id", sa.Text(), comment="who leads it, or whose memory its members tend; NULL for none"
        ),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("max_turns", sa.Integer(), comment="how often somebody speaks in one turn of the group"),
        sa.Column("termination_token", sa.Text(), comment="what the manager of a dynamic group ends a turn with"),
        sa.Column("sleeptime_agent_frequency", sa.Integer(), comment="turns from one consolidation to the next"),
        sa.Column("max_message_buffer_length", sa.Integer()),
        sa.Column("min_message_buffer_length", sa.Integer()),
        sa.Column(
            "turns_counter", sa.Integer(), comment="turns since the last consolidation; -1 before the first turn"
        ),
        sa.Column("last_processed_message_id", sa.Text(), comment="up to which message was consolidated last"),
        sa.Column("next_run_id", sa.Text(), comment="the run that is to consolidate next, once it is due"),
        sa.Column(
            "owns_members", sa.Boolean(), nullable=False, comment="whether its members were made for the manager"
        ),
        sa.Column("next_sequence", sa.BigInteger(), nullable=False, comment="place of the next of its messages"),
        sa.Column("hidden", sa.Boolean()),
        sa.Column("project_id", sa.Text()),
        sa.Column("template_id", sa.Text()),
        sa.Column("base_template_id", sa.Text()),
        sa.Column("deployment_id", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.ForeignKeyConstraint(
            ["organization_id", "manager_agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
    )
    op.create_index("groups_by_age", "groups", ["organization_id", "created_at", "id"])
    _index_of_few("groups_by_manager", "groups", "manager_agent_id")
    _of_group("group_members", "agent_id", "agents", sa.Column("place", sa.Integer(), nullable=False))
    _of_group("group_blocks", "block_id", "blocks", sa.Column("attached_at", sa.BigInteger(), nullable=False))
    _of_group(
        "group_conversations",
        "conversation_id",
        "conversations",
        sa.Column("agent_id", sa.Text(), nullable=False, comment="whose conversation in the group it is"),
        sa.Column("heard_to", sa.BigInteger(), nullable=False, comment="place of the first message not told yet"),
    )
    _of_group(
        "group_readings",
        "conversation_id",
        "conversations",
        sa.Column("read_to", sa.BigInteger(), nullable=False, comment="place of its first message not consolidated"),
    )
    op.create_table(
        "group_messages",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "group_id", "sequence"),
        sa.ForeignKeyConstraint(
            ["organization_id", "group_id"], ["groups.organization_id", "groups.id"], ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "message_id", "conversation_id"],
            ["messages.organization_id", "messages.id", "messages.conversation_id"],
            ondelete="CASCADE",
        ),
    )
    op.create_index("group_messages_by_message", "group_messages", ["organization_id", "message_id", "conversation_id"])
    _index_of_few("block_versions_by_run", "block_versions", "run_id")


def _of_group(name: str, column: str, table: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column(column, sa.Text(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("organization_id", "group_id", column),
        sa.ForeignKeyConstraint(
            ["organization_id", "group_id"], ["groups.organization_id", "groups.id"], ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", column], [f"{table}.organization_id", f"{table}.id"], ondelete="CASCADE"
        ),
    )
    op.create_index(f"{name}_by_held", name, ["organization_id", column, "group_id"])


def _index_of_few(name: str, table: str, column: str) -> None:
    some = sa.text(f"{column} IS NOT NULL")
    op.create_index(name, table, ["organization_id", column], sqlite_where=some, postgresql_where=some)
