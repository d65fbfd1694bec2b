"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from folkmoot.store import postgres, sqlite

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agents",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("agent_type", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("embedding", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=True),
        sa.Column("project_id", sa.Text(), nullable=True),
        sa.Column("template_id", sa.Text(), nullable=True),
        sa.Column("base_template_id", sa.Text(), nullable=True),
        sa.Column("configuration", sa.Text(), nullable=False, comment="JSON: settings that no statement filters by"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("agents_by_age", "agents", ["organization_id", "created_at", "id"], unique=False)
    op.create_index("agents_by_name", "agents", ["organization_id", "name", "created_at", "id"], unique=False)
    op.create_table(
        "block_readers",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("block_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("step_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "block_id", "version", "created_at", "step_id"),
    )
    op.create_table(
        "blocks",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("character_limit", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("read_only", sa.Boolean(), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=True),
        sa.Column("project_id", sa.Text(), nullable=True),
        sa.Column("is_template", sa.Boolean(), nullable=False),
        sa.Column("template_name", sa.Text(), nullable=True),
        sa.Column(
            "extra", sa.Text(), nullable=False, comment="JSON: metadata, tags, and the wire's other template fields"
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False, comment="JSON: the author of the newest version"),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("blocks_by_age", "blocks", ["organization_id", "created_at", "id"], unique=False)
    op.create_index("blocks_by_label", "blocks", ["organization_id", "label", "created_at", "id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("background", sa.Boolean(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False, comment="JSON: metadata, request_config, error, usage"),
        sa.Column(
            "lease_expires_at",
            sa.BigInteger(),
            nullable=True,
            comment="when it counts as dead unless its process says otherwise",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("runs_by_age", "runs", ["organization_id", "created_at", "id"], unique=False)
    op.create_index("runs_by_agent", "runs", ["organization_id", "agent_id", "created_at", "id"], unique=False)
    op.create_index("runs_by_status", "runs", ["organization_id", "status", "created_at"], unique=False)
    op.create_table(
        "steps",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False, comment="JSON: the other token figures, timings, error"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("steps_by_age", "steps", ["organization_id", "created_at", "id"], unique=False)
    op.create_index("steps_by_run", "steps", ["organization_id", "run_id", "created_at", "id"], unique=False)
    op.create_table(
        "agent_blocks",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("block_id", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False, comment="the block's label, so that it is unique on one agent"),
        sa.Column("access", sa.Text(), nullable=False, comment="write, append or read"),
        sa.Column("attached_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "block_id"], ["blocks.organization_id", "blocks.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "agent_id", "block_id"),
        sa.UniqueConstraint("organization_id", "agent_id", "label", name="agent_blocks_label"),
    )
    op.create_index("agent_blocks_by_block", "agent_blocks", ["organization_id", "block_id", "agent_id"], unique=False)
    op.create_table(
        "agent_tags",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "agent_id", "tag"),
    )
    op.create_index("agent_tags_by_tag", "agent_tags", ["organization_id", "tag", "agent_id"], unique=False)
    op.create_table(
        "agent_tools",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("tool_id", sa.Text(), nullable=False),
        sa.Column("attached_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "agent_id", "tool_id"),
    )
    op.create_table(
        "block_tags",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("block_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "block_id"], ["blocks.organization_id", "blocks.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "block_id", "tag"),
    )
    op.create_index("block_tags_by_tag", "block_tags", ["organization_id", "tag", "block_id"], unique=False)
    op.create_table(
        "block_versions",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("block_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True, comment="the whole text, for the versions that keep one"),
        sa.Column(
            "delta", sa.Text(), nullable=True, comment="JSON: the change from the version before, for the others"
        ),
        sa.Column("length", sa.Integer(), nullable=False, comment="characters of this version's text"),
        sa.Column("edit", sa.Text(), nullable=False, comment="JSON: what was asked for"),
        sa.Column("author_type", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Text(), nullable=True),
        sa.Column("author_name", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("step_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "block_id"], ["blocks.organization_id", "blocks.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "block_id", "version"),
    )
    op.create_table(
        "conversations",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False, comment="the agent's own id for its main conversation"),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("context_summary", sa.Text(), nullable=True, comment="what was said before context_start, in short"),
        sa.Column("next_sequence", sa.BigInteger(), nullable=False),
        sa.Column(
            "context_start",
            sa.BigInteger(),
            nullable=False,
            comment="first message in context after the system message",
        ),
        sa.Column(
            "turn_run_id",
            sa.Text(),
            nullable=True,
            comment="the run whose turn it is; no other run of this conversation may go on",
        ),
        sa.Column(
            "prompt_tokens",
            sa.Integer(),
            nullable=False,
            comment="tokens of the last prompt, as its provider counted them",
        ),
        sa.Column(
            "prompt_size", sa.Integer(), nullable=False, comment="UTF-8 bytes of that prompt; 0 before the first"
        ),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.Column("last_message_at", sa.BigInteger(), nullable=False, comment="0 while nothing was said"),
        sa.Column(
            "configuration", sa.Text(), nullable=False, comment="JSON: model, settings and description of its own"
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("conversations_by_age", "conversations", ["organization_id", "created_at", "id"], unique=False)
    op.create_index(
        "conversations_by_agent", "conversations", ["organization_id", "agent_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "run_events",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False, comment="the wire format's seq_id"),
        sa.Column("data", sa.Text(), nullable=False, comment="the event as a stream shows it"),
        sa.ForeignKeyConstraint(["organization_id", "run_id"], ["runs.organization_id", "runs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("organization_id", "run_id", "sequence"),
    )
    op.create_table(
        "conversation_blocks",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("block_id", sa.Text(), nullable=False, comment="the conversation's own copy of a block"),
        sa.Column("access", sa.Text(), nullable=False, comment="write, append or read"),
        sa.ForeignKeyConstraint(
            ["organization_id", "block_id"], ["blocks.organization_id", "blocks.id"], ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "conversation_id"],
            ["conversations.organization_id", "conversations.id"],
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organization_id", "conversation_id", "block_id"),
    )
    op.create_index(
        "conversation_blocks_by_block", "conversation_blocks", ["organization_id", "block_id"], unique=False
    )
    op.create_table(
        "messages",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("message_type", sa.Text(), nullable=False),
        sa.Column(
            "search_text", sa.Text(), nullable=False, comment="what full-text search finds; empty for system messages"
        ),
        sa.Column(
            "search_id", sa.BigInteger(), nullable=False, comment="the row's number in the embedded full-text index"
        ),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON: the fields of this type of message"),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("otid", sa.Text(), nullable=True),
        sa.Column("sender_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("step_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "conversation_id"],
            ["conversations.organization_id", "conversations.id"],
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organization_id", "conversation_id", "sequence"),
        sa.UniqueConstraint("organization_id", "id", name="messages_id"),
    )
    op.create_index("messages_by_age", "messages", ["organization_id", "created_at", "id"], unique=False)
    op.create_index("messages_by_run", "messages", ["organization_id", "run_id", "sequence"], unique=False)
    op.create_index("messages_by_search_id", "messages", ["search_id"], unique=False)
    engine = {"sqlite": sqlite, "postgresql": postgres}[op.get_bind().dialect.name]
    for statement in engine.fulltext("messages"):
        op.execute(statement)
