"""What somebody asks of an agent, and the whole answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.agents.approvals import Decisions
from folkmoot.agents.events import TurnEnd
from folkmoot.conversations.messages import Message
from folkmoot.models.prompt import ToolSchema
from folkmoot.runs.runs import Run


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks of an agent: messages or decisions, and how to answer them."""

    agent_id: str
    messages: Sequence[Message]
    max_steps: int
    conversation_id: str | None = None
    decisions: Decisions | None = None
    client_tools: Sequence[ToolSchema] = ()
    model: str | None = None
    instructions: str | None = None
    background: bool = False
    stream_tokens: bool = False
    chain: Sequence[str] = ()
    """The agents that wait for this answer, the first asker first."""

    hops: int = 0
    """How many messages between agents have set each other off up to this one."""

    asked_by: str | None = None
    """The conversation whose turn waits for this answer."""

    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole turn: its messages, why it stopped, what it took."""

    run: Run
    messages: Sequence[Message]
    end: TurnEnd
