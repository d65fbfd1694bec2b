"""Batches on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from folkmoot.conversations.messages import Message
from folkmoot.runs.batches import MOST_REQUESTS, Batch
from folkmoot.server.wire.common import AgentId, Reply, Request, Text, moment
from folkmoot.server.wire.jobs import JobFields
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


class BatchReply(JobFields):
    """A batch; `metadata` has how many of its messages `wait`, `succeeded`, `failed` and were `cancelled`."""

    metadata: dict[str, Any]
    job_type: str = "batch"

    @classmethod
    def of(cls, batch: Batch) -> BatchReply:
        """Show a batch."""
        sent = batch.callback_sent_at
        states = ("waiting", "succeeded", "failed", "cancelled")
        return cls(
            **cls.values(batch.job),
            metadata={"counts": {state: batch.counts.get(state, 0) for state in states}},
            callback_url=batch.callback_url,
            callback_sent_at=None if sent is None else moment(sent),
            callback_status_code=batch.callback_status_code,
            callback_error=batch.callback_error,
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
