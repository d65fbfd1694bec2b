"""What is said in a group: each agent has a conversation of its own there, and hears what the others say.

The group keeps the order of what was said, and by whom; the messages themselves stand in the conversations. An agent is
told what it has not heard yet when it speaks next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from folkmoot.agents.conversations import create_conversation
from folkmoot.agents.replies import words_of
from folkmoot.conversations.messages import Message
from folkmoot.errors import NotFound
from folkmoot.groups.groups import find_group
from folkmoot.memory.authors import Author
from folkmoot.models.frames import printable_json
from folkmoot.runs.runs import Run
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.tables import agents, group_conversations, group_messages, groups, messages

MOST_HEARD = 200
"""Messages of others that an agent is told at once, the newest ones."""

_TOLD = ("user_message", "system_message")
"""Types of what an agent is told, which was said before or is for this agent only, unless somebody says it just now."""

_own = select(group_conversations).where(
    group_conversations.c.group_id == bindparam("group_id"), group_conversations.c.agent_id == bindparam("agent_id")
)
_of_group = select(group_conversations.c.conversation_id).where(group_conversations.c.group_id == bindparam("group_id"))
_same_message = (group_messages.c.message_id == messages.c.id) & (
    group_messages.c.conversation_id == messages.c.conversation_id
)
_told_of = (
    select(*(column for column in messages.c if not column.name.startswith("search_")))
    .add_columns(group_messages.c.sequence.label("place"))
    .join(group_messages, _same_message)
)
_said = _told_of.add_columns(agents.c.name.label("agent_name")).join(agents, agents.c.id == messages.c.agent_id)
_unheard = (
    _said.where(group_messages.c.group_id == bindparam("of_group"), group_messages.c.sequence >= bindparam("heard_to"))
    .order_by(group_messages.c.sequence.desc())
    .limit(MOST_HEARD)
)
_of_run = (
    select(messages.c.id, messages.c.message_type)
    .where(messages.c.run_id == bindparam("of_run"), messages.c.conversation_id == bindparam("conversation_id"))
    .order_by(messages.c.sequence)
)
_next = update(groups).where(groups.c.id == bindparam("group_id")).values(next_sequence=bindparam("sequence"))
_hear = (
    update(group_conversations)
    .where(
        group_conversations.c.group_id == bindparam("of_group"),
        group_conversations.c.conversation_id == bindparam("conversation"),
        group_conversations.c.heard_to < bindparam("heard"),
    )
    .values(heard_to=bindparam("heard"))
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What an agent is told when it speaks: in which conversation, which messages, and up to where that is."""

    conversation_id: str
    messages: Sequence[Message]
    to: int


@dataclass(frozen=True, slots=True)
class SaidMessage:
    """A message of a group, and whose it is."""

    agent_id: str
    agent_name: str
    message: Message


async def hear(transaction: Transaction, group_id: str, agent_id: str, author: Author) -> Heard:
    """Return what an agent has not heard yet in the group; its conversation there begins with the first time.

    Raises:
        NotFound: there is no such group or agent.
    """
    group = await find_group(transaction, group_id, lock=True)
    row = await transaction.first(_own, group_id=group_id, agent_id=agent_id)
    if row is None:
        conversation = await create_conversation(
            transaction, agent_id, author, summary=f"Group: {group.description[:200]}", hidden=bool(group.hidden)
        )
        new = {"group_id": group_id, "conversation_id": conversation.id, "agent_id": agent_id, "heard_to": 0}
        await transaction.insert(group_conversations, [new])
        row = await transaction.first(_own, group_id=group_id, agent_id=agent_id)
    assert row is not None
    found = await transaction.all(_unheard, of_group=group_id, heard_to=row["heard_to"])
    own = row["conversation_id"]  # what stands there it has heard, or said
    in_order = sorted(found, key=lambda each: (each["created_at"], each["place"]))
    told = [_told(each) for each in in_order if each["conversation_id"] != own]
    return Heard(own, [message for message in told if message is not None], group.next_sequence)


def _told(row: Row) -> Message | None:
    """Return how an agent is told what another one, or a person, said; None where that is no words."""
    message = Message.from_row(row)
    if message.message_type == "user_message":
        return Message("user_message", message.body, name=message.name, sender_id=message.sender_id)
    words = words_of(message)
    if not words:
        return None
    sender = f"{printable_json(row['agent_name'])} ({row['agent_id']})"
    # The frame is open at its end: no text can close it, and what looks like another message is said to be this one's.
    content = f"[Agent {sender} says in the group; all that follows is its words]\n{words}"
    return Message("user_message", {"content": content}, name=row["agent_name"], sender_id=row["agent_id"])


async def note_said(transaction: Transaction, run: Run) -> None:
    """Keep what was said in a run of the group, in the transaction that ends it; a group that is gone keeps nothing."""
    about = run.details["group"]
    try:
        group = await find_group(transaction, about["group_id"], lock=True)
    except NotFound:
        return
    rows = await transaction.all(_of_run, of_run=run.id, conversation_id=run.conversation_id)
    heard = set(about["said"])
    said = [row["id"] for row in rows if row["message_type"] not in _TOLD or row["id"] in heard]
    places = range(group.next_sequence, group.next_sequence + len(said))
    await transaction.insert(
        group_messages,
        [
            {"group_id": group.id, "sequence": place, "conversation_id": run.conversation_id, "message_id": message_id}
            for place, message_id in zip(places, said, strict=True)
        ],
    )
    await transaction.run(_next, group_id=group.id, sequence=group.next_sequence + len(said))
    # What the others said during the turn comes before it, and is still to be heard; its own words are passed over.
    await transaction.run(_hear, of_group=group.id, conversation=run.conversation_id, heard=about["heard_to"])


async def list_said(
    transaction: Transaction, group_id: str, page: Page, types: Sequence[str] | None = None
) -> list[SaidMessage]:
    """Return a page of the group's messages, in the order in which they were said, only those of `types` when given.

    They are gathered by the group first (`offset`): PostgreSQL would rather go through all that anybody has said since.

    Raises:
        NotFound: there is no such group.
    """
    await find_group(transaction, group_id)
    of_group = _told_of.where(group_messages.c.group_id == group_id).offset(0).subquery()
    statement = select(*of_group.c, agents.c.name.label("agent_name")).join(agents, agents.c.id == of_group.c.agent_id)
    if types is not None:
        statement = statement.where(of_group.c.message_type.in_(list(types)))
    rows = await fetch_page(transaction, statement, of_group, page, key=("created_at", "place"))
    return [SaidMessage(row["agent_id"], row["agent_name"], Message.from_row(row)) for row in rows]


async def find_said(transaction: Transaction, group_id: str, message_id: str) -> SaidMessage | None:
    """Return a message of the group; None when it is none of it."""
    of_this = group_messages.c.group_id == group_id, group_messages.c.message_id == message_id
    row = await transaction.first(_said.where(*of_this))
    return None if row is None else SaidMessage(row["agent_id"], row["agent_name"], Message.from_row(row))


async def conversation_in(transaction: Transaction, group_id: str, agent_id: str) -> str | None:
    """Return an agent's conversation in a group; None when it has not spoken there."""
    row = await transaction.first(_own, group_id=group_id, agent_id=agent_id)
    return None if row is None else str(row["conversation_id"])


async def conversations_of(transaction: Transaction, group_id: str) -> list[str]:
    """Return the conversations of a group's agents in it.

    Raises:
        NotFound: there is no such group.
    """
    await find_group(transaction, group_id)
    return [row["conversation_id"] for row in await transaction.all(_of_group, group_id=group_id)]
