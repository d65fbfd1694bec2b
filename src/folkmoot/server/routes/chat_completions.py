"""OpenAI's chat protocol: an agent in the place of a model.

A client of that protocol sends the whole conversation each time. The agent remembers it, so that only what follows the
last assistant message is said to it: in its main conversation, or in the one that a header names. `/openai/v1` is the
whole protocol, with the agents as its models, since the list at `/v1/models` has the wire format's own form.
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
from folkmoot.agents.conversations import conversation_of_session
from folkmoot.agents.events import CallPiece, Event, TextPiece, TurnEnd, TurnFailed
from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.messages import Message
from folkmoot.errors import BadRequest, InvalidInput
from folkmoot.identifiers import check_id
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.continuing import Session
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.scanning import Scan
from folkmoot.server.sending import DONE, check_request, read_request
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import AgentId, Reply, Request, Text, json_response
from folkmoot.server.wire.response_input import image_source
from folkmoot.server.wire.response_output import SPOKEN_BY
from folkmoot.server.wire.runs import RunUsage
from folkmoot.server.wire.sending import SendMessages
from folkmoot.store import clock
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.tools.builtin.proposed import arguments_of

router = APIRouter(tags=["messages"], route_class=BodyRoute)

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
    usage: RunUsage


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
async def list_models(scan: Scan) -> Response:
    """List the agents, the newest first, as models that can be talked to."""
    page = Page(limit=LARGEST_PAGE, order="desc")
    return await scan(
        lambda transaction: list_agents(transaction, AgentFilter(), page),
        lambda found: json_response(ChatModels(data=[ChatModel.of(agent) for agent in found])),
    )


@router.get("/openai/v1/models/{agent_id}", response_model=ChatModel)
async def retrieve_model(agent_id: AgentId, state: State) -> Response:
    """Return an agent as a model."""
    return json_response(ChatModel.of(await state.store.read(lambda transaction: find_agent(transaction, agent_id))))


@router.post("/openai/v1/chat/completions", response_model=Completion, include_in_schema=False)
@router.post("/v1/chat/completions", response_model=Completion)
async def create(body: ChatRequest, state: State, session: Session) -> Response:
    """Say something to an agent and return its answer, or a stream of it."""
    agent_id = check_id("agent", body.model, "model")
    agent = await state.store.read(lambda transaction: find_agent(transaction, agent_id))
    sent = body.to_send()
    conversation_id = agent_id
    if session is not None:
        conversation_id = await state.store.write(
            lambda transaction: conversation_of_session(transaction, agent_id, session, state.author)
        )
    request = read_request(agent_id, conversation_id, sent, state)
    await check_request(request, state)
    model = agent.model.partition("/")[2]
    if body.stream:
        run = await state.runs.start(request)
        events = state.runs.follow(run.id)
        usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(_chunks(events, f"chatcmpl-{run.id}", model, with_usage=usage))
    return await _whole(request, model, state)


async def _whole(request: TurnRequest, model: str, state: ServerState) -> Response:
    answer = await state.runs.answer(request)
    speech = _Speech()
    text = "".join(words["content"] for each in answer.messages if (words := speech.words(each)))
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "finish_reason": _finish_reason(answer.end.stop_reason),
        "logprobs": None,
    }
    return json_response(
        Completion(
            id=f"chatcmpl-{answer.run.id}",
            created=clock.now() // 1_000_000,
            model=model,
            choices=[choice],
            usage=RunUsage.of(answer.end.usage),
        )
    )


async def _chunks(
    events: AsyncGenerator[tuple[int, Event], None], completion_id: str, model: str, *, with_usage: bool
) -> AsyncIterator[ServerSentEvent]:
    """Show a run's events as OpenAI's chunks: the agent's words, without its tools and thoughts."""
    base = {
        "id": completion_id,
        "object": "chat.completion.chunk",
        "created": clock.now() // 1_000_000,
        "model": model,
    }
    speech = _Speech()
    async with aclosing(events):
        async for _, event in events:
            if words := speech.words(event):
                yield _event(base, [{"index": 0, "delta": words, "finish_reason": None}])
            elif isinstance(event, TurnEnd | TurnFailed):
                if isinstance(event, TurnFailed) and event.stop_reason != "cancelled":
                    error = {"message": event.message, "type": event.error_type, "code": None, "param": None}
                    yield ServerSentEvent(json.dumps({"error": error}).encode())
                yield _event(base, [{"index": 0, "delta": {}, "finish_reason": _finish_reason(event.stop_reason)}])
                if isinstance(event, TurnEnd) and with_usage:
                    yield _event({**base, "usage": RunUsage.of(event.usage).model_dump()}, [])
    yield DONE


class _Speech:
    """What an agent says, as deltas: pieces of messages, or whole ones of which there were none."""

    def __init__(self) -> None:
        self._spoken: str | None = None
        self._calls: dict[str, str] = {}
        """Calls with which agents of the older kinds speak: the arguments of each, as far as they are there."""

    def words(self, event: Event) -> Mapping[str, str] | None:
        """Return the delta of an event, or None when nothing is said in it."""
        if isinstance(event, TextPiece):
            return self._delta(event.message_id, event.text)
        if isinstance(event, CallPiece) and not event.waits:
            if event.name == SPOKEN_BY or event.call_id in self._calls:
                self._calls[event.call_id] = self._calls.get(event.call_id, "") + event.arguments
        elif isinstance(event, Message):
            return self._words_of(event)
        return None

    def _words_of(self, message: Message) -> Mapping[str, str] | None:
        body = message.body
        if message.message_type == "assistant_message":
            return self._delta(message.id, body["content"])
        if message.message_type == "tool_call_message" and message.name == SPOKEN_BY:
            self._calls[body["tool_call"]["tool_call_id"]] = body["tool_call"]["arguments"]
        elif message.message_type == "tool_return_message" and body["status"] == "success":
            arguments = self._calls.pop(body["tool_call_id"], None)  # what failed is said again
            if arguments is not None:
                return self._delta(message.id, str((arguments_of(arguments) or {}).get("message", "")))
        return None

    def _delta(self, message_id: str, text: str) -> Mapping[str, str]:
        first, again = self._spoken is None, self._spoken == message_id
        self._spoken = message_id
        return {"content": text if first or again else "\n" + text, **({"role": "assistant"} if first else {})}


def _event(base: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps({**base, "choices": list(choices)}).encode())


def _finish_reason(stop_reason: str) -> str:
    return FINISH_REASONS.get(stop_reason, "stop")


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
            parts.append({"type": "image", "source": image_source(str((part.get("image_url") or {}).get("url", "")))})
        else:
            raise BadRequest(f"messages: a part of the type {part.get('type')!r} cannot be sent to an agent.")
    return parts
