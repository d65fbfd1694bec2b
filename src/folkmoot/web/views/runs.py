"""Runs: what is running, done, failed; and one of them, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any

from fastapi import Request, Response

from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.agents.overview import agent_names
from folkmoot.agents.steps import StepFilter, list_steps
from folkmoot.conversations.conversations import find_conversation
from folkmoot.errors import Conflict, NotFound
from folkmoot.memory.history import edits_of_run
from folkmoot.runs.reading import RunFilter, list_runs, messages_of_run
from folkmoot.runs.runs import UNFINISHED, Run, find_run, note_retry
from folkmoot.runs.summaries import RunSummary, summarise
from folkmoot.server.routes import messages as api
from folkmoot.server.routes import runs as runs_api
from folkmoot.server.scanning import Scan
from folkmoot.server.sending import start_in_background
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import RunId
from folkmoot.server.wire.runs import UndoneRun
from folkmoot.server.wire.sending import SendMessages, sent_again
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page
from folkmoot.web import code
from folkmoot.web.chats import chat_address, title_of
from folkmoot.web.colours import read_palette
from folkmoot.web.costs import cost_of_steps
from folkmoot.web.diagrams import spans_of
from folkmoot.web.remedies import can_be_retried, remedy_of
from folkmoot.web.responses import page_router, redirect, render
from folkmoot.web.tables import Format, Row, all_rows, as_file
from folkmoot.web.transcript import transcript_of
from folkmoot.web.words import asked_words, content_text, iso

router = page_router()

LISTED = 100
COLUMNS = (
    *("id", "agent_id", "agent", "status", "stop_reason", "asked", "answered", "asked_by", "error"),
    *("steps", "tokens", "cost_in_dollars", "seconds", "created_at"),
)
AGENTS_OFFERED = 500
"""Agents that the list can be filtered by."""

STATUSES: Mapping[str, RunFilter] = {
    "running": RunFilter(statuses=UNFINISHED),
    "waiting": RunFilter(stop_reason="requires_approval"),
    "done": RunFilter(statuses=("completed",)),
    "failed": RunFilter(statuses=("failed",)),
    "cancelled": RunFilter(statuses=("cancelled",)),
}
"""What the list can be filtered by, and what this means."""

DAY = 86_400_000_000


@router.get("/runs")
async def list_all(
    request: Request,
    state: State,
    scan: Scan,
    status: str = "",
    agent: str = "",
    day: str = "",
    after: str | None = None,
    kind: Format = None,
) -> Response:
    """List runs, the newest first: of a status, of an agent, of a day in UTC; as a file where one is asked for."""
    start = start_of_day(day)
    chosen = replace(
        STATUSES.get(status, RunFilter()),
        agent_ids=[agent] if agent else (),
        start=start,
        end=None if start is None else start + DAY,
    )
    if kind:
        return await scan(
            lambda transaction: _rows(transaction, chosen, state), partial(as_file, "runs", kind, COLUMNS)
        )

    async def read(transaction: Transaction) -> dict[str, Any]:
        runs = await list_runs(transaction, chosen, Page(limit=LISTED, after=after, order="desc"))
        summaries = await summarise(transaction, runs)
        asking = [each.asking_agent for each in summaries if each.asking_agent]
        offered = await list_agents(transaction, AgentFilter(), Page(limit=AGENTS_OFFERED, order="desc"))
        named = [*(run.agent_id for run in runs), *asking, *([agent] if agent else ())]
        return {
            "rows": [_Row.of(each, state) for each in summaries],
            "longest": max((run.duration_ns or 0 for run in runs), default=0),
            "names": await agent_names(transaction, named),
            "offered": offered,
            "palette": await read_palette(transaction),
        }

    values: dict[str, Any] = {
        "wanted": status,
        "agent": agent,
        "day": day if start is not None else "",
        "listed": LISTED,
        "statuses": STATUSES,
        "calls": code.runs_calls(),
    }
    return await scan(read, lambda shown: render(request, "runs.html", **values, **shown))


@dataclass(frozen=True, slots=True)
class _Row:
    """A run as the list shows it."""

    summary: RunSummary
    tokens: int
    cost: float | None
    remedy: str
    can_be_retried: bool

    @classmethod
    def of(cls, summary: RunSummary, state: ServerState) -> _Row:
        """Add up what a run took, and say what can be done about it."""
        tokens = sum(step.usage.prompt_tokens + step.usage.completion_tokens for step in summary.steps)
        cost = cost_of_steps(summary.steps, state)
        return cls(summary, tokens, cost, remedy_of(summary.run), can_be_retried(summary.run))


async def _rows(transaction: Transaction, wanted: RunFilter, state: ServerState) -> list[Row]:
    """Return the runs of a filter as rows of a file."""

    async def of_page(page: Page) -> list[Row]:
        summaries = await summarise(transaction, await list_runs(transaction, wanted, page))
        asking = [each.asking_agent for each in summaries if each.asking_agent]
        names = await agent_names(transaction, [*(each.run.agent_id for each in summaries), *asking])
        return [_cells(_Row.of(each, state), names) for each in summaries]

    return await all_rows(of_page)


def _cells(row: _Row, names: Mapping[str, str]) -> Row:
    summary, run = row.summary, row.summary.run
    asked_by = names.get(summary.asking_agent) if summary.asking_agent else None
    return {
        "id": run.id,
        "agent_id": run.agent_id,
        "agent": names.get(run.agent_id),
        "status": run.status,
        "stop_reason": run.stop_reason,
        "asked": asked_words(summary),
        "answered": content_text(summary.answered.body["content"]) if summary.answered else None,
        "asked_by": asked_by or (run.details.get("principal") or {}).get("name"),
        "error": (run.details.get("error") or {}).get("message"),
        "steps": len(summary.steps),
        "tokens": row.tokens,
        "cost_in_dollars": row.cost,
        "seconds": None if run.duration_ns is None else run.duration_ns / 1e9,
        "created_at": iso(run.created_at),
    }


def start_of_day(day: str) -> int | None:
    """Return when a day begins in UTC, in microseconds; None for what is no day.

    >>> start_of_day("1970-01-02"), start_of_day("tomorrow")
    (86400000000, None)
    """
    try:
        return clock.from_datetime(datetime.combine(date.fromisoformat(day), time(), UTC))
    except ValueError:
        return None


@router.get("/runs/{run_id}")
async def show(request: Request, run_id: RunId, state: State, scan: Scan) -> Response:
    """Show a run: its steps, its messages, what it wrote, what became of it."""
    return await _page(request, run_id, state, scan)


async def _page(
    request: Request, run_id: str, state: ServerState, scan: Scan, undone: UndoneRun | None = None
) -> Response:

    async def read(transaction: Transaction) -> dict[str, Any]:
        run = await find_run(transaction, run_id)
        steps = await list_steps(transaction, StepFilter(run_id=run_id), Page(limit=1000))
        messages = await messages_of_run(transaction, run_id)
        talk = transcript_of(messages, unanswered=[run] if run.status != "completed" else ())
        [summary] = await summarise(transaction, [run])
        return {
            "run": run,
            "row": _Row.of(summary, state),
            "steps": steps,
            "costs": [cost_of_steps([step], state) for step in steps],
            "spans": spans_of(run, steps),
            "edits": await edits_of_run(transaction, run_id),
            "names": await agent_names(transaction, [run.agent_id, summary.asking_agent or ""]),
            "talk": talk,
            "conversation": await _conversation(transaction, run),
            "chat": chat_address(run.agent_id, run.conversation_id),
            "undone": undone,
            "palette": await read_palette(transaction),
        }

    return await scan(
        read, lambda shown: render(request, "run.html", calls=code.run_calls(run_id, shown["run"].agent_id), **shown)
    )


async def _conversation(transaction: Transaction, run: Run) -> str | None:
    """Return the title of the conversation that a run belongs to; None where that is being deleted."""
    try:
        return await title_of(transaction, await find_conversation(transaction, run.conversation_id))
    except NotFound:
        return None


@router.post("/runs/{run_id}/revert")
async def revert(request: Request, run_id: RunId, state: State, scan: Scan) -> Response:
    """Take back what a run wrote, and show of each block what became of it."""
    return await _page(request, run_id, state, scan, await runs_api.revert(run_id, state))


@router.post("/runs/{run_id}/cancel")
async def cancel(run_id: RunId, state: State) -> Response:
    """Cancel a run and show what became of it."""
    run = await state.store.read(lambda transaction: find_run(transaction, run_id))
    await api.cancel(run.agent_id, state, api.CancelRuns(run_ids=[run_id]))
    return redirect(f"/runs/{run_id}")


@router.post("/runs/{run_id}/retry")
async def retry(run_id: RunId, state: State) -> Response:
    """Say again what was said to a run in vain, and show the conversation; once only."""
    run = await state.store.read(lambda transaction: find_run(transaction, run_id))
    begun = run.details.get("retried_by")
    if begun is None:
        if not run.is_over or not run.said:
            raise Conflict("There is nothing to say again: what was said is in the conversation, or on its way there.")
        again = {"messages": [sent_again(message) for message in run.said], "stream_tokens": True}
        body = SendMessages.model_validate(again)
        begun = (await start_in_background(run.agent_id, run.conversation_id, body, state)).id
        await state.store.write(lambda transaction: note_retry(transaction, run_id, begun))
    return redirect(chat_address(run.agent_id, run.conversation_id))
