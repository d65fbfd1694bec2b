"""Conversations: many threads of one agent, with histories of their own and one memory."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.agents.abandoned_calls import settle_abandoned
from folkmoot.agents.conversations import begin_anew, create_conversation, fork_conversation, renew_system_message
from folkmoot.agents.creation import choose_model
from folkmoot.agents.deletion import remove_conversation, remove_messages
from folkmoot.agents.ephemeral import create_ephemeral_conversation
from folkmoot.agents.preparation import compact_now, system_text
from folkmoot.conversations.conversations import MAIN_CONVERSATION, Conversation, find_conversation
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
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.runs import UNFINISHED, Run, find_run
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.event_stream import EventStream
from folkmoot.server.scanning import SHORT_PAGE, Scan
from folkmoot.server.sending import (
    as_server_sent,
    begin_stream,
    cancel_runs,
    preview_request,
    read_request,
    send_and_wait,
)
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import AgentId, Deleted, IncludeErrors, MessageId, json_response, page_of
from folkmoot.server.wire.context import ResetMessages
from folkmoot.server.wire.conversations import (
    ArchiveStatus,
    CompactionReply,
    CompactionRequest,
    ConversationFields,
    ConversationReply,
    CreateConversation,
    EphemeralConversation,
    OrderBy,
    ResumeStream,
    SendToConversation,
    UpdateConversation,
)
from folkmoot.server.wire.messages import AnyMessage, MessageShape, TurnReply, show_messages
from folkmoot.server.wire.streams import StreamShape
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page

router = APIRouter(prefix="/v1/conversations", tags=["conversations"], route_class=BodyRoute)

NewestFirst = Annotated[Page, Depends(page_of("desc", by=None))]
MessagesNewestFirst = Annotated[Page, Depends(page_of("desc", 100))]


def named(conversation_id: str, agent_id: str | None = None) -> str:
    """Return the identifier of the conversation that a request names: its own, an agent's, or `default` with an agent.

    Raises:
        BadRequest: `default` without an agent.
        MalformedId: it is no such identifier.
    """
    if agent_id is not None:
        check_id("agent", agent_id)
    if conversation_id == MAIN_CONVERSATION:
        if agent_id is None:
            raise BadRequest(f"agent_id: say whose {MAIN_CONVERSATION} conversation is meant.")
        return agent_id
    return check_id("agent" if conversation_id.startswith("agent-") else "conv", conversation_id, "conversation_id")


@router.post("", response_model=ConversationReply)
async def create(agent_id: AgentId, state: State, body: CreateConversation | None = None) -> Response:
    """Begin a conversation of an agent."""
    wanted = body or CreateConversation.model_validate({})
    await _find_model(wanted, state)

    async def write(transaction: Transaction) -> ConversationReply:
        created = await create_conversation(
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


@router.post("/ephemeral", response_model=ConversationReply)
async def create_ephemeral(body: EphemeralConversation, state: State) -> Response:
    """Begin a conversation that is deleted a day later, with a hidden agent of its own that has no tools and memory."""
    plan = body.to_plan()
    model = await choose_model(plan, state.services)

    async def write(transaction: Transaction) -> ConversationReply:
        return await _shown(
            transaction, await create_ephemeral_conversation(transaction, plan, model, state.services, state.author)
        )

    return json_response(await state.store.write(write))


@router.get("", response_model=list[ConversationReply])
async def list_all(
    page: NewestFirst,
    scan: Scan,
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
        order_by="last_run_at" if order_by == "last_run_completion" else order_by,
    )

    async def read(transaction: Transaction) -> list[ConversationReply]:
        found = await list_conversations(transaction, wanted, page)
        return [await _shown(transaction, each) for each in found]

    return await scan(read, json_response)


@router.get("/{conversation_id}", response_model=ConversationReply)
async def retrieve(conversation_id: str, state: State, agent_id: str | None = None) -> Response:
    """Return a conversation."""
    conversation = await _named(conversation_id, agent_id, state)

    async def read(transaction: Transaction) -> ConversationReply:
        return await _shown(transaction, await find_conversation(transaction, conversation), whole=True)

    return json_response(await state.store.read(read))


@router.patch("/{conversation_id}", response_model=ConversationReply)
async def update(conversation_id: str, body: UpdateConversation, state: State, agent_id: str | None = None) -> Response:
    """Change a conversation's summary, model and settings; archive it."""
    conversation = await _named(conversation_id, agent_id, state)
    await _find_model(body, state)

    async def write(transaction: Transaction) -> ConversationReply:
        changed = await update_conversation(transaction, conversation, body.columns(), body.configuration())
        return await _shown(transaction, changed)

    return json_response(await state.store.write(write))


@router.delete("/{conversation_id}")
async def delete(conversation_id: str, state: State, agent_id: str | None = None) -> Deleted:
    """Delete a conversation with its messages and its copies of blocks; a turn of it that is under way is cancelled."""
    conversation = await _named(conversation_id, agent_id, state)
    if conversation == conversation_id and not conversation.startswith("agent-"):
        await cancel_in_conversation(conversation, state)
    await remove_conversation(state.store, conversation, state.author)
    return Deleted(message=f"Conversation id={conversation} successfully deleted")


@router.post("/{conversation_id}/fork", response_model=ConversationReply)
async def fork(
    conversation_id: str,
    state: State,
    agent_id: str | None = None,
    message_id: MessageId | None = None,
    before_message_id: MessageId | None = None,
    hidden: bool = False,
) -> Response:
    """Begin a conversation that shares what another has in context; the other stays as it is.

    All of it is shared, or what is up to `message_id`, or what came before `before_message_id`, which somebody said:
    then that can be said again, differently.
    """
    source = await _named(conversation_id, agent_id, state)
    if message_id is not None and before_message_id is not None:
        raise BadRequest("before_message_id: name this or message_id, not both.")

    async def write(transaction: Transaction) -> ConversationReply:
        forked = await fork_conversation(
            transaction, source, state.author, message_id, before=before_message_id, hidden=hidden
        )
        return await _shown(transaction, forked)

    return json_response(await state.store.write(write))


@router.post("/{conversation_id}/messages", response_model=TurnReply)
async def send(conversation_id: str, body: SendToConversation, state: State) -> Response:
    """Say something in a conversation and return a stream of the turn, or with `streaming: false` the whole turn."""
    conversation = await _find(await _named(conversation_id, body.agent_id, state), state)
    if body.streaming is not False or body.background:
        return await begin_stream(conversation.agent_id, conversation.id, body, state)
    return await send_and_wait(conversation.agent_id, conversation.id, body, state)


@router.post("/{conversation_id}/messages/preview-raw-payload")
async def preview(conversation_id: str, body: SendToConversation, state: State) -> dict[str, Any]:
    """Return the provider's request with which the message would be sent; no model is asked and nothing is stored."""
    conversation = await _find(await _named(conversation_id, body.agent_id, state), state)
    return await preview_request(read_request(conversation.agent_id, conversation.id, body, state), state)


@router.get("/{conversation_id}/messages", response_model=list[AnyMessage])
async def list_of_messages(
    conversation_id: str,
    page: MessagesNewestFirst,
    state: State,
    scan: Scan,
    agent_id: str | None = None,
    include_return_message_types: Annotated[list[MessageType] | None, Query()] = None,
    include_compaction_messages: bool = False,
    group_id: str | None = None,
    include_err: IncludeErrors = None,
) -> Response:
    """List the conversation's messages, the newest first unless the request says otherwise; none is of a group."""
    conversation, types = await _named(conversation_id, agent_id, state), include_return_message_types
    shape = MessageShape(summaries=include_compaction_messages)

    async def read(transaction: Transaction) -> list[Message]:
        await find_conversation(transaction, conversation)
        if group_id is not None:
            return []
        return await list_messages(transaction, conversation, page, types, summaries=include_compaction_messages)

    return await scan(
        read,
        lambda found: json_response(show_messages(found, shape, types)),
        short=page.limit <= SHORT_PAGE and types is None,
    )


@router.post("/{conversation_id}/stream", response_class=EventStream)
async def resume(conversation_id: str, state: State, body: ResumeStream | None = None) -> Response:
    """Stream the events of the conversation's run under way, those that were and those that come, to its end."""
    wanted = body or ResumeStream.model_validate({})
    conversation = await _find(await _named(conversation_id, wanted.agent_id, state), state)
    run = await _run_to_follow(conversation, wanted, state)
    return EventStream(as_server_sent(state.runs.follow(run.id, wanted.starting_after), StreamShape.of_run(run)))


@router.patch("/{conversation_id}/reset-messages", response_model=ConversationReply)
async def reset(
    conversation_id: str, state: State, body: ResetMessages | None = None, agent_id: str | None = None
) -> Response:
    """Begin the conversation anew: all but its system message leaves the context; a turn of it is cancelled.

    Its messages can still be listed, searched and exported, unless `delete_messages` says that they are to go.
    """
    which = await _named(conversation_id, agent_id, state)
    await reset_conversation(which, body or ResetMessages(), state)

    async def read(transaction: Transaction) -> ConversationReply:
        return await _shown(transaction, await find_conversation(transaction, which), whole=True)

    return json_response(await state.store.read(read))


@router.post("/{conversation_id}/cancel")
async def cancel(conversation_id: str, state: State, agent_id: str | None = None) -> dict[str, str]:
    """Cancel the conversation's runs that wait or are under way, and say what became of each."""
    return await cancel_in_conversation(await _named(conversation_id, agent_id, state), state)


@router.post("/{conversation_id}/compact", response_model=CompactionReply)
async def compact(conversation_id: str, state: State, body: CompactionRequest | None = None) -> Response:
    """Let the conversation's oldest messages leave its context, and put a summary in their place."""
    wanted = body or CompactionRequest()
    conversation = await _named(conversation_id, wanted.agent_id, state)
    return json_response(await compact_conversation(conversation, wanted, state))


@router.post("/{conversation_id}/recompile")
async def recompile(
    conversation_id: str, state: State, body: CompactionRequest | None = None, dry_run: bool = False
) -> str:
    """Renew the conversation's system message, unless it is a dry run, and return what its next turn begins with."""
    conversation = await _named(conversation_id, body.agent_id if body is not None else None, state)
    return await recompile_conversation(conversation, state, dry_run=dry_run)


async def recompile_conversation(conversation_id: str, state: ServerState, *, dry_run: bool) -> str:
    """Renew a conversation's system message and return the instructions and the memory as its model reads them now."""

    async def write(transaction: Transaction) -> str:
        await renew_system_message(transaction, conversation_id)
        return await system_text(transaction, conversation_id, state.services)

    if dry_run:
        return await state.store.read(lambda transaction: system_text(transaction, conversation_id, state.services))
    return await state.store.write(write)


async def compact_conversation(conversation_id: str, wanted: CompactionRequest, state: ServerState) -> CompactionReply:
    """Compact a conversation and say what came of it."""
    done = await compact_now(state.services, conversation_id, wanted.settings())
    return CompactionReply(summary=done.summary, num_messages_before=done.before, num_messages_after=done.after)


async def cancel_in_conversation(conversation_id: str, state: ServerState) -> dict[str, str]:
    """Cancel what waits or is under way in a conversation, and what waits for a decision."""
    conversation = await _find(conversation_id, state)
    wanted = RunFilter([conversation.agent_id], conversation_id=conversation_id, statuses=UNFINISHED)
    outcomes = await cancel_runs(wanted, state)
    await state.store.write(lambda transaction: settle_abandoned(transaction, conversation_id))
    return outcomes


async def reset_conversation(conversation_id: str, wanted: ResetMessages, state: ServerState) -> None:
    """Cancel what is under way in a conversation, and let its messages leave the context, or delete them."""
    await cancel_in_conversation(conversation_id, state)
    if wanted.delete_messages:
        await remove_messages(state.store, conversation_id)
    else:
        await state.store.write(lambda transaction: begin_anew(transaction, conversation_id))


async def _run_to_follow(conversation: Conversation, wanted: ResumeStream, state: ServerState) -> Run:
    async def read(transaction: Transaction) -> Run | None:
        if wanted.run_id is not None:
            run = await find_run(transaction, wanted.run_id)
            if run.conversation_id != conversation.id:
                raise NotFound(f"Run with id '{run.id}' is none of conversation {conversation.id}")
            return run
        unfinished = RunFilter([conversation.agent_id], conversation_id=conversation.id, statuses=UNFINISHED)
        newest = await list_runs(transaction, unfinished, Page(limit=LARGEST_PAGE, order="desc"))
        if wanted.otid is None:
            return newest[0] if newest else None
        asked = next((run for run in newest if wanted.otid in run.details.get("otids", ())), None)
        if asked is not None:
            return asked
        run_id = await run_of_otid(transaction, conversation.id, wanted.otid)
        return None if run_id is None else await find_run(transaction, run_id)

    run = await state.store.read(read)
    if run is None:
        raise BadRequest("No active runs found for this conversation. Name one by run_id to read what it was.")
    return run


async def _shown(transaction: Transaction, conversation: Conversation, *, whole: bool = False) -> ConversationReply:
    """Show a conversation; `whole` with its system message even when nothing was said yet, as the contract has it."""
    message_ids = (await ids_in_context(transaction, [conversation.id]))[conversation.id]
    blocks = await isolated_block_ids(transaction, [conversation.id])
    shown = message_ids if whole or len(message_ids) > 1 else ()
    return ConversationReply.of(conversation, shown, blocks.get(conversation.id, ()))


async def _named(conversation_id: str, agent_id: str | None, state: ServerState) -> str:
    """Return the identifier of the conversation that a request names, the agent's where it names one beside.

    Raises:
        BadRequest: `default` without an agent.
        MalformedId: it is no such identifier.
        NotFound: it names a conversation of another agent, or one that is not there.
    """
    which = named(conversation_id, agent_id)
    if agent_id not in (None, which) and (await _find(which, state)).agent_id != agent_id:
        raise NotFound(f"Conversation {which} is none of agent {agent_id}")
    return which


async def _find(conversation_id: str, state: ServerState) -> Conversation:
    return await state.store.read(lambda transaction: find_conversation(transaction, conversation_id))


async def _find_model(body: ConversationFields, state: ServerState) -> None:
    """Put the handle of the model that the request names in its place."""
    if body.model is not None:
        body.model = await state.services.catalogue.find_handle(body.model)
