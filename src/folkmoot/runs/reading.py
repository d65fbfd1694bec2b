"""Reading runs back: lists of them, their messages, and how they ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from folkmoot.agents.approvals import calls_of
from folkmoot.agents.events import TurnEnd, TurnFailed
from folkmoot.agents.steps import usage_of_steps
from folkmoot.conversations.conversations import forget_runs, in_conversation
from folkmoot.conversations.messages import Message
from folkmoot.models.prompt import Usage
from folkmoot.runs.runs import Run, find_run
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, fetch_page, leave_places, leaving
from folkmoot.store.tables import messages, runs

_of_run = select(messages).where(messages.c.run_id == bindparam("run_id")).order_by(messages.c.sequence)
_newest_in_conversation = (
    select(runs.c.id)
    .where(runs.c.conversation_id == bindparam("conversation_id"))
    .order_by(runs.c.created_at.desc(), runs.c.id.desc())
    .limit(1)
)
MOST_LOOKED_THROUGH = 1000
"""Newest runs of an agent among which one that waits is looked for."""

_newest_of_agent = (
    select(runs.c.id, runs.c.stop_reason)
    .where(runs.c.agent_id == bindparam("agent_id"))
    .order_by(runs.c.created_at.desc(), runs.c.id.desc())
    .limit(MOST_LOOKED_THROUGH)
    .subquery()
)
_requests_that_wait = select(messages).where(
    messages.c.run_id.in_(select(_newest_of_agent.c.id).where(_newest_of_agent.c.stop_reason == "requires_approval")),
    messages.c.message_type == "approval_request_message",
)
_leaving = leaving(runs, runs.c.id == bindparam("run_id"))


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are wanted; what is None or empty does not matter."""

    agent_ids: Sequence[str] = ()
    conversation_id: str | None = None
    statuses: Sequence[str] = ()
    stop_reason: str | None = None
    background: bool | None = None
    ids: Sequence[str] | None = None
    start: int | None = None
    """When they were made at the earliest, in microseconds."""

    end: int | None = None
    """Before when they were made."""


async def list_runs(transaction: Transaction, wanted: RunFilter, page: Page) -> list[Run]:
    """Return a page of the runs, by time of creation."""
    statement = select(runs)
    if wanted.ids is not None:
        statement = statement.where(runs.c.id.in_(list(wanted.ids)))
    if wanted.agent_ids:
        statement = statement.where(runs.c.agent_id.in_(list(wanted.agent_ids)))
    if wanted.conversation_id is not None:
        statement = statement.where(in_conversation(runs, wanted.conversation_id))
    if wanted.statuses:
        statement = statement.where(runs.c.status.in_(list(wanted.statuses)))
    if wanted.stop_reason is not None:
        statement = statement.where(runs.c.stop_reason == wanted.stop_reason)
    if wanted.background is not None:
        statement = statement.where(runs.c.background == wanted.background)
    if wanted.start is not None:
        statement = statement.where(runs.c.created_at >= wanted.start)
    if wanted.end is not None:
        statement = statement.where(runs.c.created_at < wanted.end)
    return [Run.from_row(row) for row in await fetch_page(transaction, statement, runs, page)]


async def runs_without_answer(
    transaction: Transaction, agent_id: str, conversation_id: str, since: int, until: int, limit: int
) -> list[Run]:
    """Return the newest runs that have no answer in their conversation, or not yet, the oldest of them first.

    Args:
        transaction: where to read.
        agent_id: whose runs.
        conversation_id: of which conversation.
        since: when they were made at the earliest, in microseconds.
        until: when they were made at the latest, in microseconds.
        limit: how many.
    """
    rows = await transaction.all(
        select(runs)
        .where(
            runs.c.agent_id == agent_id,
            runs.c.conversation_id == conversation_id,
            runs.c.created_at >= since,
            runs.c.created_at <= until,
            runs.c.status != "completed",
        )
        .order_by(runs.c.created_at.desc(), runs.c.id.desc())
        .limit(limit)
    )
    return [Run.from_row(row) for row in rows][::-1]


async def is_newest(transaction: Transaction, run: Run) -> bool:
    """Tell whether the run is the last that was begun in its conversation."""
    row = await transaction.first(_newest_in_conversation, conversation_id=run.conversation_id)
    return row is None or row["id"] == run.id


async def run_that_waits(transaction: Transaction, agent_id: str, call_ids: Collection[str]) -> Run | None:
    """Return the agent's run, one of its newest, that waits for one of these calls."""
    for row in await transaction.all(_requests_that_wait, agent_id=agent_id):
        request = Message.from_row(row)
        if request.run_id is not None and any(call.id in call_ids for call in calls_of(request.body)):
            return await find_run(transaction, request.run_id)
    return None


async def messages_of_run(transaction: Transaction, run_id: str) -> list[Message]:
    """Return the messages that the run added to its conversation, oldest first."""
    return [Message.from_row(row) for row in await transaction.all(_of_run, run_id=run_id)]


async def delete_run(transaction: Transaction, run_id: str) -> None:
    """Delete what is kept of a run; its messages stay, and for a time the figures of its steps.

    Raises:
        NotFound: there is no such run.
    """
    await find_run(transaction, run_id)
    await leave_places(transaction, _leaving, run_id=run_id)
    await forget_runs(transaction, runs.c.id == run_id)


async def usage_of_run(transaction: Transaction, run: Run) -> tuple[Usage, int]:
    """Return what the run took, and how many steps it has; of one that did not come to its end, what its steps say."""
    if "usage" not in run.details:
        return await usage_of_steps(transaction, run.id)
    end = end_of_run(run)
    return end.usage, end.step_count


def last_event(run: Run) -> TurnEnd | TurnFailed:
    """Return the last event of a run that is over, as its row tells it."""
    error = run.details.get("error")
    return TurnFailed(run.id, run.stop_reason or "error", error["type"], error["message"]) if error else end_of_run(run)


def end_of_run(run: Run) -> TurnEnd:
    """Return how a run that is over ended."""
    usage = run.details.get("usage") or {}
    figures = ("prompt_tokens", "completion_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
    return TurnEnd(
        stop_reason=run.stop_reason or "error",
        usage=Usage(**{name: usage.get(name, 0) for name in figures}),
        step_count=usage.get("step_count", 0),
        context_tokens=usage.get("context_tokens", 0),
        run_ids=run.details.get("run_ids", ()),
    )


def end_details(end: TurnEnd, waited: int | None) -> dict[str, Any]:
    """Return what a run keeps of its turn's end.

    Args:
        end: why it ended, and what it took.
        waited: how long after its beginning the model's first words were there, in microseconds; None of no model.
    """
    usage = {
        "prompt_tokens": end.usage.prompt_tokens,
        "completion_tokens": end.usage.completion_tokens,
        "cached_input_tokens": end.usage.cached_input_tokens,
        "cache_write_tokens": end.usage.cache_write_tokens,
        "reasoning_tokens": end.usage.reasoning_tokens,
        "step_count": end.step_count,
        "context_tokens": end.context_tokens,
    }
    set_off = {"run_ids": list(end.run_ids)} if end.run_ids else {}
    return {"usage": usage, "ttft_ns": None if waited is None else waited * 1000, **set_off}
