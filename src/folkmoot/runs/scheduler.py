"""Whose turn it is: one run at a time in each conversation, and no agents that wait for each other."""

from __future__ import annotations

from sqlalchemy import bindparam, select, update

from folkmoot.conversations.conversations import acquire_free_lock, acquire_lock, find_conversation
from folkmoot.errors import Conflict
from folkmoot.runs.runs import Run, store_run, unfinished
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.leases import LEASE
from folkmoot.store.tables import runs


class RunEnded(Conflict):
    """The run was ended while it waited for its turn: cancelled, deleted, or taken for dead."""


_this = runs.c.id == bindparam("run_id")
_begin = (
    update(runs)
    .where(_this, runs.c.status == "created")
    .values(status="running", started_at=bindparam("now"), lease_expires_at=bindparam("expires"))
)
_is_unfinished = select(runs.c.id).where(_this, unfinished)
_forget_asker = update(runs).where(_this).values(asked_by=None)


async def begin_run(transaction: Transaction, run: Run, *, stored: bool) -> bool:
    """Take the conversation's turn for the run; False when the turn is another run's, and this one waits.

    Args:
        transaction: where to write.
        run: the run.
        stored: whether it was stored before, and may have been ended meanwhile.

    Raises:
        NotFound: there is no such conversation.
        RunEnded: the run was ended while it waited.
    """
    if not await acquire_free_lock(transaction, run.conversation_id, run.id):
        conversation = await find_conversation(transaction, run.conversation_id, lock=True)
        held = conversation.locked_by_run
        if held not in (None, run.id) and await transaction.first(_is_unfinished, run_id=held) is not None:
            if not stored:
                await store_run(transaction, run, "created")
            return False
        await acquire_lock(transaction, run.conversation_id, run.id)
    if not stored:
        await store_run(transaction, run, "running")
    elif not await transaction.run(_begin, run_id=run.id, now=clock.now(), expires=clock.now() + LEASE):
        raise RunEnded("The run was ended before it began.")
    return True


async def refuse_cycle(transaction: Transaction, run: Run) -> None:
    """Refuse a run that its asker would wait for without end, since the agent that is asked waits for the asker.

    The run has to be stored before: of two agents that ask each other at once, at least one then sees the other's run.

    Raises:
        Conflict: the asker would wait for itself.
    """
    seen: set[str] = set()
    waiting = {run.conversation_id}
    while waiting:
        rows = await transaction.all(
            select(runs.c.conversation_id).where(runs.c.asked_by.in_(sorted(waiting)), unfinished).distinct()
        )
        seen |= waiting
        waiting = {row["conversation_id"] for row in rows} - seen
        if run.asked_by in waiting:
            raise Conflict("It is waiting for you, so that neither could go on. Ask it later.")


async def forget_asker(transaction: Transaction, run_id: str) -> None:
    """Note that nobody waits for the run's answer any more."""
    await transaction.run(_forget_asker, run_id=run_id)
