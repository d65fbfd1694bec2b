"""Runs: what is running, done, failed; and one of them, step by step."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from folkmoot.agents.steps import StepFilter, list_steps
from folkmoot.runs.reading import RunFilter, list_runs, messages_of_run
from folkmoot.runs.runs import UNFINISHED, find_run
from folkmoot.server.state import State
from folkmoot.server.wire.common import RunId
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page
from folkmoot.web import code
from folkmoot.web.colours import read_palette
from folkmoot.web.reading import agent_names
from folkmoot.web.responses import page_router, render
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
    request: Request, state: State, status: str = "", agent: str = "", after: str | None = None
) -> Response:
    """List runs, the newest first."""

    async def read(transaction: Transaction) -> dict[str, Any]:
        wanted = RunFilter(statuses=STATUSES.get(status, ()), agent_ids=[agent] if agent else ())
        runs = await list_runs(transaction, wanted, Page(limit=LISTED, after=after, order="desc"))
        names = await agent_names(transaction, [*(run.agent_id for run in runs), *([agent] if agent else ())])
        return {"runs": runs, "names": names, "palette": await read_palette(transaction)}

    return render(
        request,
        "runs.html",
        wanted=status,
        agent=agent,
        listed=LISTED,
        statuses=STATUSES,
        calls=code.runs_calls(),
        **await state.store.read(read),
    )


@router.get("/runs/{run_id}")
async def show(request: Request, run_id: RunId, state: State) -> Response:
    """Show a run: its steps, its messages, what became of it."""

    async def read(transaction: Transaction) -> dict[str, Any]:
        run = await find_run(transaction, run_id)
        steps = await list_steps(transaction, StepFilter(run_id=run_id), Page(limit=1000))
        names = await agent_names(transaction, [run.agent_id])
        messages = await messages_of_run(transaction, run_id)
        talk = transcript_of(messages)
        return {"run": run, "steps": steps, "names": names, "talk": talk, "palette": await read_palette(transaction)}

    shown = await state.store.read(read)
    return render(request, "run.html", calls=code.run_calls(run_id, shown["run"].agent_id), **shown)
