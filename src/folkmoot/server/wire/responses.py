"""OpenAI's Responses API on the wire: what a caller asks of an agent, and a response, which is a run of that agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from folkmoot.agents.events import TurnEnd
from folkmoot.identifiers import new_id
from folkmoot.models.prompt import Usage
from folkmoot.runs.runs import Run
from folkmoot.server.wire.common import JsonObject, Reply, Request, Text
from folkmoot.server.wire.functions import chosen, form_of
from folkmoot.server.wire.response_input import InputItem, output_text
from folkmoot.server.wire.response_output import ResponseOutput, message_of_item
from folkmoot.server.wire.sending import MOST_MESSAGES, ClientTool, SendMessages

PLAIN = {"type": "text"}
"""The format of an answer that is words."""

MOST_METADATA = 16
"""Keys of a response's metadata, as the standard has it."""


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
    text: JsonObject | None = Field(None, description="The `format` of this answer: text, or JSON after a schema.")
    metadata: JsonObject | None = Field(None, max_length=MOST_METADATA)
    stream: bool | None = False
    background: bool | None = False
    store: bool | None = True

    @model_validator(mode="after")
    def _can_be_asked(self) -> ResponseRequest:
        chosen(self.tool_choice, self._functions)
        form_of(self._format)
        return self

    @model_validator(mode="after")
    def _one_place(self) -> ResponseRequest:
        if self.previous_response_id is not None and self.conversation is not None:
            raise ValueError("previous_response_id: name it or `conversation`, and not both")
        return self

    @property
    def _functions(self) -> list[str]:
        return [tool.name for tool in self.tools or () if tool.name is not None]

    @property
    def _format(self) -> Mapping[str, Any] | None:
        wanted = (self.text or {}).get("format")
        return wanted if isinstance(wanted, Mapping) else None

    @property
    def choice(self) -> str | None:
        """What the model has to call first, where it has to."""
        return chosen(self.tool_choice, self._functions)

    @property
    def form(self) -> dict[str, Any] | None:
        """The form of the answer, where it is not plain text."""
        return form_of(self._format)

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

    @property
    def answered_calls(self) -> set[str]:
        """The calls of the caller's functions that the input answers."""
        answers = (item.call_id for item in self.items if item.type == "function_call_output")
        return {call_id for call_id in answers if call_id is not None}

    def told(self) -> dict[str, Any]:
        """Return what a run keeps of the request for the responses that show it."""
        return {
            "model": self.model,
            "instructions": self.instructions,
            "previous_response_id": self.previous_response_id,
            "tools": [tool.shown() for tool in self.tools or ()],
            "tool_choice": self.tool_choice or "auto",
            "text": {"format": self._format or PLAIN},
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
            {"type": "tool", "tool_call_id": item.call_id, "tool_return": output_text(item.output or "")}
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


class RequestToMeasure(ResponseRequest):
    """What would be asked of an agent, of which nothing need be new."""

    input: Text | Annotated[list[InputItem], Field(max_length=MOST_MESSAGES)] = []

    def to_measure(self, *, begins: bool) -> SendMessages:
        """Return what would be said to the agent, results of the caller's functions as words of theirs.

        Args:
            begins: whether it would begin a conversation, in which all of the input is new to the agent.
        """
        own = [place for place, item in enumerate(self.items) if item.is_by_agent]
        new = self.items[own[-1] + 1 :] if own and not begins else self.items
        said = [item for item in new if item.type == "message" and item.content]
        results = [output_text(item.output) for item in new if item.type == "function_call_output" and item.output]
        said += [InputItem(role="user", content=text) for text in results]
        return self.to_send(said, ())


class InputTokens(Reply):
    """About how many tokens a response would read."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


class CompactedResponse(Reply):
    """A conversation whose oldest messages have left its context: in their place stands an item with their summary."""

    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    output: list[dict[str, Any]]
    usage: dict[str, Any]

    @classmethod
    def of(cls, message_id: str, summary: str, usage: Usage, now: int) -> CompactedResponse:
        """Show a compaction.

        Args:
            message_id: the newest message of the conversation; the item is named so that what follows it goes on there.
            summary: of what has left.
            usage: what writing it took.
            now: when that was, in microseconds.
        """
        item = {"id": f"cmp_{message_id.partition('-')[2]}", "type": "compaction", "encrypted_content": summary}
        identifier = new_id("resp").replace("-", "_", 1)
        return cls(id=identifier, created_at=now // 1_000_000, output=[item], usage=_usage(usage))


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
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
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
            text=told.get("text") or {"format": PLAIN},
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
