"""Runs and their steps, for their figures and because messages name them; what was measured of them is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from folkmoot.store.tables import agents, runs, steps
from folkmoot.transfer.message_rows import clean
from folkmoot.transfer.retired.context import AT_ONCE, DAMAGED, Context, object_of, time_of

_OVER = ("completed", "failed", "cancelled")


class Runs:
    """The tables of runs and steps."""

    name = "runs"
    tables = frozenset({"runs", "run_metrics", "steps", "step_metrics"})

    async def take(self, context: Context) -> None:
        """Take runs, each with its steps."""
        for table in ("runs", "steps"):
            condition, values = context.where(table)
            waiting: list[Mapping[str, Any]] = []
            async for row in context.source.rows(table, condition, *values, order="created_at, id"):
                waiting.append(row)
                if len(waiting) == AT_ONCE:
                    await _put(context, table, waiting)
                    waiting = []
            if waiting:
                await _put(context, table, waiting)


async def _put(context: Context, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    into = runs if table == "runs" else steps
    ids = [row["id"] for row in rows]
    here = select(into.c.id).where(into.c.id.in_(ids))
    there = {row["id"] for row in await context.store.read(lambda transaction: transaction.all(here))}
    metrics_of = "run_metrics" if table == "runs" else "step_metrics"
    measured = {row["id"]: row for row in await context.source.all(metrics_of, "id = ANY($1)", ids)}
    known, new = await context.ids(agents), []
    for row in rows:
        if row["id"] in there:
            continue
        try:
            if row.get("agent_id") not in known:
                raise ValueError(f"is of the agent {row.get('agent_id')}, which did not come")
            made = _run if table == "runs" else _step
            new.append(made(row, measured.get(row["id"], {})))
        except DAMAGED as error:
            context.problem(table, row, error)
    if new:
        await context.write(lambda transaction: transaction.insert(into, new))
    came = {row["id"] for row in new}
    context.done.there[table] += len(there)
    context.done.there[metrics_of] += len(there & {*measured})
    context.done.taken[table] += len(came)
    context.done.taken[metrics_of] += len(came & {*measured})
    context.progress(table, context.done.taken[table] + context.done.there[table], context.done.source[table])


def _run(row: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    status, began = row["status"].lower(), time_of(row)
    took = row.get("total_duration_ns") or measured.get("run_ns")
    ended = time_of(row, "completed_at") if row.get("completed_at") else time_of(row, "updated_at")
    if took:
        ended = began + int(took) // 1000
    details = {
        "metadata": object_of(row.get("metadata_")),
        "request_config": clean(row.get("request_config")),
        "ttft_ns": row.get("ttft_ns"),
        "callback_url": row.get("callback_url"),
    }
    return {
        "id": row["id"],
        "agent_id": row["agent_id"],
        "conversation_id": row.get("conversation_id") or row["agent_id"],
        # Some stayed `created` for ever there, and what was running there is not going on here.
        "status": status if status in _OVER else "completed" if status == "created" else "failed",
        "stop_reason": row.get("stop_reason") or (None if status == "created" else "error"),
        "background": bool(row.get("background")),
        "cancel_requested": False,
        "details": json.dumps({name: value for name, value in details.items() if value}),
        "created_at": began,
        "started_at": began,
        "completed_at": max(ended, began),
    }


def _step(row: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    prompt, reply = object_of(row.get("prompt_tokens_details")), object_of(row.get("completion_tokens_details"))
    tags = row.get("tags")
    return {
        "id": row["id"],
        "run_id": row.get("run_id") or "",
        "agent_id": row["agent_id"],
        "model": row.get("model_handle") or f"{row.get('provider_name')}/{row.get('model')}",
        "status": str(row.get("status") or "success").lower(),
        "stop_reason": row.get("stop_reason"),
        "prompt_tokens": row.get("prompt_tokens") or 0,
        "completion_tokens": row.get("completion_tokens") or 0,
        "details": json.dumps(
            {
                "cached_input_tokens": row.get("cached_input_tokens") or prompt.get("cached_tokens") or 0,
                "cache_write_tokens": row.get("cache_write_tokens") or prompt.get("cache_creation_tokens") or 0,
                "reasoning_tokens": row.get("reasoning_tokens") or reply.get("reasoning_tokens") or 0,
                "finish_reason": "stop",
                "model_microseconds": (measured.get("llm_request_ns") or 0) // 1000,
                "tool_microseconds": (measured.get("tool_execution_ns") or 0) // 1000,
            }
        ),
        "created_at": time_of(row),
        "feedback": row.get("feedback"),
        "feedback_tags": json.dumps(clean(tags)) if isinstance(tags, list) and tags else None,
    }
