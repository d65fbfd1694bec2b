"""What runs were about, for lists of them: what was asked, by whom, what came of it, and the steps that it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Select, func, select

from folkmoot.agents.steps import StoredStep
from folkmoot.conversations.messages import Message
from folkmoot.runs.runs import Run
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import messages, steps

MOST_STEPS = 10_000
"""Steps of all runs of a list that are looked at."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run with the first message that it was given and the last that its agent wrote."""

    run: Run
    asked: Message | None
    """None where there was none, or it is not in the conversation any more."""

    answered: Message | None
    steps: Sequence[StoredStep] = field(default_factory=list)

    @property
    def asking_agent(self) -> str | None:
        """The agent that asked; None where a person or a program did."""
        return self.asked.sender_id if self.asked is not None else None


async def summarise(transaction: Transaction, runs: Sequence[Run]) -> list[RunSummary]:
    """Return what these runs were about, in their order."""
    ids = [run.id for run in runs]
    asked = await _messages(transaction, ids, "user_message", first=True)
    answered = await _messages(transaction, ids, "assistant_message", first=False)
    taken: dict[str, list[StoredStep]] = {run_id: [] for run_id in ids}
    of_runs = select(steps).where(steps.c.run_id.in_(ids)).order_by(steps.c.created_at, steps.c.id).limit(MOST_STEPS)
    for row in await transaction.all(of_runs):
        taken[row["run_id"]].append(StoredStep.from_row(row))
    return [
        RunSummary(run, asked.get(run.id) or next(iter(run.said), None), answered.get(run.id), taken[run.id])
        for run in runs
    ]


async def _messages(
    transaction: Transaction, run_ids: Sequence[str], message_type: str, *, first: bool
) -> Mapping[str, Message]:
    """Return the first or the last message of that type of each of these runs."""
    place = func.min(messages.c.sequence) if first else func.max(messages.c.sequence)
    chosen: Select[tuple[str, int]] = (
        select(messages.c.run_id, place.label("sequence"))
        .where(messages.c.run_id.in_(run_ids), messages.c.message_type == message_type)
        .group_by(messages.c.run_id)
    )
    places = {row["run_id"]: row["sequence"] for row in await transaction.all(chosen)}
    if not places:
        return {}
    rows = await transaction.all(
        select(messages).where(
            messages.c.run_id.in_(list(places)),
            messages.c.sequence.in_(sorted(set(places.values()))),
            messages.c.message_type == message_type,
        )
    )
    return {row["run_id"]: Message.from_row(row) for row in rows if places[row["run_id"]] == row["sequence"]}
