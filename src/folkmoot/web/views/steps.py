"""A step, seen whole: what the model was sent, what it answered, what it saw of memory, what it changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from folkmoot.agents.overview import agent_names
from folkmoot.agents.steps import StepFilter, StoredStep, Trace, find_step, list_steps, trace_of_step
from folkmoot.conversations.messages import messages_of_step
from folkmoot.errors import NotFound
from folkmoot.identifiers import check_id
from folkmoot.memory.history import EditOfBlock, edits_of_run, find_version, shown_in_step
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.runs import Run, find_run
from folkmoot.server.scanning import Scan, Scanning
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import RunId, StepId
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.web import code
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.costs import cost_of_steps
from folkmoot.web.diffs import ShownLine, around_changes
from folkmoot.web.requests_read import SentRequest, read_sent
from folkmoot.web.responses import page_router, render
from folkmoot.web.transcript import TranscriptEntry, UnansweredTurn, transcript_of

router = page_router()

LONGEST_JSON = 300_000
"""Characters of a request or an answer that are shown as JSON on the page."""

MOST_DIFFERENCES = 600
"""Lines of a comparison that are shown."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """A block as the model was shown it."""

    block_id: str
    label: str
    version: int
    text: str


@dataclass(frozen=True, slots=True)
class _Step:
    """A step with all that is kept of it."""

    number: int
    step: StoredStep
    trace: Trace | None
    memory: Sequence[_Memory]
    edits: Sequence[EditOfBlock]
    talk: Sequence[TranscriptEntry | UnansweredTurn]

    @property
    def sent(self) -> SentRequest | None:
        """What the model was sent, where that is kept."""
        return None if self.trace is None else read_sent(self.trace.request)

    def json(self, of: Mapping[str, Any]) -> str:
        """Return a body as the page shows it."""
        return json.dumps(of, indent=2, ensure_ascii=False)[:LONGEST_JSON]


@dataclass(frozen=True, slots=True)
class _About:
    """What the page shows."""

    run: Run
    steps: Sequence[StoredStep]
    shown: _Step
    other: _Step | None
    """The step that it is compared with."""

    step_before: str | None
    """The last step of the run before that came to its end, which it can be compared with too."""

    names: Mapping[str, str]
    palette: Palette

    @property
    def others(self) -> list[int]:
        """The numbers of the steps of its run that it can be compared with: of one that failed too little is kept."""
        if self.shown.step.error_type is not None:
            return []
        whole = [number for number, step in enumerate(self.steps, 1) if step.error_type is None]
        return [number for number in whole if number != self.shown.number]


@router.get("/runs/{run_id}/steps/{number}")
async def show(request: Request, run_id: RunId, number: int, state: State, scan: Scan, compare: str = "") -> Response:
    """Show a run's step by its number; `compare` is the number of another one, or the identifier of any step."""
    return await _page(request, scan, state, run_id, number, compare)


@router.get("/steps/{step_id}")
async def show_by_id(request: Request, step_id: StepId, state: State, scan: Scan) -> Response:
    """Show a step."""
    run_id, number = await scan(lambda transaction: _place(transaction, step_id), lambda found: found)
    return await _page(request, scan, state, run_id, number, "")


async def _page(
    request: Request, scan: Scanning, state: ServerState, run_id: str, number: int, compare: str
) -> Response:
    async def read(transaction: Transaction) -> _About:
        run = await find_run(transaction, run_id)
        steps = await _steps_of(transaction, run_id)
        shown = await _read(transaction, steps, number)
        other = None
        if compare.isdecimal():
            other = await _read(transaction, steps, int(compare)) if int(compare) != number else None
        elif compare:
            of, place = await _place(transaction, check_id("step", compare, "compare"))
            other = await _read(transaction, await _steps_of(transaction, of), place)
        names = await agent_names(transaction, [run.agent_id])
        before = await _step_before(transaction, run) if shown.step.error_type is None else None
        return _About(run, steps, shown, other, before, names, await read_palette(transaction))

    def show(about: _About) -> Response:
        step = about.shown.step
        return render(
            request,
            "step.html",
            about=about,
            run=about.run,
            step=step,
            shown=about.shown,
            other=about.other,
            names=about.names,
            palette=about.palette,
            differences=_differences(about.shown, about.other),
            cost=cost_of_steps([step], state),
            longest=LONGEST_JSON,
            kept=state.services.settings.trace,
            calls=code.step_calls(step.id),
        )

    return await scan(read, show)


async def _steps_of(transaction: Transaction, run_id: str) -> list[StoredStep]:
    return await list_steps(transaction, StepFilter(run_id=run_id), Page(limit=LARGEST_PAGE))


async def _place(transaction: Transaction, step_id: str) -> tuple[str, int]:
    """Return the run of a step, and its number there."""
    step = await find_step(transaction, step_id)
    steps = await _steps_of(transaction, step.run_id)
    return step.run_id, next(number for number, each in enumerate(steps, 1) if each.id == step_id)


async def _step_before(transaction: Transaction, run: Run) -> str | None:
    """Return the last step that came to its end, of the run before this one in its conversation."""
    wanted = RunFilter(conversation_id=run.conversation_id, end=run.created_at)
    for earlier in await list_runs(transaction, wanted, Page(limit=1, order="desc")):
        newest = await list_steps(transaction, StepFilter(run_id=earlier.id), Page(limit=2, order="desc"))
        return next((step.id for step in newest if step.error_type is None), None)  # only the last can have failed
    return None


async def _read(transaction: Transaction, steps: Sequence[StoredStep], number: int) -> _Step:
    if not 1 <= number <= len(steps):
        raise NotFound(f"This run has no step {number}; it has {len(steps)}.")
    step = steps[number - 1]
    memory = [
        _Memory(block_id, label, version, (await find_version(transaction, block_id, version))[1])
        for block_id, label, version in await shown_in_step(transaction, step.id)
    ]
    edits = await edits_of_run(transaction, step.run_id)
    own = [each for each in edits if each.version.author.step_id == step.id]
    messages = await messages_of_step(transaction, step.id)
    talk = transcript_of([message for message in messages if message.message_type != "user_message"])
    return _Step(number, step, await trace_of_step(transaction, step.id), memory, own, talk)


def _differences(shown: _Step, other: _Step | None) -> Sequence[ShownLine] | None:
    """Return what was sent to the model otherwise than in the other step; None where that is not kept of both."""
    if other is None or other.trace is None or shown.trace is None:
        return None
    first, second = sorted((shown, other), key=lambda each: each.step.created_at)
    assert first.trace is not None and second.trace is not None
    # Lines of a text are lines of their own, or a changed word would show the whole text as another one.
    before, after = (first.json(first.trace.request), second.json(second.trace.request))
    return around_changes(before.replace("\\n", "\n"), after.replace("\\n", "\n"), 1)[:MOST_DIFFERENCES]
