"""Traces and tags where they belong, and nothing in two places."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from folkmoot.store import clock

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TRACES_AT_ONCE = 50
_BLOCKS_AT_ONCE = 1000

_steps = sa.table(
    "steps", *map(sa.column, ("organization_id", "id", "run_id", "details", "created_at", "run_deleted_at"))
)
_runs = sa.table("runs", *map(sa.column, ("organization_id", "id", "agent_id")))
_blocks = sa.table("blocks", *map(sa.column, ("organization_id", "id", "extra")))

_has_run = sa.exists().where(_runs.c.organization_id == _steps.c.organization_id, _runs.c.id == _steps.c.run_id)


def upgrade() -> None:
    """Move what stands in the wrong place; logs of earlier runs go, and their streams show the messages instead."""
    op.execute("ALTER TABLE conversations RENAME COLUMN turn_run_id TO locked_by_run")
    op.execute("DELETE FROM run_events")  # they were kept in the shape of the stream that was asked for
    _forget_runs_of_deleted_agents()
    _move_traces(op.get_bind())
    _move_tags(op.get_bind())
    if op.get_bind().dialect.name == "postgresql":
        for table, column, comment in (
            ("blocks", "extra", "JSON: metadata, and the wire's other template fields"),
            ("run_events", "data", "JSON: an event of the turn, and its kind"),
            ("steps", "details", "JSON: the other token figures, timings"),
            ("block_versions", "delta", "JSON: the change from the version before, unless the text is short"),
        ):
            op.alter_column(table, column, comment=comment)


def _forget_runs_of_deleted_agents() -> None:
    """Delete what earlier versions left of an agent that was deleted, and note which steps have no run any more."""
    op.add_column(
        "steps",
        sa.Column("run_deleted_at", sa.BigInteger(), nullable=True, comment="since when it stays only for its figures"),
    )
    some = sa.text("run_deleted_at IS NOT NULL")
    op.create_index("steps_without_run", "steps", ["run_deleted_at"], sqlite_where=some, postgresql_where=some)
    agents = sa.table("agents", *map(sa.column, ("organization_id", "id")))
    agent = sa.exists().where(agents.c.organization_id == _runs.c.organization_id, agents.c.id == _runs.c.agent_id)
    op.execute(sa.delete(_runs).where(~agent))
    op.execute(sa.update(_steps).where(~_has_run).values(run_deleted_at=clock.now()))


def _move_traces(connection: sa.Connection) -> None:
    traces = op.create_table(
        "step_traces",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("step_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False, comment="JSON: what the provider was sent"),
        sa.Column("response", sa.Text(), nullable=False, comment="JSON: what it answered"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id", "run_id"], ["runs.organization_id", "runs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("organization_id", "step_id"),
    )
    op.create_index("step_traces_by_run", "step_traces", ["organization_id", "run_id", "created_at", "step_id"])
    op.create_index("step_traces_by_age", "step_traces", ["created_at"])
    traced = sa.select(_steps, _has_run.label("has_run")).where(_steps.c.details.contains('"trace": ', autoescape=True))
    for rows in _in_pieces(connection, traced, _steps, _TRACES_AT_ONCE):
        for row in rows:
            details = json.loads(row.details)
            if (trace := details.pop("trace", None)) is None:
                continue
            if row.has_run:  # a deleted run leaves no words
                connection.execute(
                    sa.insert(traces).values(
                        organization_id=row.organization_id,
                        step_id=row.id,
                        run_id=row.run_id,
                        request=json.dumps(trace["request"]),
                        response=json.dumps(trace["response"]),
                        created_at=row.created_at,
                    )
                )
            _replace(connection, _steps, row, details=json.dumps(details))


def _move_tags(connection: sa.Connection) -> None:
    """Keep each block's tags in their table only, which learns in which order they were given."""
    op.drop_table("block_tags")
    tags = op.create_table(
        "block_tags",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("block_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False, comment="in the order in which they were given"),
        sa.ForeignKeyConstraint(
            ["organization_id", "block_id"], ["blocks.organization_id", "blocks.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "block_id", "tag"),
    )
    op.create_index("block_tags_by_tag", "block_tags", ["organization_id", "tag", "block_id"])
    for rows in _in_pieces(connection, sa.select(_blocks), _blocks, _BLOCKS_AT_ONCE):
        for row in rows:
            extra = json.loads(row.extra)
            for place, tag in enumerate(extra.pop("tags", ())):
                connection.execute(
                    sa.insert(tags).values(organization_id=row.organization_id, block_id=row.id, tag=tag, place=place)
                )
            _replace(connection, _blocks, row, extra=json.dumps(extra))


def _in_pieces(
    connection: sa.Connection, statement: sa.Select[Any], table: sa.TableClause, at_once: int
) -> Iterator[list[Any]]:
    """Yield the rows of `statement` in the order of the table's key, so many at a time."""
    key = sa.tuple_(table.c.organization_id, table.c.id)
    after = ("", "")
    while True:
        some = statement.where(key > sa.tuple_(*after)).order_by(table.c.organization_id, table.c.id).limit(at_once)
        rows = list(connection.execute(some))
        yield rows
        if len(rows) < at_once:
            return
        after = (rows[-1].organization_id, rows[-1].id)


def _replace(connection: sa.Connection, table: sa.TableClause, row: Any, **values: str) -> None:
    this = sa.and_(table.c.organization_id == row.organization_id, table.c.id == row.id)
    connection.execute(sa.update(table).where(this).values(**values))
