"""Forgetting how old runs were streamed: their messages stay, the pieces in which they came go."""

from __future__ import annotations

from sqlalchemy import delete, not_, select

from folkmoot.runs.runs import unfinished
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import run_events, runs

_AT_ONCE = 500


async def prune_logs(transaction: Transaction, after: int, before: int) -> int | None:
    """Delete the logs of some of the oldest runs that were made between two times and are over.

    A stream of such a run shows its messages whole from then on.

    Args:
        transaction: where to write.
        after: microseconds; runs made up to then are done already.
        before: microseconds; runs made since keep their logs.

    Returns:
        The time of the last of them, to go on from; None when none is left.
    """
    old = await transaction.all(
        select(runs.c.id, runs.c.created_at)
        .where(
            runs.c.created_at > after,
            runs.c.created_at < before,
            not_(unfinished),
        )
        .order_by(runs.c.created_at)
        .limit(_AT_ONCE)
    )
    if not old:
        return None
    await transaction.run(delete(run_events).where(run_events.c.run_id.in_([row["id"] for row in old])))
    return int(old[-1]["created_at"])
