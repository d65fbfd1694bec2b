"""Messages as they are stored: one row for each message that a client sees.

A model's reply becomes several of them (reasoning, text, each tool call) that share a step. `body` holds the fields of
the message's type:

    system_message      {"content": text}
    user_message        {"content": text or parts}
    assistant_message   {"content": text}
    reasoning_message   {"reasoning": text, "signature": …, "provider": …}
    tool_call_message   {"tool_call": {"name", "arguments", "tool_call_id"}}
    tool_return_message {"tool_return", "status", "tool_call_id", "stdout", "stderr"}
    approval_request_message  {"tool_calls": [{"name", "arguments", "tool_call_id"}, …]}
    approval_response_message {"approvals": […], "approve", "approval_request_id", "reason"}
    summary_message     {"summary": text, "compaction_stats": {…}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, TypeAlias

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, exists, func, or_, select, true, update

from folkmoot.identifiers import new_id
from folkmoot.store import clock
from folkmoot.store.deletions import message_is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.several import Several
from folkmoot.store.tables import conversations, group_conversations, messages, steps
from folkmoot.store.words import indexed_text

MessageType: TypeAlias = Literal[
    "system_message",
    "user_message",
    "assistant_message",
    "reasoning_message",
    "hidden_reasoning_message",
    "tool_call_message",
    "tool_return_message",
    "approval_request_message",
    "approval_response_message",
    "summary_message",
    "event_message",
]

STORED_AT_ONCE = 100
"""Messages that are made rows of, or of rows, before others have their turn."""
_LAST_PLACE = 2**63 - 1
_decode = json.JSONDecoder().raw_decode  # half of what json.loads takes, which looks for blanks around

_SEARCHED = ("user_message", "assistant_message", "tool_return_message")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `sequence` orders it there and is -1 until it is stored."""

    message_type: MessageType
    body: Mapping[str, Any]
    name: str | None = None
    otid: str | None = None
    sender_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    id: str = field(default_factory=lambda: new_id("message"))
    created_at: int = field(default_factory=clock.now)
    sequence: int = -1

    @classmethod
    def from_row(cls, row: Row) -> Message:
        """Read a row of the messages table."""
        return cls(
            message_type=row["message_type"],
            body=_decode(row["body"])[0],
            name=row["name"],
            otid=row["otid"],
            sender_id=row["sender_id"],
            run_id=row["run_id"],
            step_id=row["step_id"],
            id=row["id"],
            created_at=row["created_at"],
            sequence=row["sequence"],
        )


_is_in_context = and_(
    messages.c.conversation_id == bindparam("conversation_id"),
    messages.c.sequence >= bindparam("context_start"),
    messages.c.message_type != "summary_message",
)
# Without the words that search finds a message by, which are as long as the message.
_in_context = (
    select(*(column for column in messages.c if not column.name.startswith("search_")))
    .where(_is_in_context)
    .order_by(messages.c.sequence)
)
_some_in_context = _in_context.where(messages.c.sequence < bindparam("end")).limit(bindparam("most"))
_behind_step = select(func.min(messages.c.sequence).label("place")).where(
    messages.c.conversation_id == bindparam("conversation_id"),
    messages.c.sequence > bindparam("sequence"),
    messages.c.message_type != "summary_message",
    or_(messages.c.step_id.is_(None), messages.c.step_id != bindparam("step_id")),
)
_texts_in_context = select(messages.c.id, messages.c.body).where(_is_in_context).order_by(messages.c.sequence)
_run_of_step = select(steps.c.run_id).where(steps.c.id == bindparam("step_id"))
_of_step = (
    select(messages)
    .where(
        messages.c.run_id == bindparam("run_id"),
        messages.c.step_id == bindparam("step_id"),
    )
    .order_by(messages.c.sequence)
)
_in_conversation = select(messages).where(
    messages.c.conversation_id == bindparam("conversation_id"),
    messages.c.id == bindparam("message_id"),
    messages.c.sequence > 0,
    message_is_kept(),
)


_is_shown = and_(
    conversations.c.hidden.is_(False),
    ~exists().where(group_conversations.c.conversation_id == conversations.c.id),
)
_other = (
    select(conversations.c.id)
    .where(conversations.c.agent_id == bindparam("of_agent"), _is_shown)
    .where(conversations.c.id != conversations.c.agent_id)
    .limit(1)
)
_set_first = (
    update(messages)
    .where(
        messages.c.conversation_id == bindparam("conversation_id"),
        messages.c.sequence == 0,
        messages.c.message_type == "system_message",
    )
    .values(body=bindparam("new_body"))
)
_place = (messages.c.conversation_id, messages.c.sequence, messages.c.id)
_context_ids = Several(
    lambda ids: (
        select(*_place)
        .where(messages.c.conversation_id.in_(ids), messages.c.sequence == 0)
        .union_all(
            select(*_place)
            .join(conversations, conversations.c.id == messages.c.conversation_id)
            .where(
                conversations.c.id.in_(ids),
                messages.c.sequence > 0,
                messages.c.sequence >= conversations.c.context_start,
                messages.c.message_type != "summary_message",
            )
        )
        .order_by("sequence")
    )
)


def message_to_json(message: Message) -> dict[str, Any]:
    """Return what somebody said, as a run keeps it until the conversation does."""
    about = {"name": message.name, "sender_id": message.sender_id}
    kept = {name: value for name, value in about.items() if value is not None}
    return {"message_type": message.message_type, **kept, "body": dict(message.body)}


def message_from_json(kept: Mapping[str, Any]) -> Message:
    """Return what somebody said, from what `message_to_json` made of it."""
    return Message(kept["message_type"], kept["body"], name=kept.get("name"), sender_id=kept.get("sender_id"))


async def store_messages(
    transaction: Transaction, agent_id: str, conversation_id: str, first_sequence: int, new: Sequence[Message]
) -> None:
    """Store `new` as the conversation's messages from `first_sequence` on, whose owner holds the conversation."""
    for start in range(0, len(new), STORED_AT_ONCE):
        some = new[start : start + STORED_AT_ONCE]
        rows = rows_of_messages(agent_id, conversation_id, first_sequence + start, some)
        rows.sort(key=lambda row: row["search_id"])  # the embedded full-text index takes rising ones at once
        await transaction.insert(messages, rows)


def rows_of_messages(
    agent_id: str, conversation_id: str, first_sequence: int, new: Sequence[Message]
) -> list[dict[str, Any]]:
    """Return `new` as the conversation's rows from `first_sequence` on; it takes a while."""
    return [
        {
            "conversation_id": conversation_id,
            "sequence": first_sequence + position,
            "id": message.id,
            "agent_id": agent_id,
            "message_type": message.message_type,
            "search_text": search_text(message),
            "search_id": search_id(conversation_id, message),
            "body": json.dumps(message.body),
            "name": message.name,
            "otid": message.otid,
            "sender_id": message.sender_id,
            "run_id": message.run_id,
            "step_id": message.step_id,
            "created_at": message.created_at,
        }
        for position, message in enumerate(new)
    ]


async def set_system_message(transaction: Transaction, conversation_id: str, body: Mapping[str, Any]) -> None:
    """Renew the system message with which a conversation begins."""
    await transaction.run(_set_first, conversation_id=conversation_id, new_body=json.dumps(body))


async def messages_in_context(transaction: Transaction, conversation_id: str, context_start: int) -> list[Message]:
    """Return the conversation's messages from `context_start` on, oldest first; its summaries are none of them."""
    rows = await transaction.all(_in_context, conversation_id=conversation_id, context_start=context_start)
    return [Message.from_row(row) for row in rows]


async def some_in_context(transaction: Transaction, conversation_id: str, start: int, end: int | None) -> list[Message]:
    """Return the first `STORED_AT_ONCE` messages from `start` on, of those before `end` unless it is None."""
    bounds = {"context_start": start, "end": _LAST_PLACE if end is None else end}
    rows = await transaction.all(_some_in_context, conversation_id=conversation_id, most=STORED_AT_ONCE, **bounds)
    return [Message.from_row(row) for row in rows]


async def place_behind_step(transaction: Transaction, conversation_id: str, message: Message) -> int | None:
    """Return the place of the first message behind another one that is not of its step; None when there is none."""
    row = await transaction.first(
        _behind_step, conversation_id=conversation_id, sequence=message.sequence, step_id=message.step_id
    )
    return None if row is None else row["place"]


async def texts_in_context(transaction: Transaction, conversation_id: str, context_start: int) -> list[str]:
    """Return what `messages_in_context` would read, undecoded: the identifier and the body of each, one by one."""
    rows = await transaction.all(_texts_in_context, conversation_id=conversation_id, context_start=context_start)
    return [text for row in rows for text in (row["id"], row["body"])]


async def ids_in_context(transaction: Transaction, conversation_ids: Sequence[str]) -> Mapping[str, list[str]]:
    """Return the identifiers of each conversation's system message and of its messages in context, oldest first."""
    statement, ids = _context_ids(conversation_ids)
    found: dict[str, list[str]] = {conversation_id: [] for conversation_id in conversation_ids}
    for row in await transaction.all(statement, **ids):
        found[row["conversation_id"]].append(row["id"])
    return found


async def list_messages(
    transaction: Transaction,
    conversation_id: str,
    page: Page,
    types: Sequence[str] | None = None,
    *,
    summaries: bool = False,
    spoken: str | None = None,
) -> list[Message]:
    """Return a page of the conversation's messages, only those of `types` when given.

    Summaries are among them only when `types` or `summaries` asks for them: the older clients do not know them.
    `spoken` names the tool whose calls count as what the assistant says, and whose returns nobody wants to see.
    """
    scope = messages.c.conversation_id == conversation_id
    statement = select(messages).where(scope, message_is_kept(), _asked_for(types, summaries, spoken))
    rows = await fetch_page(
        transaction, statement, messages, page, key=("sequence",), scope=scope, within=conversation_id
    )
    return [Message.from_row(row) for row in rows]


async def list_agent_messages(
    transaction: Transaction,
    agent_id: str,
    page: Page,
    types: Sequence[str] | None = None,
    *,
    summaries: bool = False,
    spoken: str | None = None,
) -> list[Message]:
    """Return a page of the messages of all of the agent's conversations by time, as `list_messages` does of one.

    Those that it has in groups, and hidden ones, are not among them.
    """
    shown = exists().where(conversations.c.id == messages.c.conversation_id, _is_shown)
    scope = and_(messages.c.agent_id == agent_id, shown, _is_first())
    statement = select(messages).where(scope, message_is_kept(), _asked_for(types, summaries, spoken))
    rows = await fetch_page(transaction, statement, messages, page, key=("created_at", "sequence", "id"), scope=scope)
    return [Message.from_row(row) for row in rows]


async def has_others(transaction: Transaction, agent_id: str) -> bool:
    """Tell whether `list_agent_messages` has more to list than the agent's main conversation."""
    return await transaction.first(_other, of_agent=agent_id) is not None


def _asked_for(types: Sequence[str] | None, summaries: bool, spoken: str | None) -> ColumnElement[bool]:
    kind: ColumnElement[str] = messages.c.message_type
    wanted: list[ColumnElement[bool]] = [true()]
    if spoken is not None:
        by_tool = messages.c.name == spoken
        wanted.append(or_(kind != "tool_return_message", messages.c.name.is_(None), ~by_tool))
        kind = case((and_(kind == "tool_call_message", by_tool), "assistant_message"), else_=kind)
    if types is not None:
        wanted.append(kind.in_(list(types)))
    elif not summaries:
        wanted.append(kind != "summary_message")
    return and_(*wanted)


async def find_in_conversation(transaction: Transaction, conversation_id: str, message_id: str) -> Message | None:
    """Return a message of a conversation, None when it has no such one or only begins with it."""
    row = await transaction.first(_in_conversation, conversation_id=conversation_id, message_id=message_id)
    return None if row is None else Message.from_row(row)


async def messages_of_step(transaction: Transaction, step_id: str) -> list[Message]:
    """Return the messages that a step added to its conversation, oldest first."""
    step = await transaction.first(_run_of_step, step_id=step_id)
    if step is None:
        return []
    rows = await transaction.all(_of_step, run_id=step["run_id"], step_id=step_id)
    return [Message.from_row(row) for row in rows]


def search_text(message: Message) -> str:
    """Return what full-text search finds the message by: nothing for what nobody said."""
    if message.message_type not in _SEARCHED:
        return ""
    return indexed_text(said_text(message))


def said_text(message: Message) -> str:
    """Return the words of a message, without its pictures."""
    return text_in(message.body.get("content", message.body.get("tool_return", "")))


def text_in(content: str | Sequence[Mapping[str, Any]], picture: str = "") -> str:
    r"""Return the text of a message's content, with `picture` in the place of each picture, if that is anything.

    >>> text_in([{"type": "image", "source": {}}, {"type": "text", "text": "a heron"}], "(a picture)")
    '(a picture)\na heron'
    """
    if isinstance(content, str):
        return content
    return "\n".join(
        part["text"] if part.get("type") == "text" else picture
        for part in content
        if picture or part.get("type") == "text"
    )


def search_id(conversation_id: str, message: Message) -> int:
    """Return a row's number in the embedded full-text index; that of a message in a fork is above all of the others."""
    digest = blake2b(f"{conversation_id} {message.id}".encode(), digest_size=8).digest()
    shared = message.sequence >= 0  # it was read from the conversation that it is shared with
    return (int.from_bytes(digest) >> 2) | (shared << 62)


def shown_once(statement: Select[Any]) -> Select[Any]:
    """Return a select from messages without those that another conversation shares, when it is there too."""
    return statement.where(_is_first())


def _is_first() -> ColumnElement[bool]:
    """Return the condition that a message is not shared by a conversation that had it before."""
    other = messages.alias("other")
    return ~exists().where(other.c.id == messages.c.id, other.c.search_id < messages.c.search_id)


def clean_text(text: str) -> str:
    """Return `text` with what a database cannot keep, NUL and lone surrogates, shown as U+FFFD."""
    return _NOT_STORABLE.sub("\ufffd", text)


_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
