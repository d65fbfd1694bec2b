"""Steps as they are stored: one model call each, with its usage and the versions of the blocks it was shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from folkmoot.agents.context import SeenBlock
from folkmoot.identifiers import ORGANIZATION
from folkmoot.models.prompt import Usage
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import block_readers, steps


@dataclass(frozen=True, slots=True)
class Step:
    """One model call of a run. `duration` is what the model took, in microseconds."""

    id: str
    run_id: str
    agent_id: str
    model: str
    usage: Usage
    stop_reason: str | None
    finish_reason: str
    duration: int


async def store_step(transaction: Transaction, step: Step, seen: Sequence[SeenBlock]) -> None:
    """Store the step, and for each block that it was shown which version that was."""
    now = clock.now()
    usage = step.usage
    await transaction.insert(
        steps,
        [
            {
                "organization_id": ORGANIZATION,
                "id": step.id,
                "run_id": step.run_id,
                "agent_id": step.agent_id,
                "model": step.model,
                "status": "success",
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
                    }
                ),
                "created_at": now,
            }
        ],
    )
    await transaction.insert(
        block_readers,
        [
            {
                "organization_id": ORGANIZATION,
                "block_id": block.id,
                "version": block.version,
                "step_id": step.id,
                "run_id": step.run_id,
                "agent_id": step.agent_id,
                "created_at": now,
            }
            for block in seen
        ],
    )
