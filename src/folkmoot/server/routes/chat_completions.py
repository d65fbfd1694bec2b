"""OpenAI's chat protocol: an agent in the place of a model.

A client of that protocol sends the whole conversation each time. The agent remembers it, so that only what follows the
last assistant message is said to it. `/openai/v1` is the whole protocol, with the agents as its models, since the list
at `/v1/models` has the wire format's own form.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError

from folkmoot.agents.agents import Agent, find_agent
from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.errors import BadRequest, InvalidInput
from folkmoot.identifiers import check_id
from folkmoot.runs.log import DONE
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.sending import check_asked, read_asked, stream_shape
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import AgentId, Reply, Request, Text, json_response
from folkmoot.server.wire.sending import SendMessages
from folkmoot.store import clock
from folkmoot.store.paging import LARGEST_PAGE, Page

router = APIRouter(tags=["messages"])

FINISH_REASONS = {"max_tokens_exceeded": "length", "requires_approval": "tool_calls"}
"""OpenAI's name for a stop reason; `stop` for every other."""


class ChatMessage(Request):
    """A message in OpenAI's form."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[dict[str, Any]] | None = None


class StreamOptions(Request):
    """What a stream adds."""

    include_usage: bool = False


class ChatRequest(Request):
    """A request in OpenAI's form; `model` is an agent's identifier. Settings of the model are the agent's own."""

    model: Text
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    def to_send(self) -> SendMessages:
        """Return what is said to the agent.

        Raises:
            InvalidInput: nothing follows the last assistant message.
            RequestValidationError: a part of a message cannot be used.
        """
        said: list[dict[str, Any]] = []
        for message in reversed(self.messages):
            if message.role == "assistant":
                break
            if message.role == "user" and message.content:
                said.append({"role": "user", "content": _content(message.content)})
        if not said:
            raise InvalidInput("messages: the last message must be one of the role user.")
        try:
            return SendMessages.model_validate({"messages": said[::-1], "stream_tokens": bool(self.stream)})
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error


class Completion(Reply):
    """An agent's answer in OpenAI's form."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any]


class ChatModel(Reply):
    """An agent as one of OpenAI's models; `name` is Folkmoot's own field."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "folkmoot"
    name: str

    @classmethod
    def of(cls, agent: Agent) -> ChatModel:
        """Show an agent as a model."""
        return cls(id=agent.id, created=agent.created_at // 1_000_000, name=agent.name)


class ChatModels(Reply):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ChatModel]


@router.get("/openai/v1/models", response_model=ChatModels)
async def list_models(state: State) -> Response:
    """List the agents, the newest first, as models that can be talked to."""
    page = Page(limit=LARGEST_PAGE, order="desc")
    found = await state.store.read(lambda transaction: list_agents(transaction, AgentFilter(), page))
    return json_response(ChatModels(data=[ChatModel.of(agent) for agent in found]))


@router.get("/openai/v1/models/{agent_id}", response_model=ChatModel)
async def retrieve_model(agent_id: AgentId, state: State) -> Response:
    """Return an agent as a model."""
    return json_response(ChatModel.of(await state.store.read(lambda transaction: find_agent(transaction, agent_id))))


@router.post("/openai/v1/chat/completions", response_model=Completion, include_in_schema=False)
@router.post("/v1/chat/completions", response_model=Completion)
async def create(body: ChatRequest, state: State) -> Response:
    """Say something to an agent and return its answer, or a stream of it."""
    agent_id = check_id("agent", body.model, "model")
    agent = await state.store.read(lambda transaction: find_agent(transaction, agent_id))
    sent = body.to_send()
    asked = read_asked(agent_id, agent_id, sent, state)
    await check_asked(asked, state)
    model = agent.model.partition("/")[2]
    if body.stream:
        shape = stream_shape(sent)
        run = await state.runs.start(asked, shape.encode, shape.first)
        entries = state.runs.follow(run.id, 0, shape.encode)
        usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(_chunks(entries, f"chatcmpl-{run.id}", model, with_usage=usage))
    return await _whole(asked, model, state)


async def _whole(asked: Any, model: str, state: ServerState) -> Response:
    answer = await state.runs.answer(asked)
    text = "\n".join(each.body["content"] for each in answer.messages if each.message_type == "assistant_message")
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "finish_reason": _finish_reason(answer.end.stop_reason),
        "logprobs": None,
    }
    usage = answer.end.usage
    return json_response(
        Completion(
            id=f"chatcmpl-{answer.run.id}",
            created=clock.now() // 1_000_000,
            model=model,
            choices=[choice],
            usage=_usage(usage.prompt_tokens, usage.completion_tokens),
        )
    )


async def _chunks(
    entries: AsyncGenerator[str, None], completion_id: str, model: str, *, with_usage: bool
) -> AsyncIterator[ServerSentEvent]:
    """Turn a run's log into OpenAI's chunks: the agent's words, without its tools and thoughts."""
    base = {
        "id": completion_id,
        "object": "chat.completion.chunk",
        "created": clock.now() // 1_000_000,
        "model": model,
    }
    spoken: str | None = None
    async with aclosing(entries):
        async for entry in entries:
            if entry == DONE:
                yield ServerSentEvent(DONE.encode())
                return
            event: Mapping[str, Any] = json.loads(entry)
            match event["message_type"]:
                case "assistant_message":
                    between = "\n" if spoken not in (None, event["id"]) else ""
                    delta = {"content": between + event["content"], **({"role": "assistant"} if spoken is None else {})}
                    spoken = event["id"]
                    yield _event(base, [{"index": 0, "delta": delta, "finish_reason": None}])
                case "stop_reason":
                    reason = _finish_reason(event["stop_reason"])
                    yield _event(base, [{"index": 0, "delta": {}, "finish_reason": reason}])
                case "usage_statistics" if with_usage:
                    usage = _usage(event["prompt_tokens"], event["completion_tokens"])
                    yield _event({**base, "usage": usage}, [])
                case "error_message":
                    error = {"message": event["message"], "type": event["error_type"], "code": None, "param": None}
                    yield ServerSentEvent(json.dumps({"error": error}).encode())


def _event(base: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps({**base, "choices": list(choices)}).encode())


def _finish_reason(stop_reason: str) -> str:
    return FINISH_REASONS.get(stop_reason, "stop")


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _content(content: str | Sequence[Mapping[str, Any]]) -> str | list[dict[str, Any]]:
    """Return OpenAI's parts as the wire format's.

    Raises:
        BadRequest: a part is neither text nor a picture.
    """
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        if part.get("type") == "text":
            parts.append({"type": "text", "text": part.get("text", "")})
        elif part.get("type") == "image_url":
            parts.append({"type": "image", "source": _source(str((part.get("image_url") or {}).get("url", "")))})
        else:
            raise BadRequest(f"messages: a part of the type {part.get('type')!r} cannot be sent to an agent.")
    return parts


def _source(url: str) -> dict[str, str]:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, _, data = url.removeprefix("data:").partition(",")
    return {"type": "base64", "media_type": head.partition(";")[0], "data": data}
