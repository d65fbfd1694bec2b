"""Conversations: many threads of one agent, with histories of their own and one memory."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.agents.abandoned_calls import settle_abandoned
from folkmoot.agents.context_state import compact_now
from folkmoot.agents.threads import create_thread, delete_thread, fork_thread
from folkmoot.conversations.conversations import Conversation, find_conversation
from folkmoot.conversations.listing import (
    ConversationFilter,
    isolated_block_ids,
    list_conversations,
    run_of_otid,
    update_conversation,
)
from folkmoot.conversations.messages import Message, MessageType, ids_in_context, list_messages
from folkmoot.errors import BadRequest, NotFound
from folkmoot.identifiers import check_id
from folkmoot.models.providers import resolve
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.runs import UNFINISHED, find_run
from folkmoot.server.compiling import begin_prompt, system_text
from folkmoot.server.event_stream import EventStream
from folkmoot.server.sending import (
    as_server_sent,
    begin_stream,
    cancel_runs,
    preview_request,
    read_asked,
    send_and_wait,
)
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import AgentId, Deleted, MessageId, json_response, page_of
from folkmoot.server.wire.conversations import (
    ArchiveStatus,
    CompactionReply,
    CompactionRequest,
    ConversationReply,
    CreateConversation,
    OrderBy,
    ResumeStream,
    SendToConversation,
    UpdateConversation,
)
from folkmoot.server.wire.messages import AnyMessage, MessageShape, TurnReply, show_messages
from folkmoot.server.wire.streams import StreamShape
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])

MAIN = "default"
"""How a client names an agent's main conversation, beside the agent."""

NewestFirst = Annotated[Page, Depends(page_of("desc"))]
MessagesNewestFirst = Annotated[Page, Depends(page_of("desc", 100))]


def named(conversation_id: str, agent_id: str | None = None) -> str:
    """Return the identifier of the conversation that a request names: its own, an agent's, or `default` with an agent.

    Raises:
        BadRequest: `default` without an agent.
        MalformedId: it is no such identifier.
    """
    if conversation_id == MAIN:
        if agent_id is None:
            raise BadRequest(f"agent_id: say whose {MAIN} conversation is meant.")
        return check_id("agent", agent_id)
    return check_id("agent" if conversation_id.startswith("agent-") else "conv", conversation_id, "conversation_id")


@router.post("", response_model=ConversationReply)
async def create(agent_id: AgentId, state: State, body: CreateConversation | None = None) -> Response:
    """Begin a conversation of an agent."""
    wanted = body or CreateConversation.model_validate({})
    _check_model(wanted.model, state)

    async def write(transaction: Transaction) -> ConversationReply:
        created = await create_thread(
            transaction,
            agent_id,
            state.author,
            summary=wanted.summary,
            isolated_labels=wanted.isolated_block_labels or (),
            hidden=wanted.hidden,
            configuration=wanted.configuration(),
        )
        return await _shown(transaction, created)

    return json_response(await state.store.write(write))


@router.get("", response_model=list[ConversationReply])
async def list_all(
    page: NewestFirst,
    state: State,
    agent_id: AgentId | None = None,
    summary_search: str | None = None,
    archive_status: ArchiveStatus = "unarchived",
    order_by: OrderBy = "created_at",
) -> Response:
    """List conversations, the newest first unless the request says otherwise."""
    wanted = ConversationFilter(
        agent_id=agent_id,
        summary_search=summary_search,
        archived=None if archive_status == "all" else archive_status == "archived",
        order_by="created_at" if order_by == "created_at" else "last_message_at",
    )

    async def read(transaction: Transaction) -> list[ConversationReply]:
        found = await list_conversations(transaction, wanted, page)
        blocks = await isolated_block_ids(transaction, [each.id for each in found])
        return [
            ConversationReply.of(
                each, await ids_in_context(transaction, each.id, each.context_start), blocks.get(each.id, ())
            )
            for each in found
        ]

    return json_response(await state.store.read(read))


@router.get("/{conversation_id}", response_model=ConversationReply)
async def retrieve(conversation_id: str, state: State, agent_id: str | None = None) -> Response:
    """Return a conversation."""
    conversation = named(conversation_id, agent_id)

    async def read(transaction: Transaction) -> ConversationReply:
        return await _shown(transaction, await find_conversation(transaction, conversation))

    return json_response(await state.store.read(read))


@router.patch("/{conversation_id}", response_model=ConversationReply)
async def update(conversation_id: str, body: UpdateConversation, state: State) -> Response:
    """Change a conversation's summary, model and settings; archive it."""
    conversation = named(conversation_id)
    _check_model(body.model, state)

    async def write(transaction: Transaction) -> ConversationReply:
        changed = await update_conversation(transaction, conversation, body.columns(), body.configuration())
        return await _shown(transaction, changed)

    return json_response(await state.store.write(write))


@router.delete("/{conversation_id}")
async def delete(conversation_id: str, state: State) -> Deleted:
    """Delete a conversation with its messages and its copies of blocks; a turn of it that is under way is cancelled."""
    conversation = named(conversation_id)
    if conversation == conversation_id and not conversation.startswith("agent-"):
        await cancel_in_conversation(conversation, state)
    await state.store.write(lambda transaction: delete_thread(transaction, conversation))
    return Deleted(message=f"Conversation id={conversation} successfully deleted")


@router.post("/{conversation_id}/fork", response_model=ConversationReply)
async def fork(
    conversation_id: str,
    state: State,
    agent_id: str | None = None,
    message_id: MessageId | None = None,
    hidden: bool = False,
) -> Response:
    """Begin a conversation with copies of what another has in context; the other stays as it is."""
    source = named(conversation_id, agent_id)

    async def write(transaction: Transaction) -> ConversationReply:
        forked = await fork_thread(transaction, source, state.author, message_id, hidden=hidden)
        return await _shown(transaction, forked)

    return json_response(await state.store.write(write))


@router.post("/{conversation_id}/messages", response_model=TurnReply)
async def send(conversation_id: str, body: SendToConversation, state: State) -> Response:
    """Say something in a conversation and return a stream of the turn, or with `streaming: false` the whole turn."""
    conversation = await _find(named(conversation_id, body.agent_id), state)
    if body.streaming is not False or body.background:
        return await begin_stream(conversation.agent_id, conversation.id, body, state)
    return await send_and_wait(conversation.agent_id, conversation.id, body, state)


@router.post("/{conversation_id}/messages/preview-raw-payload")
async def preview(conversation_id: str, body: SendToConversation, state: State) -> dict[str, Any]:
    """Return the provider's request with which the message would be sent; no model is asked and nothing is stored."""
    conversation = await _find(named(conversation_id, body.agent_id), state)
    return await preview_request(read_asked(conversation.agent_id, conversation.id, body, state), state)


@router.get("/{conversation_id}/messages", response_model=list[AnyMessage])
async def list_of_messages(
    conversation_id: str,
    page: MessagesNewestFirst,
    state: State,
    agent_id: str | None = None,
    include_return_message_types: Annotated[list[MessageType] | None, Query()] = None,
    include_compaction_messages: bool = False,
) -> Response:
    """List the conversation's messages, the newest first unless the request says otherwise."""
    conversation, types = named(conversation_id, agent_id), include_return_message_types
    shape = MessageShape(summaries=include_compaction_messages)

    async def read(transaction: Transaction) -> list[Message]:
        await find_conversation(transaction, conversation)
        return await list_messages(transaction, conversation, page, types, summaries=include_compaction_messages)

    return json_response(show_messages(await state.store.read(read), shape, types))


@router.post("/{conversation_id}/stream", response_class=EventStream)
async def resume(conversation_id: str, state: State, body: ResumeStream | None = None) -> Response:
    """Stream the events of the conversation's run under way, those that were and those that come, to its end."""
    wanted = body or ResumeStream.model_validate({})
    conversation = await _find(named(conversation_id, wanted.agent_id), state)
    run_id = await _run_to_follow(conversation, wanted, state)
    shape = StreamShape(MessageShape())
    return EventStream(as_server_sent(state.runs.follow(run_id, wanted.starting_after, shape.encode)))


@router.post("/{conversation_id}/cancel")
async def cancel(conversation_id: str, state: State, agent_id: str | None = None) -> dict[str, str]:
    """Cancel the conversation's runs that wait or are under way, and say what became of each."""
    return await cancel_in_conversation(named(conversation_id, agent_id), state)


@router.post("/{conversation_id}/compact", response_model=CompactionReply)
async def compact(conversation_id: str, state: State, body: CompactionRequest | None = None) -> Response:
    """Let the conversation's oldest messages leave its context, and put a summary in their place."""
    wanted = body or CompactionRequest()
    return json_response(await compact_conversation(named(conversation_id, wanted.agent_id), wanted, state))


@router.post("/{conversation_id}/recompile")
async def recompile(conversation_id: str, state: State, body: CompactionRequest | None = None) -> str:
    """Return the system text as the conversation's next turn begins with it; nothing has to be stored for that."""
    conversation = named(conversation_id, body.agent_id if body is not None else None)
    return await state.store.read(lambda transaction: system_text(transaction, conversation))


async def compact_conversation(conversation_id: str, wanted: CompactionRequest, state: ServerState) -> CompactionReply:
    """Compact a conversation and say what came of it."""
    prompt_of = await state.store.read(lambda transaction: begin_prompt(transaction, conversation_id))
    summary, before, after = await compact_now(state.services, conversation_id, prompt_of, wanted.compaction_settings)
    return CompactionReply(summary=summary, num_messages_before=before, num_messages_after=after)


async def cancel_in_conversation(conversation_id: str, state: ServerState) -> dict[str, str]:
    """Cancel what waits or is under way in a conversation, and what waits for a decision."""
    conversation = await _find(conversation_id, state)
    wanted = RunFilter([conversation.agent_id], conversation_id=conversation_id, statuses=UNFINISHED)
    outcomes = await cancel_runs(wanted, state)
    await state.store.write(lambda transaction: settle_abandoned(transaction, conversation_id))
    return outcomes


async def _run_to_follow(conversation: Conversation, wanted: ResumeStream, state: ServerState) -> str:
    async def read(transaction: Transaction) -> str | None:
        if wanted.run_id is not None:
            run = await find_run(transaction, wanted.run_id)
            if run.conversation_id != conversation.id:
                raise NotFound(f"Run with id '{run.id}' is none of conversation {conversation.id}")
            return run.id
        unfinished = RunFilter([conversation.agent_id], conversation_id=conversation.id, statuses=UNFINISHED)
        newest = await list_runs(transaction, unfinished, Page(limit=LARGEST_PAGE, order="desc"))
        if wanted.otid is None:
            return newest[0].id if newest else None
        asked = (run.id for run in newest if wanted.otid in run.details.get("otids", ()))
        run_id = next(asked, None) or await run_of_otid(transaction, conversation.id, wanted.otid)
        return None if run_id is None else (await find_run(transaction, run_id)).id

    run_id = await state.store.read(read)
    if run_id is None:
        raise BadRequest("No run of this conversation is under way. Name one by run_id to read what it was.")
    return run_id


async def _shown(transaction: Transaction, conversation: Conversation) -> ConversationReply:
    message_ids = await ids_in_context(transaction, conversation.id, conversation.context_start)
    blocks = await isolated_block_ids(transaction, [conversation.id])
    return ConversationReply.of(conversation, message_ids, blocks.get(conversation.id, ()))


async def _find(conversation_id: str, state: ServerState) -> Conversation:
    return await state.store.read(lambda transaction: find_conversation(transaction, conversation_id))


def _check_model(model: str | None, state: ServerState) -> None:
    if model is not None:
        resolve(model, state.services.environ)
