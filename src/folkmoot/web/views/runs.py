"""Runs: what is running, done, failed; and one of them, step by step."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from folkmoot.agents.overview import agent_names
from folkmoot.agents.steps import StepFilter, list_steps
from folkmoot.errors import Conflict
from folkmoot.memory.undo import written_by
from folkmoot.runs.reading import RunFilter, list_runs, messages_of_run
from folkmoot.runs.runs import UNFINISHED, find_run, note_retry
from folkmoot.server.routes import messages as api
from folkmoot.server.routes import runs as runs_api
from folkmoot.server.scanning import Scan
from folkmoot.server.sending import start_in_background
from folkmoot.server.state import State
from folkmoot.server.wire.common import RunId
from folkmoot.server.wire.runs import UndoneRun
from folkmoot.server.wire.sending import SendMessages, sent_again
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page
from folkmoot.web import code
from folkmoot.web.colours import read_palette
from folkmoot.web.responses import page_router, redirect, render
from folkmoot.web.transcript import transcript_of

router = page_router()

LISTED = 100
STATUSES = {
    "running": UNFINISHED,
    "done": ("completed",),
    "failed": ("failed",),
    "cancelled": ("cancelled",),
}
"""What the list can be filtered by, and the statuses that this means."""


@router.get("/runs")
async def list_all(
    request: Request, scan: Scan, status: str = "", agent: str = "", after: str | None = None
) -> Response:
    """List runs, the newest first."""

    async def read(transaction: Transaction) -> dict[str, Any]:
        wanted = RunFilter(statuses=STATUSES.get(status, ()), agent_ids=[agent] if agent else ())
        runs = await list_runs(transaction, wanted, Page(limit=LISTED, after=after, order="desc"))
        names = await agent_names(transaction, [*(run.agent_id for run in runs), *([agent] if agent else ())])
        return {"runs": runs, "names": names, "palette": await read_palette(transaction)}

    values: dict[str, Any] = {
        "wanted": status,
        "agent": agent,
        "listed": LISTED,
        "statuses": STATUSES,
        "calls": code.runs_calls(),
    }
    return await scan(read, lambda shown: render(request, "runs.html", **values, **shown))


@router.get("/runs/{run_id}")
async def show(request: Request, run_id: RunId, scan: Scan) -> Response:
    """Show a run: its steps, its messages, what it wrote, what became of it."""
    return await _page(request, run_id, scan)


async def _page(request: Request, run_id: str, scan: Scan, undone: UndoneRun | None = None) -> Response:

    async def read(transaction: Transaction) -> dict[str, Any]:
        run = await find_run(transaction, run_id)
        steps = await list_steps(transaction, StepFilter(run_id=run_id), Page(limit=1000))
        names = await agent_names(transaction, [run.agent_id])
        messages = await messages_of_run(transaction, run_id)
        talk = transcript_of(messages, unanswered=[run] if run.status != "completed" else ())
        return {
            "run": run,
            "steps": steps,
            "names": names,
            "talk": talk,
            "written": await written_by(transaction, run_id),
            "undone": undone,
            "palette": await read_palette(transaction),
        }

    return await scan(
        read, lambda shown: render(request, "run.html", calls=code.run_calls(run_id, shown["run"].agent_id), **shown)
    )


@router.post("/runs/{run_id}/revert")
async def revert(request: Request, run_id: RunId, state: State, scan: Scan) -> Response:
    """Take back what a run wrote, and show of each block what became of it."""
    return await _page(request, run_id, scan, await runs_api.revert(run_id, state))


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
    main = run.conversation_id == run.agent_id
    begun = run.details.get("retried_by")
    if begun is None:
        if not run.is_over or not run.said:
            raise Conflict("There is nothing to say again: what was said is in the conversation, or on its way there.")
        again = {"messages": [sent_again(message) for message in run.said], "stream_tokens": True}
        body = SendMessages.model_validate(again)
        begun = (await start_in_background(run.agent_id, run.conversation_id, body, state)).id
        await state.store.write(lambda transaction: note_retry(transaction, run_id, begun))
    return redirect(f"/agents/{run.agent_id}" if main else f"/runs/{begun}")
