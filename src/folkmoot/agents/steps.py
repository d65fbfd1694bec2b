"""Steps as they are stored: one model call each, with its usage and the versions of the blocks it was shown.

A call that failed is one too: it is stored with its run's end, without blocks, since nothing came of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import bindparam, or_, select, update

from folkmoot.agents.context import Seen
from folkmoot.errors import NotFound
from folkmoot.models.exchanges import read_body
from folkmoot.models.prompt import Prompt, Reply, Usage
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.several import Several
from folkmoot.store.tables import agents, block_readers, blocks, runs, step_traces, steps


@dataclass(frozen=True, slots=True)
class KeptTrace:
    """A step's request and response as they are stored: JSON, the request without what it repeats of another one."""

    request: str
    response: str
    base_step_id: str | None = None
    base_length: int | None = None

    @property
    def size(self) -> int:
        """How many characters it takes."""
        return len(self.request) + len(self.response)


@dataclass(frozen=True, slots=True)
class Step:
    """One model call of a run. `duration` is what the model took, `tool_duration` its tools, in microseconds."""

    id: str
    run_id: str
    agent_id: str
    model: str
    usage: Usage
    stop_reason: str | None
    finish_reason: str
    duration: int
    tool_duration: int
    trace: KeptTrace | None = None
    error_type: str | None = None
    """Of a call that failed; what else is said of that is in its run."""


async def store_step(transaction: Transaction, step: Step, seen: Seen) -> None:
    """Store the step, and for each block that it was shown which version that was."""
    now = clock.now()
    usage = step.usage
    await transaction.insert(
        steps,
        [
            {
                "id": step.id,
                "run_id": step.run_id,
                "agent_id": step.agent_id,
                "model": step.model,
                "status": "success" if step.error_type is None else "failed",
                "stop_reason": step.stop_reason,
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "details": json.dumps(
                    {
                        "cached_input_tokens": usage.cached_input_tokens,
                        "cache_write_tokens": usage.cache_write_tokens,
                        "reasoning_tokens": usage.reasoning_tokens,
                        "finish_reason": step.finish_reason,
                        "model_microseconds": step.duration,
                        "tool_microseconds": step.tool_duration,
                        **({"error_type": step.error_type} if step.error_type is not None else {}),
                    }
                ),
                "created_at": now,
            }
        ],
    )
    if step.trace is not None:
        await _store_trace(transaction, step, now)
    await _store_readings(transaction, step, seen, now)


async def _store_readings(transaction: Transaction, step: Step, seen: Seen, now: int) -> None:
    """Store who read what, but for blocks that were deleted meanwhile: nothing would take those rows away."""
    if not seen.blocks:
        return
    statement, ids = _still_there([block.id for block in seen.blocks])
    there = {row["id"] for row in await transaction.all(statement, **ids)}
    await transaction.insert(
        block_readers,
        [
            {
                "block_id": block.id,
                "version": block.version,
                "step_id": step.id,
                "run_id": step.run_id,
                "agent_id": step.agent_id,
                "created_at": now,
            }
            for block in seen.blocks
            if block.id in there
        ],
    )


_still_there = Several(lambda ids: select(blocks.c.id).where(blocks.c.id.in_(ids), is_kept(blocks.c.id)))


async def _store_trace(transaction: Transaction, step: Step, now: int) -> None:
    assert step.trace is not None
    keys = {"step_id": step.id, "run_id": step.run_id, "created_at": now, "size": step.trace.size}
    await transaction.insert(step_traces, [{**keys, **asdict(step.trace)}])


@dataclass(frozen=True, slots=True)
class StoredStep:
    """A step as it was stored, whole at `created_at`; its model took `duration`, its tools `tool_duration`.

    All in microseconds.
    """

    id: str
    organization_id: str
    run_id: str
    agent_id: str
    model: str
    status: str
    usage: Usage
    stop_reason: str | None
    feedback: str | None
    feedback_tags: Sequence[str]
    duration: int
    tool_duration: int
    created_at: int
    error_type: str | None
    error: str | None = None
    """Why it failed, as long as its run is kept."""

    @classmethod
    def from_row(cls, row: Row) -> StoredStep:
        """Read a row of the steps table."""
        details = json.loads(row["details"])
        usage = Usage(
            prompt_tokens=row["prompt_tokens"],
            completion_tokens=row["completion_tokens"],
            cached_input_tokens=details["cached_input_tokens"],
            cache_write_tokens=details["cache_write_tokens"],
            reasoning_tokens=details["reasoning_tokens"],
        )
        return cls(
            id=row["id"],
            organization_id=row["organization_id"],
            run_id=row["run_id"],
            agent_id=row["agent_id"],
            model=row["model"],
            status=row["status"],
            usage=usage,
            stop_reason=row["stop_reason"],
            feedback=row["feedback"],
            feedback_tags=json.loads(row["feedback_tags"] or "[]"),
            duration=details["model_microseconds"],
            tool_duration=details.get("tool_microseconds", 0),
            created_at=row["created_at"],
            error_type=details.get("error_type"),
        )


@dataclass(frozen=True, slots=True)
class StepFilter:
    """Which steps are wanted; what is None does not matter. Times are in microseconds."""

    run_id: str | None = None
    agent_id: str | None = None
    model: str | None = None
    """A model's handle, or its name without its provider."""
    start: int | None = None
    end: int | None = None
    feedback: str | None = None
    has_feedback: bool | None = None
    project_id: str | None = None
    nothing: bool = False
    """Whether no step can be wanted: they were asked for by what none has."""

    tags: Sequence[str] = ()
    """Tags that its feedback has, at least one of them."""


async def list_steps(transaction: Transaction, wanted: StepFilter, page: Page) -> list[StoredStep]:
    """Return a page of the steps, by time."""
    if wanted.nothing:
        return []
    statement = select(steps)
    if wanted.run_id is not None:
        statement = statement.where(steps.c.run_id == wanted.run_id)
    if wanted.agent_id is not None:
        statement = statement.where(steps.c.agent_id == wanted.agent_id)
    if wanted.model is not None:
        named = steps.c.model.endswith(f"/{wanted.model}", autoescape=True)
        statement = statement.where(or_(steps.c.model == wanted.model, named))
    if wanted.start is not None:
        statement = statement.where(steps.c.created_at >= wanted.start)
    if wanted.end is not None:
        statement = statement.where(steps.c.created_at < wanted.end)
    if wanted.feedback is not None:
        statement = statement.where(steps.c.feedback == wanted.feedback)
    if wanted.has_feedback is not None:
        # By its values, or SQLite would rather walk through all steps by age.
        rated = steps.c.feedback.in_(("positive", "negative"))
        statement = statement.where(rated if wanted.has_feedback else steps.c.feedback.is_(None))
    if wanted.project_id is not None:
        of_project = select(agents.c.id).where(agents.c.project_id == wanted.project_id)
        statement = statement.where(steps.c.agent_id.in_(of_project))
    if wanted.tags:
        has = steps.c.feedback_tags.contains
        statement = statement.where(or_(*(has(json.dumps(tag), autoescape=True) for tag in wanted.tags)))
    found = [StoredStep.from_row(row) for row in await fetch_page(transaction, statement, steps, page)]
    return await _with_errors(transaction, found)


async def _with_errors(transaction: Transaction, found: list[StoredStep]) -> list[StoredStep]:
    """Return steps with what their runs say of those that failed: words, which stand in the run and go with it."""
    failed = list({step.run_id for step in found if step.error_type is not None})
    if not failed:
        return found
    rows = await transaction.all(select(runs.c.id, runs.c.details).where(runs.c.id.in_(failed)))
    errors = {row["id"]: json.loads(row["details"]).get("error") or {} for row in rows}
    return [
        step if step.error_type is None else replace(step, error=errors.get(step.run_id, {}).get("message"))
        for step in found
    ]


async def find_step(transaction: Transaction, step_id: str) -> StoredStep:
    """Return the step.

    Raises:
        NotFound: there is no such step.
    """
    row = await transaction.first(_by_id, step_id=step_id)
    if row is None:
        raise NotFound(f"Step with id '{step_id}' not found")
    [step] = await _with_errors(transaction, [StoredStep.from_row(row)])
    return step


async def set_feedback(transaction: Transaction, step_id: str, feedback: str | None, tags: Sequence[str]) -> StoredStep:
    """Store what somebody thinks of the step, `positive`, `negative` or None, and how they tagged that.

    Raises:
        NotFound: there is no such step.
    """
    await transaction.run(
        update(steps).where(steps.c.id == step_id).values(feedback=feedback, feedback_tags=json.dumps(list(tags)))
    )
    return await find_step(transaction, step_id)


async def usage_of_steps(transaction: Transaction, run_id: str) -> tuple[Usage, int]:
    """Return what the steps of a run took, and how many of them came to their end."""
    rows = await transaction.all(_of_run, run_id=run_id)
    whole = [StoredStep.from_row(row) for row in rows if row["status"] != "failed"]
    return sum((step.usage for step in whole), Usage()), len(whole)


def trace_of(prompt: Prompt, reply: Reply) -> Mapping[str, str]:
    """Return what the provider was sent and what it answered, in its own JSON, for the trace of a step.

    Of a stream only the request is kept as it was, and the offline model has neither; then it is Folkmoot's own.
    """
    kept = reply.trace or {}
    return {
        "request": kept.get("request") or json.dumps(asdict(prompt)),
        "response": kept.get("response") or json.dumps(_own_words(reply)),
    }


def _own_words(reply: Reply) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(replace(reply, trace=None)).items() if name != "trace"}


@dataclass(frozen=True, slots=True)
class Trace:
    """What a step's provider was sent and what it answered, in its own JSON."""

    step_id: str
    request: Mapping[str, Any]
    response: Mapping[str, Any]


async def traces_of_run(transaction: Transaction, run_id: str, limit: int) -> list[Trace]:
    """Return the traces of the run's steps that have one, oldest first."""
    rows = await transaction.all(_traces_of_run, run_id=run_id, most=limit)
    found = [await _whole(transaction, row) for row in rows]
    return [trace for trace in found if trace is not None]


async def trace_of_step(transaction: Transaction, step_id: str) -> Trace | None:
    """Return the step's trace; None where the server kept none, or keeps it no more."""
    row = await transaction.first(_trace_of_step, step_id=step_id)
    return None if row is None else await _whole(transaction, row)


async def _whole(transaction: Transaction, row: Row) -> Trace | None:
    """Return a trace with what its request repeats of another one; None where that is not kept any more."""
    request = row["request"]
    if row["base_step_id"] is not None:
        base = await transaction.first(_trace_of_step, step_id=row["base_step_id"])
        if base is None:
            return None
        request = base["request"][: row["base_length"]] + request
    return Trace(row["step_id"], _object(request), _object(row["response"]))


def _object(body: str) -> Mapping[str, Any]:
    """Return a body as the object that it nearly always is."""
    value = read_body(body)
    return value if isinstance(value, dict) else {"body": value}


_by_id = select(steps).where(steps.c.id == bindparam("step_id"))
_trace_of_step = select(step_traces).where(step_traces.c.step_id == bindparam("step_id"))
_traces_of_run = (
    select(step_traces)
    .where(step_traces.c.run_id == bindparam("run_id"))
    .order_by(step_traces.c.created_at, step_traces.c.step_id)
    .limit(bindparam("most"))
)
_of_run = select(steps).where(steps.c.run_id == bindparam("run_id"))
