"""What the end of a turn means to groups, in the transaction that stores it."""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.agents.events import TurnEnd
from folkmoot.groups.conversations import note_said
from folkmoot.groups.sleeptime import count_turn, note_consolidated
from folkmoot.runs.active import AfterTurn
from folkmoot.runs.runs import Run
from folkmoot.store.engine import Transaction


def after_turn(idle_seconds: float) -> AfterTurn:
    """Return what the end of every turn does.

    Args:
        idle_seconds: how long nobody must have talked to an agent before what was said is worked on in any case.
    """
    idle = int(idle_seconds * 1e6)

    async def note_end(transaction: Transaction, run: Run, end: TurnEnd) -> Sequence[str]:
        if "consolidation" in run.details:
            await note_consolidated(transaction, run.details["consolidation"])
            return ()  # it is no turn of the agent's own: two that tend each other would never end
        if "group" in run.details:
            await note_said(transaction, run)
        if end.stop_reason == "requires_approval":  # the turn goes on
            return ()
        return await count_turn(transaction, run, idle)

    return note_end
