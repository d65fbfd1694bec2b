"""Turns that happened elsewhere, stored in an agent's conversation; and single questions to an agent's model."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Response

from folkmoot.agents.agents import find_agent
from folkmoot.agents.context import model_options
from folkmoot.agents.events import TurnEnd
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.errors import InvalidInput, NotFound
from folkmoot.memory.attachments import attached_rows
from folkmoot.memory.blocks import edit_text
from folkmoot.models.prompt import Prompt, UserMessage
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.state import State
from folkmoot.server.wire.capturing import Captured, CaptureTurn, Generate, Generated
from folkmoot.server.wire.common import AgentId, json_response
from folkmoot.server.wire.streams import show_usage
from folkmoot.store.engine import Transaction

router = APIRouter(prefix="/v1/agents/{agent_id}", tags=["messages"], route_class=BodyRoute)


@router.post("/messages/capture", response_model=Captured)
async def capture(agent_id: AgentId, body: CaptureTurn, state: State) -> Response:
    """Store a turn that happened elsewhere behind the agent's messages, with what it changed of the agent's blocks.

    Words are kept, of users and of the model; instructions and the returns of tools are not. All of it is stored, or
    nothing.
    """
    messages = body.messages()
    if not messages:
        raise InvalidInput("request_messages, response_dict: nothing in them was said by a user or by the model.")

    async def edit(transaction: Transaction) -> None:
        for each in body.memory_edits:
            held = {row["label"]: row["id"] for row in await attached_rows(transaction, agent_id)}
            if each.label not in held:
                raise NotFound(f"memory_edits: agent {agent_id} has no block labelled {each.label!r}.")
            await edit_text(transaction, held[each.label], each.edit.edit(), state.author)

    details = {"metadata": {"run_type": "captured", "provider": body.provider, "model": body.model}}
    request = TurnRequest(agent_id=agent_id, conversation_id=agent_id, messages=messages, details=details)
    run = await state.runs.record(request, edit)
    return json_response(Captured(messages_created=len(messages), run_ids=None, run_id=run.id))


@router.post("/generate", response_model=Generated)
async def generate(agent_id: AgentId, body: Generate, state: State) -> Response:
    """Ask the agent's model something, without the agent's memory, tools and messages; nothing is stored."""
    agent = await state.store.read(lambda transaction: find_agent(transaction, agent_id))
    catalogue = state.services.catalogue
    handle = agent.model if body.override_model is None else catalogue.handle_of(body.override_model)
    options = replace(model_options(agent.configuration), response_format=None)
    if body.response_schema is not None:
        options = replace(options, response_format={"type": "json_schema", "json_schema": body.response_schema})
    prompt = Prompt(body.system_prompt or "", [UserMessage(body.prompt)], options=options)
    reply = await state.services.models.ask(handle, prompt)
    usage = show_usage(TurnEnd("end_turn", reply.usage))
    return json_response(Generated(content=reply.text, model=catalogue.describe(handle).name, usage=usage))
