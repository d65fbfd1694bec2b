"""An agent's further conversations: begun, forked, deleted; each may have copies of blocks for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from folkmoot.agents.agents import Agent, find_agent
from folkmoot.agents.instructions import system_content
from folkmoot.conversations import listing
from folkmoot.conversations.conversations import (
    Conversation,
    append_messages,
    find_conversation,
    start_conversation,
)
from folkmoot.conversations.messages import (
    Message,
    find_in_conversation,
    ids_in_context,
    place_behind_step,
    set_system_message,
    some_in_context,
)
from folkmoot.errors import BadRequest, InvalidInput, NotFound
from folkmoot.identifiers import derived_id, new_id
from folkmoot.memory.attachments import attached_rows, isolated_rows
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import Block, create_block, delete_block
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.tables import conversation_blocks


async def create_conversation(
    transaction: Transaction,
    agent_id: str,
    author: Author,
    *,
    summary: str | None = None,
    isolated_labels: Sequence[str] = (),
    hidden: bool = False,
    configuration: Mapping[str, Any] | None = None,
    conversation_id: str | None = None,
) -> Conversation:
    """Begin a conversation of the agent, which shares its memory except for copies of the blocks of these labels.

    `conversation_id` is its identifier; a fresh one when None.

    Raises:
        NotFound: there is no such agent, or it has no block of such a label.
    """
    agent = await find_agent(transaction, agent_id)
    conversation_id = conversation_id or new_id("conv")
    rows = await _labelled(transaction, agent, isolated_labels)
    await start_conversation(
        transaction,
        agent_id,
        conversation_id,
        [_system_message(agent, conversation_id)],
        summary=summary,
        hidden=hidden,
        configuration=configuration,
    )
    await _copy_blocks(transaction, conversation_id, rows, author)
    return await find_conversation(transaction, conversation_id)


async def conversation_of_session(transaction: Transaction, agent_id: str, session: str, author: Author) -> str:
    """Return the agent's conversation of a session that a program names in its own way; the first time it is begun.

    Raises:
        NotFound: there is no such agent, or the conversation is just being deleted.
    """
    agent = await find_agent(transaction, agent_id, lock=True)  # so that it is begun once
    conversation_id = derived_id("conv", agent.id, session)
    try:
        return (await find_conversation(transaction, conversation_id)).id
    except NotFound:
        return (await create_conversation(transaction, agent_id, author, conversation_id=conversation_id)).id


async def fork_conversation(
    transaction: Transaction,
    source_id: str,
    author: Author,
    message_id: str | None = None,
    *,
    before: str | None = None,
    summary: str | None = None,
    hidden: bool = False,
    conversation_id: str | None = None,
) -> Conversation:
    """Begin a conversation that shares what another has in context; the other stays as it is.

    Args:
        transaction: where to write.
        source_id: the other conversation.
        author: who forks, for its copies of blocks.
        message_id: the last message that is shared; all are when None.
        before: something that was said; what came before it is shared.
        summary: what it is called; None takes the other's.
        hidden: whether lists leave it out.
        conversation_id: its identifier; a fresh one when None.

    Raises:
        NotFound: there is no such conversation.
        BadRequest: the message is not in its context, or `before` names one that nobody said.
    """
    source = await find_conversation(transaction, source_id, lock=True)
    agent = await find_agent(transaction, source.agent_id)
    end = None
    if message_id is not None:
        end = await _behind(transaction, source, message_id)
    elif before is not None:
        end = await _in_front_of(transaction, source, before)
    conversation_id = conversation_id or new_id("conv")
    await start_conversation(
        transaction,
        agent.id,
        conversation_id,
        [_system_message(agent, conversation_id)],
        summary=source.summary if summary is None else summary,
        context_summary=source.context_summary,
        hidden=hidden,
        configuration=source.configuration,
    )
    start = source.context_start
    while some := await some_in_context(transaction, source_id, start, end):
        shared = [replace(message, run_id=None) for message in some]  # the run was one of the other conversation
        await append_messages(transaction, conversation_id, shared, None)
        start = some[-1].sequence + 1
    own = await isolated_rows(transaction, source_id) if source_id != agent.id else ()
    await _copy_blocks(transaction, conversation_id, own, author)
    return await find_conversation(transaction, conversation_id)


async def delete_conversation(transaction: Transaction, conversation_id: str) -> None:
    """Delete a conversation with what is left of its messages and runs, and with the blocks that it has for itself."""
    own = await listing.isolated_block_ids(transaction, [conversation_id])
    for block_id in own.get(conversation_id, ()):
        await delete_block(transaction, block_id)
    await listing.delete_conversation(transaction, conversation_id)


def check_deletable(conversation: Conversation) -> None:
    """Refuse to delete an agent's main conversation.

    Raises:
        BadRequest: it is one.
    """
    if conversation.id == conversation.agent_id:
        raise BadRequest(
            f"The main conversation of agent {conversation.agent_id} lasts as long as the agent. "
            "Reset it with delete_messages, or delete the agent."
        )


async def begin_anew(transaction: Transaction, conversation_id: str) -> None:
    """Let what was said in a conversation leave its context, without a summary; it can still be read and found.

    Raises:
        NotFound: there is no such conversation.
    """
    await listing.clear_context(transaction, await find_conversation(transaction, conversation_id, lock=True))


async def keep_in_context(transaction: Transaction, conversation_id: str, message_ids: Sequence[str]) -> None:
    """Let all but some messages leave a conversation's context, of which only the newest can stay.

    Args:
        transaction: where to write.
        conversation_id: which conversation.
        message_ids: of those that stay, in order; the system message, which always does, may be named first.

    Raises:
        NotFound: there is no such conversation.
        InvalidInput: they are not the newest of the context from something that was said on.
    """
    conversation = await find_conversation(transaction, conversation_id, lock=True)
    system, *now = (await ids_in_context(transaction, [conversation_id]))[conversation_id]
    kept = list(message_ids[1:] if message_ids[:1] == [system] else message_ids)
    if kept == now:
        return
    if not kept:
        await listing.clear_context(transaction, conversation)
        return
    first = await find_in_conversation(transaction, conversation_id, kept[0])
    if kept != now[-len(kept) :] or first is None or first.message_type != "user_message":
        raise InvalidInput(
            f"message_ids: of the {len(now)} messages in context only the newest can stay, without gaps and from a "
            "user_message on. Leave message_ids out to change nothing."
        )
    await listing.narrow_context(transaction, conversation, first.sequence)


async def renew_system_message(transaction: Transaction, conversation_id: str) -> None:
    """Let the conversation's system message say what its model is told now.

    Raises:
        NotFound: there is no such conversation.
    """
    conversation = await find_conversation(transaction, conversation_id, lock=True)
    agent = await find_agent(transaction, conversation.agent_id)
    await set_system_message(transaction, conversation_id, _system_message(agent, conversation_id).body)


def _system_message(agent: Agent, conversation_id: str) -> Message:
    return Message("system_message", system_content(agent.system, agent.id, conversation_id))


async def _behind(transaction: Transaction, source: Conversation, message_id: str) -> int | None:
    """Return the place behind a message and, if it is of a reply, behind its step, which no fork cuts in two."""
    message = await _shown(transaction, source, message_id, "message_id")
    if message.message_type == "user_message" or message.step_id is None:
        return message.sequence + 1
    return await place_behind_step(transaction, source.id, message)


async def _in_front_of(transaction: Transaction, source: Conversation, message_id: str) -> int:
    """Return the place of something that was said."""
    message = await _shown(transaction, source, message_id, "before_message_id")
    if message.message_type != "user_message":
        raise BadRequest(
            f"before_message_id: {message_id} is part of a reply; name a user_message, or with message_id the last "
            "message that is to be shared."
        )
    return message.sequence


async def _shown(transaction: Transaction, source: Conversation, message_id: str, field: str) -> Message:
    """Return a message of a conversation's context.

    Raises:
        BadRequest: it is not in there.
    """
    message = await find_in_conversation(transaction, source.id, message_id)
    if message is None or message.sequence < source.context_start or message.message_type == "summary_message":
        raise BadRequest(f"{field}: {message_id} is not in the conversation's context.")
    return message


async def _labelled(transaction: Transaction, agent: Agent, labels: Sequence[str]) -> list[Row]:
    if not labels:
        return []
    rows = {row["label"]: row for row in await attached_rows(transaction, agent.id)}
    for label in labels:
        if label not in rows:
            known = ", ".join(map(repr, rows)) or "none"
            raise NotFound(
                f"isolated_block_labels: agent {agent.id} has no block labelled {label!r}. Its blocks: {known}."
            )
    return [rows[label] for label in dict.fromkeys(labels)]


async def _copy_blocks(transaction: Transaction, conversation_id: str, rows: Sequence[Row], author: Author) -> None:
    """Give the conversation copies of these blocks; what an agent may do with them stays the same."""
    copies = []
    for row in rows:
        block = Block.from_row(row)
        names = ("label", "value", "limit", "description", "read_only", "metadata", "tags", "hidden", "project_id")
        fields = {name: getattr(block, name) for name in names}
        copy = await create_block(transaction, fields, author)
        copies.append(
            {
                "conversation_id": conversation_id,
                "block_id": copy.id,
                "access": row["access"],
            }
        )
    await transaction.insert(conversation_blocks, copies)
