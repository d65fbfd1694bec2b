"""What the forms of a chat do where no script does it: say something, stop, decide, edit, fork, name and close."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.agents.abandoned_calls import pending_in
from folkmoot.agents.conversations import create_conversation, fork_conversation
from folkmoot.conversations.conversations import Conversation
from folkmoot.conversations.listing import update_conversation
from folkmoot.conversations.search import find_message
from folkmoot.errors import BadRequest, FolkmootError
from folkmoot.identifiers import new_id
from folkmoot.server.routes.conversations import cancel_in_conversation
from folkmoot.server.scanning import Scan
from folkmoot.server.sending import start_in_background, start_in_new_conversation
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import AgentId, MessageId
from folkmoot.server.wire.conversations import UpdateConversation
from folkmoot.server.wire.sending import SendMessages
from folkmoot.store.engine import Transaction
from folkmoot.web.chats import LONGEST_TITLE, chat_address, conversation_of, title_of
from folkmoot.web.forms import text_of
from folkmoot.web.pictures import parts_with_pictures, read_picture
from folkmoot.web.responses import SECURITY, page_router, read_form, redirect
from folkmoot.web.views.agents import Decided, agent_page, refuse
from folkmoot.web.words import clipped

router = page_router()


@router.post("/agents/{agent_id}/messages")
async def send(request: Request, agent_id: AgentId, state: State) -> Response:
    """Say something to the agent, whose turn goes on while the page is shown."""
    form = await read_form(request)
    words = text_of(form, "message").strip()
    conversation = await _named(form, agent_id, state)
    if words:
        try:
            body = SendMessages(input=words, stream_tokens=True)
            await start_in_background(agent_id, conversation.id, body, state)
        except (ValidationError, FolkmootError) as error:
            values = {"message": words}
            return await refuse(request, agent_id, state, error, "message", values, conversation=conversation.id)
    return _back(conversation)


@router.post("/agents/{agent_id}/edit")
async def say_differently(request: Request, agent_id: AgentId, state: State) -> Response:
    """Say something again, differently, in a fork of the conversation at that point; its pictures go along."""
    form = await read_form(request)
    words, message_id = text_of(form, "message").strip(), text_of(form, "edited")
    conversation = await _named(form, agent_id, state)
    shown = {"conversation": conversation.id, "edit": message_id}
    try:
        if not words:
            raise BadRequest("Write what shall be said instead.")
        message = (await state.store.read(lambda transaction: find_message(transaction, message_id))).message
        pictures = parts_with_pictures(message.body.get("content", ""))
        content = [*pictures, {"type": "text", "text": words}] if pictures else words
        said = {"messages": [{"role": "user", "content": content}], "stream_tokens": True}
        body = SendMessages.model_validate(said)

        forked = new_id("conv")
        fork = partial(
            fork_conversation,
            source_id=conversation.id,
            author=state.author,
            before=message_id,
            summary=clipped(words, LONGEST_TITLE),
            conversation_id=forked,
        )
        await start_in_new_conversation(agent_id, forked, body, fork, state)
    except (ValidationError, FolkmootError) as error:
        return await refuse(request, agent_id, state, error, "message", {"message": words}, **shown)
    return redirect(chat_address(agent_id, forked))


@router.post("/agents/{agent_id}/stop")
async def stop(request: Request, agent_id: AgentId, state: State) -> Response:
    """Stop what the agent is doing in a conversation."""
    conversation = await _named(await read_form(request), agent_id, state)
    await cancel_in_conversation(conversation.id, state)
    return _back(conversation)


@router.post("/agents/{agent_id}/decide")
async def decide(request: Request, agent_id: AgentId, state: State) -> Response:
    """Take a decision about a call that waits; the turn goes on when all of them are decided."""
    form = await read_form(request)
    conversation = await _named(form, agent_id, state)
    reasons = {name.removeprefix("reason "): texts[0].strip() for name, texts in form.items()}
    decided = {
        call_id: Decided(approve, reasons.get(call_id) or None)
        for approve, field in ((True, "approve"), (False, "deny"))
        for call_id in form.get(field, ())
    }

    async def waiting(transaction: Transaction) -> list[str]:
        pending = await pending_in(transaction, conversation)
        return [call.id for call in pending.calls] if pending is not None else []

    if not decided or not set(await state.store.read(waiting)) <= set(decided):
        return await agent_page(request, agent_id, state, decisions=decided, conversation=conversation.id)
    try:
        await start_in_background(agent_id, conversation.id, _answer(decided), state)
    except (ValidationError, FolkmootError) as error:
        values = {"message": ""}
        return await refuse(request, agent_id, state, error, "message", values, conversation=conversation.id)
    return _back(conversation)


@router.post("/agents/{agent_id}/begin")
async def begin(agent_id: AgentId, state: State) -> Response:
    """Begin a conversation of the agent."""
    begun = await state.store.write(lambda transaction: create_conversation(transaction, agent_id, state.author))
    return _back(begun)


@router.post("/agents/{agent_id}/fork")
async def fork(request: Request, agent_id: AgentId, state: State) -> Response:
    """Begin a conversation that shares what another has in context."""
    source = await _named(await read_form(request), agent_id, state)

    async def write(transaction: Transaction) -> Conversation:
        name = f"{await title_of(transaction, source)} (fork)"
        return await fork_conversation(transaction, source.id, state.author, summary=name)

    return _back(await state.store.write(write))


@router.post("/agents/{agent_id}/rename")
async def rename(request: Request, agent_id: AgentId, state: State) -> Response:
    """Name a conversation; without a name it is called by what was said first in it."""
    form = await read_form(request)
    return await _change(form, agent_id, state, {"summary": text_of(form, "name").strip() or None})


@router.post("/agents/{agent_id}/shelve")
async def shelve(request: Request, agent_id: AgentId, state: State) -> Response:
    """Close a conversation, which is kept as it is, or open it again."""
    form = await read_form(request)
    return await _change(form, agent_id, state, {"archived": text_of(form, "archived")})


@router.get("/messages/{message_id}/pictures/{number}")
async def picture(message_id: MessageId, number: int, scan: Scan) -> Response:
    """Return a picture of a message."""

    def shown(content: Any) -> Response:
        media_type, data = read_picture(content, number)
        return Response(data, headers={**SECURITY, "Cache-Control": "no-store"}, media_type=media_type)

    async def read(transaction: Transaction) -> Any:
        return (await find_message(transaction, message_id)).message.body.get("content", "")

    return await scan(read, shown)


async def _named(form: Mapping[str, list[str]], agent_id: str, state: ServerState) -> Conversation:
    """Return the conversation that a form is about."""
    name = text_of(form, "conversation")
    return await state.store.read(lambda transaction: conversation_of(transaction, agent_id, name))


async def _change(
    form: Mapping[str, list[str]], agent_id: str, state: ServerState, changes: Mapping[str, Any]
) -> Response:
    """Change a conversation that is not the agent's main one, and show it; one that was closed shows the main one."""
    conversation = await _named(form, agent_id, state)
    if conversation.id == agent_id:
        raise BadRequest("The main conversation lasts as long as the agent, and has its name.")
    columns = UpdateConversation.model_validate(changes).columns()
    changed = await state.store.write(
        lambda transaction: update_conversation(transaction, conversation.id, columns, {})
    )
    return redirect(f"/agents/{agent_id}") if changed.archived_at is not None else _back(changed)


def _answer(decided: Mapping[str, Decided]) -> SendMessages:
    approvals = [
        {"type": "approval", "tool_call_id": call_id, "approve": each.approve, "reason": each.reason}
        for call_id, each in decided.items()
    ]
    answer = {"type": "approval", "approvals": approvals}
    return SendMessages.model_validate({"messages": [answer], "stream_tokens": True})


def _back(conversation: Conversation) -> Response:
    return redirect(chat_address(conversation.agent_id, conversation.id))
