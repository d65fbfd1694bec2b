"""Batches on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, model_validator

from folkmoot.conversations.messages import Message
from folkmoot.identifiers import user_of
from folkmoot.runs.batches import MOST_REQUESTS, Batch
from folkmoot.server.wire.common import AgentId, Reply, Request, Text, moment
from folkmoot.server.wire.sending import MessageCreate, SendMessages
from folkmoot.transfer.message_rows import OWN_KEY, rows_of


class BatchRequest(SendMessages):
    """What is said to one agent."""

    agent_id: AgentId

    @model_validator(mode="after")
    def _says_words(self) -> BatchRequest:
        if any(not isinstance(message, MessageCreate) for message in self.messages or ()):
            raise ValueError("messages: a batch says words; answer a request for approval by itself")
        return self


class CreateBatch(Request):
    """Messages to agents, which are worked through behind."""

    requests: Annotated[list[BatchRequest], Field(min_length=1, max_length=MOST_REQUESTS)]
    callback_url: Text | None = Field(None, description="Where to tell when the batch is over.")


class BatchReply(Reply):
    """A batch; `metadata` has how many of its messages `wait`, `succeeded`, `failed` and were `cancelled`."""

    created_by_id: str
    last_updated_by_id: str
    created_at: datetime
    updated_at: datetime
    status: str
    completed_at: datetime | None
    stop_reason: str | None
    metadata: dict[str, Any]
    job_type: str = "batch"
    background: bool = True
    agent_id: str | None = None
    callback_url: str | None
    callback_sent_at: datetime | None
    callback_status_code: int | None
    callback_error: str | None
    ttft_ns: int | None = None
    total_duration_ns: int | None
    id: str

    @classmethod
    def of(cls, batch: Batch) -> BatchReply:
        """Show a batch."""
        job = batch.job
        user, ended, sent = user_of(job.organization_id), job.completed_at, batch.callback_sent_at
        states = ("waiting", "succeeded", "failed", "cancelled")
        return cls(
            created_by_id=user,
            last_updated_by_id=user,
            created_at=moment(job.created_at),
            updated_at=moment(job.updated_at),
            status=job.status,
            completed_at=None if ended is None else moment(ended),
            stop_reason={"completed": "end_turn", "failed": "error", "cancelled": "cancelled"}.get(job.status),
            metadata={"counts": {state: batch.counts.get(state, 0) for state in states}},
            callback_url=batch.callback_url,
            callback_sent_at=None if sent is None else moment(sent),
            callback_status_code=batch.callback_status_code,
            callback_error=batch.callback_error,
            total_duration_ns=None if ended is None else (ended - (job.started_at or ended)) * 1000,
            id=job.id,
        )


class BatchMessages(Reply):
    """What was said in the turns of a batch."""

    messages: list[dict[str, Any]]


_OUR_OWN = frozenset({"type", OWN_KEY})


def show_batch_message(agent_id: str, message: Message) -> Mapping[str, Any]:
    """Show a message in the wire format's older form, with where it belongs."""
    (row,) = rows_of([message])
    about = {"agent_id": agent_id, "run_id": message.run_id, "step_id": message.step_id}
    return {**{name: value for name, value in row.items() if name not in _OUR_OWN}, **about}
