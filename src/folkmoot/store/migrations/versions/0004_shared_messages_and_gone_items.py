"""Messages that conversations share, where deleted items stood in lists, and words inside words."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from folkmoot.store import sqlite
from folkmoot.store.words import indexed_text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_AT_ONCE = 1000


def upgrade() -> None:
    """Let a message be in several conversations, make the table and the index, forget old logs, index words anew."""
    _share_messages()
    op.create_table(
        "gone_items",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.BigInteger(),
            nullable=True,
            comment="where it stood in a list that is ordered by this, and so on",
        ),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.Column("last_message_at", sa.BigInteger(), nullable=True),
        sa.Column("last_run_at", sa.BigInteger(), nullable=True),
        sa.Column("gone_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("gone_items_by_age", "gone_items", ["organization_id", "gone_at"])
    op.create_index("runs_by_conversation", "runs", ["organization_id", "conversation_id", "created_at", "id"])
    # Logs held lines of the wire format; without one, a run that is over is told from its messages.
    op.execute("DELETE FROM run_events")
    _index_again(op.get_bind())


def _share_messages() -> None:
    """Make a message's identifier unique in its conversation only; SQLite writes the table anew for that."""
    columns = ["organization_id", "id", "conversation_id"]
    with op.batch_alter_table("messages") as messages:
        messages.drop_constraint("messages_id", type_="unique")
        messages.create_unique_constraint("messages_id", columns)
    if op.get_bind().dialect.name == "sqlite":
        for statement in sqlite.fulltext("messages")[1:]:  # the triggers, which went with the old table
            op.execute(statement)


def _index_again(connection: sa.Connection) -> None:
    """Store anew what search finds the messages by."""
    messages = sa.table("messages", *map(sa.column, ("conversation_id", "sequence", "body", "search_text")))
    place = sa.tuple_(messages.c.conversation_id, messages.c.sequence)
    after: tuple[str, int] = ("", -1)
    while True:
        rows = connection.execute(
            sa.select(messages)
            .where(messages.c.search_text != "", place > sa.tuple_(*after))
            .order_by(messages.c.conversation_id, messages.c.sequence)
            .limit(_AT_ONCE)
        ).all()
        for row in rows:
            if (text := indexed_text(_said(json.loads(row.body)))) != row.search_text:
                connection.execute(
                    sa.update(messages)
                    .where(messages.c.conversation_id == row.conversation_id, messages.c.sequence == row.sequence)
                    .values(search_text=text)
                )
        if len(rows) < _AT_ONCE:
            return
        after = (rows[-1].conversation_id, rows[-1].sequence)


def _said(body: dict[str, Any]) -> str:
    content = body.get("content", body.get("tool_return", ""))
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")
