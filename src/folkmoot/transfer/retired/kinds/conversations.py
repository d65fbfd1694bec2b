"""What was said: each conversation is read and written piece by piece, and goes on where an earlier run stopped.

Messages come in the order of the source, those in context last, as conversations are kept here. What an earlier run
brought is a beginning of that. A conversation in which something was said here meanwhile stays as it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from folkmoot.agents.instructions import system_content
from folkmoot.conversations.conversations import start_conversation
from folkmoot.conversations.messages import Message, clean_text, rows_of_messages
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agents, blocks, conversation_blocks, conversations, messages
from folkmoot.transfer.conversation_state import in_order
from folkmoot.transfer.message_rows import READ, THINKING_ALOUD, RowReader, UnreadableRow, clean
from folkmoot.transfer.retired.context import DAMAGED, Context, text_of, time_of
from folkmoot.transfer.retired.source import Unreadable

_OF_MESSAGES = ("content", "tool_calls", "tool_returns", "approvals")

AT_ONCE = 2500
"""Messages that are read, compared and written together, at the most."""

CHARACTERS_AT_ONCE = 4_000_000
"""Characters of JSON in them, about, at the most."""

_state = select(conversations).where(conversations.c.id == bindparam("of"))
_said = (
    select(messages.c.id, messages.c.message_type, messages.c.body)
    .where(
        messages.c.conversation_id == bindparam("of"),
        messages.c.sequence >= bindparam("first"),
        messages.c.sequence < bindparam("end"),
    )
    .order_by(messages.c.sequence)
)
_forget = delete(conversations).where(conversations.c.id == bindparam("of"))
_set_beginning = (
    update(messages)
    .where(messages.c.conversation_id == bindparam("of"), messages.c.sequence == 0)
    .values(created_at=bindparam("at"))
)
_set_age = (
    update(conversations)
    .where(conversations.c.id == bindparam("of"))
    .values(created_at=bindparam("made"), updated_at=bindparam("changed"))
)
_set_state = (
    update(conversations)
    .where(conversations.c.id == bindparam("of"))
    .values(
        next_sequence=bindparam("next"),
        context_start=bindparam("start"),
        context_summary=bindparam("told"),
        last_message_at=bindparam("last"),
    )
)


class Conversations:
    """The tables of messages and conversations."""

    name = "messages"
    tables = frozenset({"messages", "conversations", "conversation_messages", "blocks_conversations"})

    async def take(self, context: Context) -> None:
        """Take each agent's main conversation, and then its others."""
        async for agent in context.source.rows(
            "agents", "organization_id = $1", context.organization_id, order="created_at, id"
        ):
            if agent["id"] not in await context.ids(agents):
                continue
            try:
                await self._of_agent(context, agent)
            except DAMAGED as error:
                context.problem("conversations", agent, error)

    async def _of_agent(self, context: Context, agent: Mapping[str, Any]) -> None:
        in_context = agent["message_ids"] if isinstance(agent["message_ids"], list) else []
        main = _Conversation(context, agent, agent["id"], {}, [str(each) for each in in_context])
        if await main.has_changed():
            await main.take()
        for row in await context.source.all("conversations", "agent_id = $1", agent["id"], order="created_at, id"):
            await self._other(context, agent, row)

    async def _other(self, context: Context, agent: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        links = await context.source.all("conversation_messages", "conversation_id = $1", row["id"], order='"position"')
        in_context = [link["message_id"] for link in links if link["in_context"]]
        conversation = _Conversation(context, agent, row["id"], row, in_context)
        if not await conversation.has_changed():
            return
        there = await context.store.read(lambda transaction: transaction.first(_state, of=row["id"])) is not None
        await conversation.take()
        counted = context.done.there if there else context.done.taken
        counted["conversations"] += 1
        counted["conversation_messages"] += len(links)
        own = await context.source.all("blocks_conversations", "conversation_id = $1", row["id"])
        mine = select(conversation_blocks.c.block_id).where(conversation_blocks.c.conversation_id == row["id"])
        here = {each["block_id"] for each in await context.store.read(lambda transaction: transaction.all(mine))}
        held = []
        for each in own:
            if each["block_id"] in here:
                counted["blocks_conversations"] += 1
            elif each["block_id"] in await context.ids(blocks):
                held.append({"conversation_id": row["id"], "block_id": each["block_id"], "access": "write"})
            else:
                context.problem("blocks_conversations", row, f"has {each['block_id']}, which did not come.")
        if held:
            await context.write(lambda transaction: transaction.insert(conversation_blocks, held))
        counted["blocks_conversations"] += len(held)


@dataclass
class _Conversation:
    """One conversation that is taken over."""

    context: Context
    agent: Mapping[str, Any]
    id: str
    row: Mapping[str, Any]
    """Its row; empty for an agent's main conversation, which has none."""

    in_context: Sequence[str]
    """Identifiers of rows, in the order in which a model reads them."""

    def __post_init__(self) -> None:
        """Begin with nothing read."""
        source = self.context.source
        self._condition, self._values = "agent_id = $1", [self.id]
        if self.row:
            self._condition = "conversation_id = $1"
        elif source.has("messages", "conversation_id"):
            self._condition += " AND conversation_id IS NULL"

    async def has_changed(self) -> bool:
        """Tell whether it is wanted, where only what changed is."""
        since, source = self.context.since, self.context.source
        if since is None:
            return True
        times = [self.row.get("updated_at"), self.agent.get("updated_at")]
        if any(time is not None and time >= since for time in times):
            return True
        changed = f"{self._condition} AND {source.changed_since('messages', since, 2)}"
        return bool(await source.value("count(*)", "messages", changed, *self._values, since))

    async def take(self) -> None:
        """Write what of it is not here, unless it went on here."""
        done = self.context.done
        here = await self.context.store.read(lambda transaction: transaction.first(_state, of=self.id))
        before, told = 0 if here is None else here["next_sequence"] - 1, len(done.problems)
        writing = _Writing(self, before, is_new=here is None)
        if not await self._write(writing):
            if await self._went_on_here():
                done.there["messages"] += writing.rows
                self.context.note(f"conversations {self.id}: went on here and stays as it is.")
                return
            done.refused["messages"] -= writing.refused
            del done.problems[told:]
            await self.context.write(lambda transaction: transaction.run(_forget, of=self.id))
            writing = _Writing(self, 0, is_new=True)
            await self._write(writing)
        done.texts += writing.texts
        done.texts_here += writing.texts_here
        new = writing.rows - writing.refused if here is None else writing.new_rows
        done.taken["messages"] += new
        done.there["messages"] += writing.rows - writing.refused - new

    async def _write(self, writing: _Writing) -> bool:
        """Write it piece by piece; False when what is here is no beginning of it."""
        start = await self.context.source.value(
            "min(sequence_id)",
            "messages",
            f"{self._condition} AND id = ANY($2) AND role NOT IN ('system', 'summary')",
            *self._values,
            list(self.in_context),
        )
        earlier = "TRUE" if start is None else f"sequence_id < {int(start)}"
        async with aclosing(self._read(earlier, writing)) as pieces:
            async for parts in pieces:
                if not await writing.add([message for part in parts.values() for message in part], {*parts}):
                    return False
        rest: dict[str, list[Message]] = {}
        if start is not None:
            async for parts in self._read(f"sequence_id >= {int(start)}", writing):
                rest |= parts
        said = [message for part in rest.values() for message in part]
        arranged = in_order(said, [message.id for each in self.in_context for message in rest.get(each, ())])
        context_start = writing.count + arranged.context_start
        for first in range(0, max(len(said), 1), AT_ONCE):
            if not await writing.add(arranged.messages[first : first + AT_ONCE], {*rest}):
                return False
        return await writing.finish(context_start, await self._summary())

    async def _read(self, condition: str, writing: _Writing) -> AsyncGenerator[dict[str, list[Message]], None]:
        """Yield the messages that each row holds, by the row's identifier, some rows at a time.

        While they are written, the next ones are read.
        """
        async with aclosing(self._pieces(condition, writing)) as pieces:
            following = asyncio.create_task(_next(pieces))
            try:
                while (piece := await following) is not None:
                    following = asyncio.create_task(_next(pieces))
                    yield piece
            finally:
                await asyncio.wait({following})  # a query that is cut off would end the snapshot

    async def _pieces(self, condition: str, writing: _Writing) -> AsyncGenerator[dict[str, list[Message]], None]:
        source, rows = self.context.source, []
        begun = source.decoder.characters
        whole = f"{self._condition} AND {condition}"
        async for row in source.rows("messages", whole, *self._values, order="sequence_id, id", only=READ):
            rows.append(row)
            if len(rows) == AT_ONCE or source.decoder.characters - begun > CHARACTERS_AT_ONCE:
                yield await asyncio.to_thread(writing.read, rows)
                begun, rows = source.decoder.characters, []
        yield await asyncio.to_thread(writing.read, rows)

    async def _summary(self) -> str | None:
        """Return what a model reads of the messages before the context."""
        rows = await self.context.source.all(
            "messages",
            f"{self._condition} AND id = ANY($2) AND role = 'summary'",
            *self._values,
            list(self.in_context),
            order="sequence_id DESC",
        )
        read = [message for row in rows[:1] for message in RowReader().messages(row)]
        return read[0].body["summary"] if read else None

    async def _went_on_here(self) -> bool:
        """Tell whether something was said here that the source does not have."""
        wanted: set[str] = set()
        async for parts in self._read("TRUE", _Writing(self, 0, is_new=False, tells=False)):
            wanted |= {message.id for part in parts.values() for message in part}
        first = 1
        while rows := await self.context.store.read(
            lambda transaction, first=first: transaction.all(_said, of=self.id, first=first, end=first + AT_ONCE)  # type: ignore[misc]
        ):
            if any(row["id"] not in wanted for row in rows):
                return True
            first += AT_ONCE
        return False


async def _next(pieces: AsyncGenerator[dict[str, list[Message]], None]) -> dict[str, list[Message]] | None:
    """Return the next piece; None behind the last one."""
    return await anext(pieces, None)


class _Writing:
    """A conversation that is being written, behind what an earlier run brought of it."""

    def __init__(self, of: _Conversation, before: int, *, is_new: bool, tells: bool = True) -> None:
        """Write behind the first `before` messages.

        Args:
            of: the conversation.
            before: how many are here.
            is_new: whether there is no such conversation yet.
            tells: whether rows that cannot be read are told.
        """
        self._of, self._context, self._tells = of, of.context, tells
        self._before, self._is_new = before, is_new
        self._reader = RowReader(of.agent["agent_type"] in THINKING_ALOUD)
        self._is_first, self._last = True, 0
        self._began_at: int | None = None
        self.count = self.rows = self.refused = self.new_rows = self.texts = self.texts_here = 0

    def read(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Message]]:
        """Return the messages of each row; it takes a while and is for a thread."""
        said: dict[str, list[Message]] = {}
        for row in rows:
            try:
                if any(type(row.get(name)) is Unreadable for name in _OF_MESSAGES):
                    raise UnreadableRow("what it says is no JSON")  # noqa: TRY301
                said[row["id"]] = self._reader.messages(row)
            except UnreadableRow as error:
                self.refused += 1
                if self._tells:
                    self._context.problem("messages", row, error)
        self.rows += len(rows)
        return said

    async def add(self, said: Sequence[Message], row_ids: set[str]) -> bool:
        """Write the next messages, those left out that are here; False when others are here in their place."""
        if self._is_first and said:
            self._is_first = False
            if said[0].message_type == "system_message":  # each server writes its own
                self._began_at, said = said[0].created_at, said[1:]
        first = 1 + self.count
        known = min(max(self._before - self.count, 0), len(said))
        if known and not await self._is_here(said[:known], first):
            return False
        new = said[known:]
        rows = rows_of_messages(self._of.agent["id"], self._of.id, first + known, new)
        self.count += len(said)
        self._last = max([self._last, *(message.created_at for message in said)])
        self.new_rows += sum(message.id in row_ids for message in new)
        self.texts += _sum_of((message.id, message.message_type, json.dumps(message.body)) for message in said[:known])
        self.texts += _sum_of((row["id"], row["message_type"], row["body"]) for row in rows)
        if new or self._is_new:
            await self._context.write(lambda transaction: self._write(transaction, first + known, rows))
            self._is_new = False
            if not self._context.dry_run:
                self.texts_here += _sum_of(await self._stored(first + known, len(new)))
        done = self._context.done
        self._context.progress(
            "messages", done.taken["messages"] + done.there["messages"] + self.rows, done.source["messages"]
        )
        return True

    async def finish(self, context_start: int, summary: str | None) -> bool:
        """Say what of it is in context; False when more is here than the source has."""
        if self._before > self.count:
            return False
        here = await self._context.store.read(lambda transaction: transaction.first(_state, of=self._of.id))
        state = {"next": 1 + self.count, "start": context_start, "told": summary, "last": self._last}
        columns = ("next_sequence", "context_start", "context_summary", "last_message_at")
        if here is not None and [here[column] for column in columns] != [*state.values()]:
            await self._context.write(lambda transaction: transaction.run(_set_state, of=self._of.id, **state))
        return True

    async def _stored(self, first: int, count: int) -> Sequence[tuple[str, str, str]]:
        rows = await self._context.store.read(
            lambda transaction: transaction.all(_said, of=self._of.id, first=first, end=first + count)
        )
        return [(row["id"], row["message_type"], row["body"]) for row in rows]

    async def _is_here(self, said: Sequence[Message], first: int) -> bool:
        stored = await self._stored(first, len(said))
        self.texts_here += _sum_of(stored)
        return [each[0] for each in stored] == [message.id for message in said]

    async def _write(self, transaction: Transaction, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
        of, agent = self._of, self._of.agent
        if self._is_new:
            content = system_content(clean_text(agent["system"] or ""), agent["id"], of.id)
            settings = {name: clean(of.row[name]) for name in ("model", "model_settings") if of.row.get(name)}
            await start_conversation(
                transaction,
                agent["id"],
                of.id,
                [Message("system_message", content)],
                summary=text_of(of.row.get("summary")),
                configuration=settings,
            )
            made = of.row or agent
            age = {"made": time_of(made), "changed": time_of(made, "updated_at")}
            await transaction.run(_set_age, of=of.id, **age)
            began = self._began_at if self._began_at is not None else age["made"]
            await transaction.run(_set_beginning, of=of.id, at=began)
        await transaction.load(messages, rows)
        # Nothing of it is in context before all of it is here.
        end = first + len(rows)
        await transaction.run(_set_state, of=of.id, next=end, start=end, told=None, last=self._last)


def _sum_of(messages_: Iterable[tuple[str, str, str]]) -> int:
    """Return a number that is the same for the same messages in any order."""
    digests = (blake2b("\0".join(each).encode(), digest_size=16).digest() for each in messages_)
    return sum(int.from_bytes(digest) for digest in digests)
