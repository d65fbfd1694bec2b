"""OpenAI's chat protocol: an agent in the place of a model.

A client of that protocol sends the whole conversation each time. The agent remembers it, so that only what follows the
last assistant message is said to it: in its main conversation, or in the one that a header names. Calls of the
caller's functions are shown to it, and the next request brings what they returned. `/openai/v1` is the whole protocol,
with the agents as its models, since the list at `/v1/models` has the wire format's own form.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Container, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter, Response

from folkmoot.agents.abandoned_calls import pending_in, settle_abandoned
from folkmoot.agents.agents import Agent, find_agent
from folkmoot.agents.approvals import Pending, calls_of
from folkmoot.agents.conversations import conversation_of_session
from folkmoot.agents.events import CallPiece, Event, TextPiece, TurnEnd, TurnFailed
from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.conversations import find_conversation
from folkmoot.conversations.messages import Message
from folkmoot.errors import NotFound
from folkmoot.identifiers import check_id
from folkmoot.models.prompt import ToolCall
from folkmoot.runs.runs import find_run
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.continuing import Session, instructions_of
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.scanning import Scan
from folkmoot.server.sending import DONE, check_in, read_request
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.chat import ChatRequest
from folkmoot.server.wire.common import AgentId, Reply, json_response
from folkmoot.server.wire.response_output import SPOKEN_BY
from folkmoot.server.wire.runs import RunUsage
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.tools.builtin.proposed import arguments_of

router = APIRouter(tags=["messages"], route_class=BodyRoute)

NOT_ANSWERED = "The program whose function this is went on without calling it, so nothing came of the call."

FINISH_REASONS = {"max_tokens_exceeded": "length", "requires_approval": "tool_calls"}
"""OpenAI's name for a stop reason; `stop` for every other."""


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
    agent, request = await _read(body, session, state)
    model = agent.model.partition("/")[2]
    if body.stream:
        run = await state.runs.start(request)
        events = state.runs.follow(run.id)
        usage = body.stream_options is not None and body.stream_options.include_usage
        speech = _Speech(_functions_of(request))
        return EventStream(_chunks(events, speech, f"chatcmpl-{run.id}", model, with_usage=usage))
    return await _whole(request, model, state)


async def _read(body: ChatRequest, session: str | None, state: ServerState) -> tuple[Agent, TurnRequest]:
    """Return the agent and the turn that is asked for. Calls of the caller's functions that it does not answer are
    given up; for one that is refused none is, and no conversation begun.
    """
    agent_id = check_id("agent", body.model, "model")

    async def write(transaction: Transaction) -> tuple[Agent, TurnRequest]:
        agent = await find_agent(transaction, agent_id)
        conversation_id = agent_id
        if session is not None:
            conversation_id = await conversation_of_session(transaction, agent_id, session, state.author)
        pending = await pending_in(transaction, await find_conversation(transaction, conversation_id))
        waiting = [] if pending is None else [call.id for call in pending.calls]
        request = read_request(agent_id, conversation_id, body.to_send(waiting), state)
        if pending is not None and request.decisions is None and await _is_of_functions(transaction, pending):
            await settle_abandoned(transaction, conversation_id, NOT_ANSWERED, [pending.request.run_id or ""])
        await check_in(transaction, request)
        return agent, request

    agent, request = await state.store.write(write)
    details = {**request.details, "chat": {"functions": [function.name for function in body.functions]}}
    told = instructions_of(agent, body.instructions)
    made = replace(request, instructions=told, response_format=body.form, tool_choice=body.choice, details=details)
    return agent, made


async def _is_of_functions(transaction: Transaction, pending: Pending) -> bool:
    """Tell whether what a conversation waits for are functions of a caller of this protocol, and nothing else."""
    try:
        run = await find_run(transaction, pending.request.run_id or "")
    except NotFound:  # a fork's, or deleted
        return False
    functions = (run.details.get("chat") or {}).get("functions", ())
    return all(call.name in functions for call in pending.calls)


def _functions_of(request: TurnRequest) -> set[str]:
    return {schema.name for schema in request.client_tools}


async def _whole(request: TurnRequest, model: str, state: ServerState) -> Response:
    answer = await state.runs.answer(request)
    speech = _Speech(_functions_of(request))
    text = "".join(delta["content"] for each in answer.messages if (delta := speech.words(each)))
    calls = speech.calls
    said = {"tool_calls": calls} if calls else {}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text or (None if calls else ""), "refusal": None, **said},
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
    events: AsyncGenerator[tuple[int, Event], None],
    speech: _Speech,
    completion_id: str,
    model: str,
    *,
    with_usage: bool,
) -> AsyncIterator[ServerSentEvent]:
    """Show a run's events as OpenAI's chunks: the agent's words and its calls of the caller's functions, without its
    own tools and thoughts.
    """
    base = {
        "id": completion_id,
        "object": "chat.completion.chunk",
        "created": clock.now() // 1_000_000,
        "model": model,
    }
    async with aclosing(events):
        async for _, event in events:
            if delta := speech.words(event):
                yield _event(base, [{"index": 0, "delta": delta, "finish_reason": None}])
            elif isinstance(event, TurnEnd | TurnFailed):
                if calls := [{"index": place, **call} for place, call in enumerate(speech.calls)]:
                    delta = {"role": "assistant", "tool_calls": calls}
                    yield _event(base, [{"index": 0, "delta": delta, "finish_reason": None}])
                if isinstance(event, TurnFailed) and event.stop_reason != "cancelled":
                    error = {"message": event.message, "type": event.error_type, "code": None, "param": None}
                    yield ServerSentEvent(json.dumps({"error": error}).encode())
                yield _event(base, [{"index": 0, "delta": {}, "finish_reason": _finish_reason(event.stop_reason)}])
                if isinstance(event, TurnEnd) and with_usage:
                    yield _event({**base, "usage": RunUsage.of(event.usage).model_dump()}, [])
    yield DONE


class _Speech:
    """What an agent says, as deltas: pieces of messages, or whole ones of which there were none; and whom it calls."""

    def __init__(self, functions: Container[str]) -> None:
        """Begin with nothing said; `functions` are the caller's own, whose calls it is shown."""
        self._functions = functions
        self._spoken: str | None = None
        self._calls: dict[str, str] = {}
        """Calls with which agents of the older kinds speak: the arguments of each, as far as they are there."""

        self._asked: dict[str, ToolCall] = {}
        """Calls of the caller's functions, as far as they are there."""

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of the caller's functions that wait for it, to be read at the end."""
        return [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self._asked.values()
        ]

    def words(self, event: Event) -> dict[str, Any] | None:
        """Return the delta of an event, or None when nothing is said in it."""
        if isinstance(event, TextPiece):
            return self._delta(event.message_id, event.text)
        if isinstance(event, CallPiece):
            self._add_call(event)
        elif isinstance(event, Message):
            return self._words_of(event)
        return None

    def _add_call(self, piece: CallPiece) -> None:
        if piece.waits:
            if (asked := self._asked.get(piece.call_id)) is not None:
                self._asked[piece.call_id] = replace(asked, arguments=asked.arguments + piece.arguments)
            elif piece.name in self._functions:
                self._asked[piece.call_id] = ToolCall(piece.call_id, piece.name or "", piece.arguments)
        elif piece.name == SPOKEN_BY or piece.call_id in self._calls:
            self._calls[piece.call_id] = self._calls.get(piece.call_id, "") + piece.arguments

    def _words_of(self, message: Message) -> dict[str, Any] | None:
        body = message.body
        if message.message_type == "assistant_message":
            return self._delta(message.id, body["content"])
        if message.message_type == "tool_call_message" and message.name == SPOKEN_BY:
            self._calls[body["tool_call"]["tool_call_id"]] = body["tool_call"]["arguments"]
        elif message.message_type == "approval_request_message":
            self._asked = {call.id: call for call in calls_of(body) if call.name in self._functions}
        elif message.message_type == "tool_return_message":
            self._asked.pop(body["tool_call_id"], None)  # the agent's rules refused it
            arguments = self._calls.pop(body["tool_call_id"], None)
            if arguments is not None and body["status"] == "success":  # what failed is said again
                return self._delta(message.id, str((arguments_of(arguments) or {}).get("message", "")))
        return None

    def _delta(self, message_id: str, text: str) -> dict[str, Any]:
        first, again = self._spoken is None, self._spoken == message_id
        self._spoken = message_id
        return {"content": text if first or again else "\n" + text, **({"role": "assistant"} if first else {})}


def _event(base: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps({**base, "choices": list(choices)}).encode())


def _finish_reason(stop_reason: str) -> str:
    return FINISH_REASONS.get(stop_reason, "stop")
