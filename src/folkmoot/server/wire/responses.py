"""OpenAI's Responses API on the wire: what a caller asks of an agent, and a response, which is a run of that agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from folkmoot.agents.events import TurnEnd
from folkmoot.conversations.messages import Message
from folkmoot.models.prompt import Usage
from folkmoot.runs.runs import Run
from folkmoot.server.wire.common import MOST_ITEMS, JsonObject, Reply, Request, Text
from folkmoot.server.wire.response_output import ResponseOutput, message_of_item
from folkmoot.server.wire.sending import MOST_MESSAGES, ClientTool, SendMessages

BY_AGENT = frozenset({"function_call", "reasoning", "mcp_call", "mcp_approval_request", "item_reference", "compaction"})
"""Types of items that are an agent's own, beside its messages: it remembers them, and is not told of them again."""

ANSWERS = frozenset({"function_call_output", "mcp_approval_response"})
"""Types of items that answer an agent's calls."""

MOST_METADATA = 16
"""Keys of a response's metadata, as the standard has it."""


class InputItem(Request):
    """An item of a request's input; which fields it has goes by its type."""

    type: Text = "message"
    id: Text | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: Text | Annotated[list[dict[str, Any]], Field(max_length=MOST_ITEMS)] | None = None
    call_id: Text | None = None
    output: Text | Annotated[list[dict[str, Any]], Field(max_length=MOST_ITEMS)] | None = None
    approval_request_id: Text | None = None
    approve: bool = False
    reason: Text | None = None

    @model_validator(mode="after")
    def _is_known(self) -> InputItem:
        if self.type == "message":
            if self.role is None:
                raise ValueError("role: say whose message it is: user, assistant, system or developer")
            _content(self.content or "")
        elif self.type == "function_call_output":
            if self.call_id is None or self.output is None:
                raise ValueError("a function_call_output has a call_id and an output")
        elif self.type == "mcp_approval_response":
            if self.approval_request_id is None:
                raise ValueError("approval_request_id: name the mcp_approval_request that is answered")
        elif self.type not in BY_AGENT:
            raise ValueError(f"type: an item of the type {self.type!r} cannot be sent to an agent")
        return self

    @property
    def is_by_agent(self) -> bool:
        """Whether an agent said or did it."""
        return self.type in BY_AGENT or (self.type == "message" and self.role == "assistant")

    def to_create(self) -> dict[str, Any]:
        """Return a message in the form in which it is sent to agents.

        Raises:
            ValueError: a part of it can be sent to none.
        """
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": _content(self.content or "")}


class FunctionTool(Request):
    """A tool that the caller runs itself."""

    type: Text
    name: Text | None = None
    description: Text | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _is_function(self) -> FunctionTool:
        if self.type != "function":
            raise ValueError(
                f"type: {self.type!r} is no tool of the caller; an agent uses the tools that are attached to it"
            )
        if self.name is None:
            raise ValueError("name: a function has a name")
        return self

    def shown(self) -> dict[str, Any]:
        """Return the tool as a response repeats it."""
        return {"type": "function", **self.to_client_tool(), "strict": self.strict}

    def to_client_tool(self) -> dict[str, Any]:
        """Return the tool in the form in which agents are given a client's tools."""
        return {"name": self.name, "description": self.description, "parameters": self.parameters}


class ConversationName(Request):
    """Which conversation is meant."""

    id: Text


class ResponseRequest(Request):
    """What is asked of an agent, which is the `model`. Settings such as a temperature are the agent's own."""

    model: Text = Field(description="The agent's identifier.")
    input: Text | Annotated[list[InputItem], Field(min_length=1, max_length=MOST_MESSAGES)]
    instructions: Text | None = Field(None, description="Told to the agent beside its own instructions, this once.")
    previous_response_id: Text | None = Field(None, description="The response behind which this goes on.")
    conversation: Text | ConversationName | None = Field(
        None, description="The conversation in which it goes on: an identifier, or `default` for the agent's main one."
    )
    tools: Annotated[list[FunctionTool], Field(max_length=MOST_MESSAGES)] | None = Field(
        None, description="Functions that the caller runs itself."
    )
    tool_choice: Text | dict[str, Any] | None = "auto"
    text: dict[str, Any] | None = None
    metadata: JsonObject | None = Field(None, max_length=MOST_METADATA)
    stream: bool | None = False
    background: bool | None = False
    store: bool | None = True

    @field_validator("tool_choice")
    @classmethod
    def _left_to_agent(cls, choice: Any) -> Any:
        if choice not in (None, "auto", "none"):
            raise ValueError("must be 'auto' or 'none'; what an agent has to call its tool rules say")
        return choice

    @field_validator("text")
    @classmethod
    def _plain(cls, text: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        wanted = (text or {}).get("format")
        if isinstance(wanted, dict) and wanted.get("type", "text") != "text":
            raise ValueError("format: must be text here; set the agent's own response_format for another one")
        return text

    @model_validator(mode="after")
    def _one_place(self) -> ResponseRequest:
        if self.previous_response_id is not None and self.conversation is not None:
            raise ValueError("previous_response_id: name it or `conversation`, and not both")
        return self

    @property
    def conversation_id(self) -> str | None:
        """The conversation that is named."""
        return self.conversation.id if isinstance(self.conversation, ConversationName) else self.conversation

    @property
    def items(self) -> list[InputItem]:
        """The input as items."""
        return [InputItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input

    @property
    def items_by_message(self) -> Iterator[str]:
        """The messages that the agent's own items of the input show, the last first."""
        for item in reversed(self.items):
            if item.is_by_agent and item.id is not None and (message_id := message_of_item(item.id)) is not None:
                yield message_id

    def told(self) -> dict[str, Any]:
        """Return what a run keeps of the request for the responses that show it."""
        return {
            "model": self.model,
            "instructions": self.instructions,
            "previous_response_id": self.previous_response_id,
            "tools": [tool.shown() for tool in self.tools or ()],
            "tool_choice": self.tool_choice or "auto",
            "metadata": self.metadata or {},
            "background": bool(self.background),
            "store": self.store is not False,
        }

    def to_send(self, items: Sequence[InputItem], approvals: Sequence[Mapping[str, Any]]) -> SendMessages:
        """Return what is said to the agent.

        Args:
            items: the part of the input that is new to it.
            approvals: what was decided about its own calls.

        Raises:
            ValueError: it cannot be said.
        """
        returns = [
            {"type": "tool", "tool_call_id": item.call_id, "tool_return": _text(item.output or "")}
            for item in items
            if item.type == "function_call_output"
        ]
        messages = [item.to_create() for item in items if item.type == "message"]
        if returns or approvals:
            messages.append({"type": "approval", "approvals": [*approvals, *returns]})
        tools = [ClientTool(**tool.to_client_tool()) for tool in self.tools or () if self.tool_choice != "none"]
        return SendMessages.model_validate(
            {"messages": messages, "client_tools": tools, "stream_tokens": bool(self.stream)}
        )


class ItemList(Reply):
    """A page of a list of items."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, items: Sequence[dict[str, Any]], limit: int) -> ItemList:
        """Show up to `limit` of some items; more of them say that there are more."""
        data = list(items[:limit])
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=len(items) > limit)


class DeletedResponse(Reply):
    """What was deleted."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class ResponseReply(Reply):
    """A response. What an agent's model was set to is not said here: those fields are null."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None
    status: str
    background: bool
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    instructions: str | None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    model: str
    output: list[dict[str, Any]]
    parallel_tool_calls: bool = True
    previous_response_id: str | None
    conversation: dict[str, str]
    prompt_cache_key: str | None = None
    reasoning: dict[str, Any] | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool
    temperature: float | None = None
    text: dict[str, Any] = {"format": {"type": "text"}}
    tool_choice: str
    tools: list[dict[str, Any]]
    top_logprobs: int | None = None
    top_p: float | None = None
    truncation: str = "auto"
    usage: dict[str, Any] | None
    user: str | None = None
    metadata: dict[str, Any]

    @classmethod
    def of(
        cls,
        run: Run,
        output: Sequence[dict[str, Any]],
        *,
        end: TurnEnd | None = None,
        error: Mapping[str, Any] | None = None,
        status: str | None = None,
    ) -> ResponseReply:
        """Show a run as a response.

        Args:
            run: the run.
            output: its items so far.
            end: how it ended, where it has.
            error: why it failed, where it did: `type` and `message`.
            status: where it stands, when its row does not say.
        """
        told = told_of(run)
        reason = INCOMPLETE.get(end.stop_reason) if end is not None else None
        known = status or STATUSES[run.status]
        return cls(
            id=response_id(run.id),
            created_at=run.created_at // 1_000_000,
            completed_at=None if run.completed_at is None else run.completed_at // 1_000_000,
            status="incomplete" if reason and known == "completed" else known,
            background=told["background"],
            error={"code": _code(error["type"]), "message": error["message"]} if error and known == "failed" else None,
            incomplete_details={"reason": reason} if reason else None,
            instructions=told["instructions"],
            model=told["model"],
            output=list(output),
            previous_response_id=told["previous_response_id"],
            conversation={"id": run.conversation_id},
            store=told["store"],
            tool_choice=told["tool_choice"],
            tools=told["tools"],
            usage=None if end is None else _usage(end.usage),
            metadata=told["metadata"],
        )


STATUSES = {
    "created": "queued",
    "running": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""The standard's names for where a run stands."""

INCOMPLETE = {"max_tokens_exceeded": "max_output_tokens", "max_steps": "max_steps"}
"""Stop reasons with which a turn has not come to what it was to come to."""


def response_id(run_id: str) -> str:
    """Return the identifier under which a run is a response."""
    return run_id.replace("run-", "resp_", 1)


def told_of(run: Run) -> dict[str, Any]:
    """Return what a run keeps of the request that made it, when it is a response; else nothing."""
    told: dict[str, Any] = run.details.get("response") or {}
    return told


def output_of(run: Run) -> ResponseOutput:
    """Return the output of a response, with no item yet."""
    told = told_of(run)
    return ResponseOutput({tool["name"] for tool in told["tools"]}, told.get("approved", {}))


def show_input(message: Message) -> dict[str, Any] | None:
    """Show what was said to an agent as an item of a response's input; None for what was not said to it."""
    uuid = message.id.partition("-")[2]
    roles = {"user_message": "user", "system_message": "system"}
    if message.message_type not in roles:
        return None
    content = message.body["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    role = roles[message.message_type]
    return {"id": f"msg_{uuid}", "type": "message", "status": "completed", "role": role, "content": input_parts(parts)}


def input_parts(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Show parts that an agent is told, texts and pictures, as parts of an item of input."""
    return [_input_part(part) for part in parts]


def _input_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    source = part["source"]
    url = source["url"] if source["type"] == "url" else f"data:{source['media_type']};base64,{source['data']}"
    return {"type": "input_image", "detail": "auto", "image_url": url}


def _content(content: str | Sequence[Mapping[str, Any]]) -> str | list[dict[str, Any]]:
    """Return the standard's parts as those that are sent to agents."""
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        kind = part.get("type")
        if kind in ("input_text", "output_text", "text"):
            parts.append({"type": "text", "text": part.get("text", "")})
        elif kind == "refusal":
            parts.append({"type": "text", "text": part.get("refusal", "")})
        elif kind == "input_image" and part.get("image_url"):
            parts.append({"type": "image", "source": image_source(str(part["image_url"]))})
        else:
            raise ValueError(f"content: a part of the type {kind!r} cannot be sent to an agent; send text or a picture")
    return parts


def image_source(url: str) -> dict[str, str]:
    """Return a picture's address, which may hold the picture itself, as agents are sent it."""
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, _, data = url.removeprefix("data:").partition(",")
    return {"type": "base64", "media_type": head.partition(";")[0], "data": data}


def _text(output: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(output, str):
        return output
    return "\n".join(str(part.get("text", "")) for part in output if part.get("type") in ("input_text", "text"))


def _code(error_type: str) -> str:
    return "rate_limit_exceeded" if error_type == "ProviderRateLimit" else "server_error"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
