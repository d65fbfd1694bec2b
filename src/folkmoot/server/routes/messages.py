"""Messages: what is said to an agent, and what was."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.conversations.conversations import find_conversation
from folkmoot.conversations.messages import Message, MessageType, list_messages
from folkmoot.errors import BadRequest, InvalidInput
from folkmoot.models.providers import resolve
from folkmoot.runs.turns import Answer, Asked
from folkmoot.server.state import State
from folkmoot.server.wire.common import AgentId, json_response, page_of
from folkmoot.server.wire.messages import (
    AnyMessage,
    MessageShape,
    SendMessages,
    StopReason,
    TurnReply,
    UsageStatistics,
    show_messages,
)
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/agents/{agent_id}/messages", tags=["messages"])

NewestFirst = Annotated[Page, Depends(page_of("desc", 100))]


@router.post("", response_model=TurnReply)
async def send(agent_id: AgentId, body: SendMessages, state: State) -> Response:
    """Say something to an agent and return its whole turn."""
    if body.streaming or body.background:
        raise BadRequest("streaming, background: this server answers whole turns only; leave them out.")
    messages = body.to_messages()
    if not messages:
        raise InvalidInput("Messages must not be empty")
    if body.override_model is not None:
        resolve(body.override_model, state.services.environ)
    asked = Asked(
        agent_id=agent_id,
        messages=messages,
        max_steps=body.max_steps or state.services.settings.max_steps,
        model=body.override_model,
        instructions=body.override_system,
    )
    return json_response(_show_turn(await state.turns.answer(asked), body))


@router.get("", response_model=list[AnyMessage])
async def list_all(
    agent_id: AgentId,
    page: NewestFirst,
    state: State,
    conversation_id: str | None = None,
    use_assistant_message: bool = True,
    assistant_message_tool_name: str = "send_message",
    assistant_message_tool_kwarg: str = "message",
    include_return_message_types: Annotated[list[MessageType] | None, Query()] = None,
) -> Response:
    """List the messages of the agent's conversation, the newest first unless the request says otherwise."""
    shape = MessageShape(
        use_assistant_message=use_assistant_message,
        tool_name=assistant_message_tool_name,
        tool_argument=assistant_message_tool_kwarg,
    )
    types = include_return_message_types

    async def read(transaction: Transaction) -> list[Message]:
        conversation = await find_conversation(transaction, conversation_id or agent_id)
        return await list_messages(transaction, conversation.id, page, types)

    return json_response(show_messages(await state.store.read(read), shape, types))


def _show_turn(answer: Answer, body: SendMessages) -> TurnReply:
    shape = MessageShape(
        use_assistant_message=body.use_assistant_message,
        tool_name=body.assistant_message_tool_name,
        tool_argument=body.assistant_message_tool_kwarg,
    )
    end = answer.end
    return TurnReply.model_construct(
        messages=show_messages(answer.messages, shape, body.include_return_message_types),
        stop_reason=StopReason(stop_reason=end.stop_reason),
        usage=UsageStatistics(
            completion_tokens=end.usage.completion_tokens,
            prompt_tokens=end.usage.prompt_tokens,
            total_tokens=end.usage.completion_tokens + end.usage.prompt_tokens,
            step_count=end.step_count,
            cached_input_tokens=end.usage.cached_input_tokens,
            cache_write_tokens=end.usage.cache_write_tokens,
            reasoning_tokens=end.usage.reasoning_tokens,
            context_tokens=end.context_tokens,
        ),
    )
