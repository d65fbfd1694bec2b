"""Runs and steps on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from folkmoot.agents.steps import StoredStep, Trace
from folkmoot.conversations.messages import Message
from folkmoot.memory.undo import UndoneBlock
from folkmoot.models.listing import ModelDescription
from folkmoot.models.prompt import Usage
from folkmoot.runs.runs import Run
from folkmoot.server.wire.blocks import VersionReply
from folkmoot.server.wire.common import Reply, moment
from folkmoot.server.wire.sending import sent_again


class RunReply(Reply):
    """A run; `error`, `asked_by`, `input_messages` and `partial_answer` are Folkmoot's own fields."""

    id: str
    status: str
    created_at: datetime
    completed_at: datetime | None
    agent_id: str
    conversation_id: str | None
    base_template_id: str | None = None
    background: bool
    metadata: dict[str, Any] | None
    request_config: dict[str, Any] | None
    stop_reason: str | None
    callback_url: str | None
    callback_sent_at: datetime | None
    callback_status_code: int | None
    callback_error: str | None
    ttft_ns: int | None
    total_duration_ns: int | None
    error: dict[str, Any] | None
    asked_by: str | None = Field(None, description="The name of the key that asked for it, as histories tell it.")
    input_messages: list[dict[str, Any]] | None = Field(
        None,
        description="What was said to a run that failed or was cancelled, where it is not in the conversation, in the "
        "form in which it is sent; null in lists.",
    )
    partial_answer: str | None = Field(
        None,
        description="What such a run's model had written of an answer that is not in the conversation; null in lists.",
    )

    @classmethod
    def of(cls, run: Run, *, whole: bool = False) -> RunReply:
        """Show a run; `whole` with all that was said to it in vain, which may be long."""
        details = run.details
        sent = details.get("callback_sent_at")
        return cls(
            id=run.id,
            status=run.status,
            created_at=moment(run.created_at),
            completed_at=None if run.completed_at is None else moment(run.completed_at),
            agent_id=run.agent_id,
            conversation_id=None if run.conversation_id == run.agent_id else run.conversation_id,
            background=run.background,
            metadata=details.get("metadata"),
            request_config=details.get("request_config"),
            stop_reason=run.stop_reason,
            callback_url=details.get("callback_url"),
            callback_sent_at=None if sent is None else moment(sent),
            callback_status_code=details.get("callback_status_code"),
            callback_error=details.get("callback_error"),
            ttft_ns=details.get("ttft_ns"),
            total_duration_ns=run.duration_ns,
            error=details.get("error"),
            asked_by=(details.get("principal") or {}).get("name"),
            input_messages=[sent_again(message) for message in run.said] or None if whole and run.is_over else None,
            partial_answer=details.get("partial_answer") if whole else None,
        )


class RunUsage(Reply):
    """Tokens that a run took."""

    completion_tokens: int
    prompt_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None

    @classmethod
    def of(cls, usage: Usage) -> RunUsage:
        """Show a run's usage."""
        return cls(
            completion_tokens=usage.completion_tokens,
            prompt_tokens=usage.prompt_tokens,
            total_tokens=usage.completion_tokens + usage.prompt_tokens,
            prompt_tokens_details=prompt_details(usage),
            completion_tokens_details={"reasoning_tokens": usage.reasoning_tokens},
        )


def prompt_details(usage: Usage) -> dict[str, int]:
    """Show the parts of a prompt's tokens."""
    return {
        "cached_tokens": usage.cached_input_tokens,
        "cache_read_tokens": usage.cached_input_tokens,
        "cache_creation_tokens": usage.cache_write_tokens,
    }


class UndoneBlockReply(Reply):
    """A block that a run wrote to, and what became of that."""

    block_id: str
    label: str | None
    run_versions: list[int] = Field(description="Versions that the run wrote.")
    reverted: bool
    version: int | None = Field(description="The block's version without what the run wrote; null when it was left.")
    reason: str | None = Field(description="Why it was left as it is.")
    overtaken_by: list[VersionReply] = Field(description="Versions of others, because of which it was left.")

    @classmethod
    def of(cls, undone: UndoneBlock) -> UndoneBlockReply:
        """Show what became of a block."""
        return cls(
            block_id=undone.block_id,
            label=undone.label,
            run_versions=list(undone.versions),
            reverted=undone.version is not None,
            version=undone.version,
            reason=undone.reason,
            overtaken_by=[VersionReply.of(version) for version in undone.overtaken_by],
        )


class UndoneRun(Reply):
    """What was taken back of a run."""

    run_id: str
    blocks: list[UndoneBlockReply]

    @classmethod
    def of(cls, run_id: str, undone: Sequence[UndoneBlock]) -> UndoneRun:
        """Show what was taken back."""
        return cls(run_id=run_id, blocks=[UndoneBlockReply.of(each) for each in undone])


class RunMetrics(Reply):
    """How long a run took, and with what."""

    id: str
    organization_id: str
    agent_id: str
    project_id: str | None = None
    run_start_ns: int | None
    run_ns: int | None
    num_steps: int
    tools_used: list[str] | None
    template_id: str | None = None
    base_template_id: str | None = None

    @classmethod
    def of(cls, run: Run, messages: Sequence[Message], steps: int) -> RunMetrics:
        """Show a run's metrics, told from its row, its messages and how many steps it has."""
        names = dict.fromkeys(str(each.name) for each in messages if each.message_type == "tool_return_message")
        return cls(
            id=run.id,
            organization_id=run.organization_id or "",
            agent_id=run.agent_id,
            run_start_ns=None if run.started_at is None else run.started_at * 1000,
            run_ns=run.duration_ns,
            num_steps=steps,
            tools_used=list(names) or None,
        )


class StepReply(Reply):
    """One model call of a run."""

    id: str
    origin: str | None = None
    organization_id: str
    provider_id: str | None = None
    run_id: str | None
    agent_id: str | None
    provider_name: str | None
    provider_category: str | None = "base"
    model: str | None
    model_handle: str | None
    model_endpoint: str | None
    context_window_limit: int | None
    completion_tokens: int | None
    prompt_tokens: int | None
    total_tokens: int | None
    cached_input_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    completion_tokens_details: dict[str, Any]
    prompt_tokens_details: dict[str, Any]
    stop_reason: str | None
    tags: Sequence[str] = ()
    tid: str | None = None
    trace_id: str | None = None
    request_id: str | None = None
    messages: list[dict[str, Any]] = []
    feedback: str | None
    project_id: str | None = None
    error_type: str | None = None
    error_data: dict[str, Any] | None = None
    status: str

    @classmethod
    def of(cls, step: StoredStep, model: ModelDescription) -> StepReply:
        """Show a step of a run with `model`."""
        usage = step.usage
        return cls(
            id=step.id,
            organization_id=step.organization_id,
            run_id=step.run_id,
            agent_id=step.agent_id,
            provider_name=model.provider,
            model=model.name,
            model_handle=step.model,
            model_endpoint=model.endpoint or None,
            context_window_limit=model.context_window,
            completion_tokens=usage.completion_tokens,
            prompt_tokens=usage.prompt_tokens,
            total_tokens=usage.completion_tokens + usage.prompt_tokens,
            cached_input_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            completion_tokens_details={"reasoning_tokens": usage.reasoning_tokens},
            prompt_tokens_details=prompt_details(usage),
            stop_reason=step.stop_reason,
            tags=step.feedback_tags,
            feedback=step.feedback,
            error_type=step.error_type,
            error_data=None if step.error is None else {"message": step.error},
            status=step.status,
        )


class TraceReply(Reply):
    """What a model call was sent and what it answered."""

    id: str
    step_id: str
    run_id: str | None
    agent_id: str | None
    org_id: str
    created_at: datetime
    updated_at: datetime
    call_type: Literal["agent_step"] = "agent_step"
    latency_ms: int
    request_json: dict[str, Any]
    response_json: dict[str, Any]

    @classmethod
    def of(cls, step: StoredStep, trace: Trace) -> TraceReply:
        """Show a step's trace."""
        stored_at = moment(step.created_at)
        return cls(
            id=step.id.replace("step-", "provider_trace-", 1),
            step_id=step.id,
            run_id=step.run_id,
            agent_id=step.agent_id,
            org_id=step.organization_id,
            created_at=stored_at,
            updated_at=stored_at,
            latency_ms=step.duration // 1000,
            request_json=dict(trace.request),
            response_json=dict(trace.response),
        )


class StepMetrics(Reply):
    """How long a step's parts took."""

    id: str
    organization_id: str
    provider_id: str | None = None
    run_id: str | None
    agent_id: str | None
    step_start_ns: int | None
    llm_request_start_ns: int | None
    llm_request_ns: int | None
    tool_execution_ns: int | None
    step_ns: int | None
    base_template_id: str | None = None
    template_id: str | None = None
    project_id: str | None = None

    @classmethod
    def of(cls, step: StoredStep) -> StepMetrics:
        """Show a step's metrics."""
        took = step.duration + step.tool_duration
        started = (step.created_at - took) * 1000
        return cls(
            id=step.id,
            organization_id=step.organization_id,
            run_id=step.run_id,
            agent_id=step.agent_id,
            step_start_ns=started,
            llm_request_start_ns=started,
            llm_request_ns=step.duration * 1000,
            tool_execution_ns=step.tool_duration * 1000 or None,
            step_ns=took * 1000,
        )
