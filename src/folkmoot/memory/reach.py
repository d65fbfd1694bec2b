"""How far a version of a block has reached: which runs were shown it, and what they wrote into blocks from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from folkmoot.memory.history import DESCRIBED, EditOfBlock
from folkmoot.store.counting import count_rows
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import block_readers, block_versions, blocks, steps

MOST_EDITS = 2000
"""Edits of all reached runs that are looked at."""


@dataclass(frozen=True, slots=True)
class ReachedRun:
    """A run that was shown a version: when first, in how many of its steps, and what it wrote in those and later ones.

    Times are in microseconds.
    """

    run_id: str
    agent_id: str
    first_at: int
    step_count: int
    wrote: Sequence[EditOfBlock]


async def reach_of(transaction: Transaction, block_id: str, version: int, limit: int) -> tuple[int, list[ReachedRun]]:
    """Return how many runs were shown a version of a block, and the first of them.

    Args:
        transaction: where to read.
        block_id: which block.
        version: which of its versions.
        limit: how many runs.
    """
    shown = (block_readers.c.block_id == block_id, block_readers.c.version == version)
    count = select(func.count(block_readers.c.run_id.distinct()).label("count")).where(*shown)
    first_at = func.min(block_readers.c.created_at)
    rows = await transaction.all(
        select(
            block_readers.c.run_id,
            block_readers.c.agent_id,
            first_at.label("first_at"),
            func.count().label("steps"),
        )
        .where(*shown)
        .group_by(block_readers.c.run_id, block_readers.c.agent_id)
        .order_by(first_at, block_readers.c.run_id)
        .limit(limit)
    )
    wrote = await _edits_since(transaction, {row["run_id"]: row["first_at"] for row in rows})
    reached = [
        ReachedRun(row["run_id"], row["agent_id"], row["first_at"], row["steps"], wrote.get(row["run_id"], ()))
        for row in rows
    ]
    return await count_rows(transaction, count), reached


async def _edits_since(transaction: Transaction, since: Mapping[str, int]) -> Mapping[str, Sequence[EditOfBlock]]:
    """Return what runs wrote, each in the steps from its moment on."""
    if not since:
        return {}
    statement = (
        select(*DESCRIBED, blocks.c.label, steps.c.created_at.label("step_at"))
        .join(blocks, blocks.c.id == block_versions.c.block_id)
        .join(steps, steps.c.id == block_versions.c.step_id)
        .where(block_versions.c.run_id.in_(list(since)), block_versions.c.run_id.is_not(None), is_kept(blocks.c.id))
        .order_by(block_versions.c.created_at, block_versions.c.block_id, block_versions.c.version)
        .limit(MOST_EDITS)
    )
    found: dict[str, list[EditOfBlock]] = {}
    for row in await transaction.all(statement):
        edit = EditOfBlock.from_row(row)
        run_id = edit.version.author.run_id or ""
        if row["step_at"] >= since[run_id]:
            found.setdefault(run_id, []).append(edit)
    return found
