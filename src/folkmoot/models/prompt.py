"""What the turn loop says to a model and what it hears back, in no provider's terms.

`models/requests.py` turns a `Prompt` into a provider's request and the answer into a `Reply`. Nothing here imports a
provider's package, so that the server starts without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that somebody sent or a tool returned: either an address or base64 data with its media type."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class UserMessage:
    """What somebody said to the agent."""

    content: str | Sequence[str | Image]


@dataclass(frozen=True, slots=True)
class SystemMessage:
    """A system message in the middle of a conversation."""

    content: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model thought before it answered, with what its provider needs to have sent back."""

    text: str
    signature: str | None = None
    provider: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to run a tool. `arguments` is the JSON text as the model wrote it, valid or not."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """What the model answered."""

    text: str = ""
    reasoning: Sequence[Reasoning] = ()
    tool_calls: Sequence[ToolCall] = ()


@dataclass(frozen=True, slots=True)
class ToolReturn:
    """What a tool answered to the call of the same id."""

    call_id: str
    name: str
    content: str
    failed: bool = False
    pictures: Sequence[Image] = ()
    """Those that `content` names, in its order."""


PromptMessage: TypeAlias = UserMessage | SystemMessage | AssistantMessage | ToolReturn


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A tool as the model sees it. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How the model shall answer; None leaves it to the provider.

    What a model does not know is not said to it, and what it would refuse beside another option is left out.
    """

    temperature: float | None = None
    max_output_tokens: int | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    """How much the model thinks: `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`."""
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or a tool's name."""
    response_format: Mapping[str, Any] | None = None
    """`{"type": "json_schema", "json_schema": …}`, with a schema or `{"name": …, "schema": …}`; or `json_object`."""
    reasoning: bool | None = None
    """Whether the model thinks before it answers."""
    reasoning_budget: int | None = None
    """The most tokens it may think; -1 leaves that to the model."""
    show_reasoning: bool | None = None
    """Whether it tells what it thinks, where it could keep that to itself."""
    effort: str | None = None
    """How thorough the whole answer is, thinking or not: `low`, `medium`, `high`, `xhigh` or `max`."""
    verbosity: str | None = None
    """How long the answer is: `low`, `medium` or `high`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a model.

    `instructions`, `tools` and `messages` are a stable prefix: a later step of the same turn sends them byte for byte
    again and adds messages at the end, so that providers' prompt caches hit. `memory` is the agent's blocks as they are
    now; it is sent after everything else and never becomes part of the history.
    """

    instructions: str
    messages: Sequence[PromptMessage]
    memory: str = ""
    tools: Sequence[ToolSchema] = ()
    options: ModelOptions = ModelOptions()
    conversation_id: str = ""
    """Whose turns these are, where later requests will go on from them."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more model calls, as the provider counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return the sum, figure by figure."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class Reply(AssistantMessage):
    """A model's whole answer: the message that later prompts hold, and what its provider says of the call.

    `finish_reason` is `stop`, `length`, `content_filter`, `tool_call` or `error`.
    """

    usage: Usage = Usage()
    finish_reason: str = "stop"
    trace: Mapping[str, str] | None = None
    """The provider's `request` and `response` as JSON, where traces are kept; a stream has no `response`."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of what the model thinks; `place` is another one for each piece of reasoning in a reply."""

    text: str
    place: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a tool call: the name comes with the first piece, then the arguments' JSON text bit by bit."""

    id: str
    name: str | None = None
    arguments: str = ""


Delta: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta
