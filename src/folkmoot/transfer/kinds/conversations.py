"""What was said: each agent's main conversation as the format has it, its others under our own key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, select, update

from folkmoot.agents.agents import Agent
from folkmoot.agents.instructions import system_content
from folkmoot.conversations.conversations import Conversation, find_conversation, start_conversation
from folkmoot.conversations.messages import Message
from folkmoot.errors import BadRequest, FolkmootError, InvalidInput, NotFound
from folkmoot.identifiers import new_id
from folkmoot.memory.attachments import isolated_rows
from folkmoot.memory.blocks import Block
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agents, conversation_blocks, conversations
from folkmoot.transfer.agent_file import MOST_MESSAGES
from folkmoot.transfer.conversation_state import Arranged, all_messages, arrange, in_context_ids, write_said
from folkmoot.transfer.exporting import Exporting
from folkmoot.transfer.importing import Loading
from folkmoot.transfer.kinds.blocks import ACCESSES, block_entry
from folkmoot.transfer.message_rows import OWN_KEY, THINKING_ALOUD, RowReader, UnreadableRow, rows_of

MOST_CONVERSATIONS = 1000

_others = (
    select(conversations)
    .where(
        conversations.c.agent_id == bindparam("of"),
        conversations.c.id != bindparam("of"),
        is_kept(conversations.c.id),
    )
    .order_by(conversations.c.created_at, conversations.c.id)
)
_system_of = select(agents.c.system).where(agents.c.id == bindparam("of"))
_set_age = (
    update(conversations)
    .where(conversations.c.id == bindparam("of"))
    .values(created_at=bindparam("made"), updated_at=bindparam("changed"), archived_at=bindparam("archived"))
)


class Conversations:
    """The messages of an agent, and our own section `conversations`."""

    async def export(self, exporting: Exporting) -> None:
        """Add what was said, unless nothing of it is wanted."""
        exporting.own["conversations"] = []
        left = MOST_MESSAGES
        for agent in exporting.agents:
            entry = exporting.entry(agent)
            entry |= {"messages": [], "in_context_message_ids": []}
            if exporting.options.scrub_messages:
                continue
            asked = exporting.options.conversation_id if agent is exporting.agents[0] else None
            wanted = asked or agent.id
            main = await find_conversation(exporting.transaction, agent.id if wanted == "default" else wanted)
            if main.agent_id != agent.id:
                raise NotFound(f"conversation_id: agent {agent.id} has no conversation {wanted}.")
            left = await self._add(exporting, agent, main, entry, left)
            if exporting.options.conversation_id is None:
                left = await self._add_others(exporting, agent, left)

    async def _add_others(self, exporting: Exporting, agent: Agent, left: int) -> int:
        rows = await exporting.transaction.all(_others, of=agent.id)
        for conversation in map(Conversation.from_row, rows):
            entry: dict[str, Any] = {
                "id": exporting.ids.of("conv", conversation.id),
                "agent_id": exporting.ids.of("agent", agent.id),
                "summary": conversation.summary,
                "hidden": conversation.hidden,
                "archived_at": conversation.archived_at,
                "created_at": conversation.created_at,
                "updated_at": conversation.updated_at,
                "configuration": dict(conversation.configuration),
                "block_ids": [],
                "access": {},
            }
            for row in await isolated_rows(exporting.transaction, conversation.id):
                block = Block.from_row(row)
                identifier = exporting.ids.of("block", block.id)
                entry["block_ids"].append(identifier)
                entry["access"][identifier] = row["access"]
                exporting.content["blocks"].append({**block_entry(block), "id": identifier})
            left = await self._add(exporting, agent, conversation, entry, left)
            exporting.own["conversations"].append(entry)
        return left

    async def _add(
        self, exporting: Exporting, agent: Agent, conversation: Conversation, entry: dict[str, Any], left: int
    ) -> int:
        """Add a conversation's messages, and return how many more the file takes."""
        said = await all_messages(exporting.transaction, conversation.id, left)
        if len(said) > left:
            raise InvalidInput(
                f"agent_id: more than {MOST_MESSAGES:,} messages were said, and one file takes no more. Export without "
                "messages (scrub_messages=true), one conversation (conversation_id), or back the database up."
            )
        order = {identifier: place for place, identifier in enumerate(in_context_ids(said, conversation))}
        rows = list(rows_of(said, thinks_aloud=agent.agent_type in THINKING_ALOUD))
        in_context = sorted((row["id"] for row in rows if row["id"] in order), key=order.__getitem__)
        for row in rows:
            row["agent_id"] = exporting.ids.of("agent", agent.id)
        entry["in_context_message_ids"] = [exporting.ids.of("message", identifier) for identifier in in_context]
        entry["messages"] = [{**row, "id": exporting.ids.of("message", row["id"])} for row in rows]
        return left - len(said)

    def prepare(self, loading: Loading) -> None:
        """Make messages of the rows."""
        identifiers: dict[str, str] = {}
        for entry in loading.file.section("agents"):
            loading.prepared[f"said {entry['id']}"] = self._arranged(loading, entry, entry, identifiers)
        others = loading.file.own("conversations")
        if len(others) > MOST_CONVERSATIONS:
            raise BadRequest(f"file: has {len(others):,} conversations, and {MOST_CONVERSATIONS:,} are taken.")
        by_id = {entry["id"]: entry for entry in loading.file.section("agents")}
        for conversation in others:
            _check_conversation(conversation, by_id, loading)
            agent = by_id[conversation["agent_id"]]
            loading.prepared[f"settings {conversation['id']}"] = _known_settings(loading, conversation["id"])
            loading.prepared[f"said {conversation['id']}"] = self._arranged(loading, agent, conversation, identifiers)

    def _arranged(
        self, loading: Loading, agent: Mapping[str, Any], holder: Mapping[str, Any], identifiers: dict[str, str]
    ) -> Arranged:
        if loading.options.strip_messages:
            return Arranged([], 1, None)
        reader = RowReader(agent.get("agent_type") in THINKING_ALOUD)
        said: list[Message] = []
        for row in holder.get("messages") or ():
            try:
                said += reader.messages({**row, "run_id": None, "step_id": None})
            except UnreadableRow as error:
                line = f"Message {row.get('id')!r} of {holder['id']}: {error}."
                loading.refused.append(line[:300])
        in_context = [str(each) for each in holder.get("in_context_message_ids") or ()]
        arranged = arrange(said, _with_parts(said, in_context))
        return replace(arranged, messages=list(_renamed(arranged.messages, identifiers)))

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Write what was said."""
        for entry in loading.file.section("agents"):
            agent_id = loading.made[entry["id"]]
            await write_said(transaction, agent_id, agent_id, loading.prepared[f"said {entry['id']}"])
        for conversation in () if loading.options.strip_messages else loading.file.own("conversations"):
            await self._load_other(loading, transaction, conversation)

    async def _load_other(self, loading: Loading, transaction: Transaction, entry: Mapping[str, Any]) -> None:
        agent_id, conversation_id = loading.made[entry["agent_id"]], new_id("conv")
        row = await transaction.first(_system_of, of=agent_id)
        assert row is not None
        system = Message("system_message", system_content(row["system"], agent_id, conversation_id))
        await start_conversation(
            transaction,
            agent_id,
            conversation_id,
            [system],
            summary=entry.get("summary"),
            hidden=bool(entry.get("hidden")),
            configuration=loading.prepared[f"settings {entry['id']}"],
        )
        await write_said(transaction, agent_id, conversation_id, loading.prepared[f"said {entry['id']}"])
        await transaction.run(
            _set_age,
            of=conversation_id,
            made=entry["created_at"],
            changed=entry["updated_at"],
            archived=entry.get("archived_at"),
        )
        own = [
            {"conversation_id": conversation_id, "block_id": loading.made[block], "access": access}
            for block, access in entry["access"].items()
        ]
        await transaction.insert(conversation_blocks, own)


def _known_settings(loading: Loading, conversation_id: str) -> dict[str, Any]:
    """Return a conversation's own settings, without a model that nobody serves here."""
    settings = dict(loading.plans.conversations[conversation_id])
    if (model := settings.get("model")) is not None:
        try:
            settings["model"] = loading.services.catalogue.handle_of(model)
        except FolkmootError:
            del settings["model"]
            loading.tell(f"conversation {conversation_id!r}: {model!r} is not configured; it uses the agent's model.")
    return settings


def _with_parts(said: Sequence[Message], in_context: Sequence[str]) -> list[str]:
    """Return what is in context, of a row that holds several messages all of them."""
    of_row: dict[str, list[str]] = {}
    for message in said:
        if message.step_id is not None:
            of_row.setdefault(message.step_id, []).append(message.id)
    steps = {message.id: message.step_id for message in said}
    return [each for identifier in in_context for each in of_row.get(steps.get(identifier) or "", [identifier])]


def _renamed(messages: Iterable[Message], identifiers: dict[str, str]) -> Iterable[Message]:
    """Yield messages under new identifiers; what conversations share has the same one in each."""
    for message in messages:
        shared = message.id in identifiers
        identifier = identifiers.setdefault(message.id, new_id("message"))
        yield replace(message, id=identifier, sequence=0 if shared else -1)  # as one that is in a fork too


def _check_conversation(entry: Mapping[str, Any], agents_: Mapping[str, Any], loading: Loading) -> None:
    """Refuse a conversation whose entry is not as this server writes it.

    Raises:
        BadRequest: it is not.
    """
    place = f"file: {OWN_KEY}.conversations: {entry.get('id')!r}"
    agent_id = entry.get("agent_id")
    if not isinstance(entry.get("id"), str) or not isinstance(agent_id, str) or agent_id not in agents_:
        raise BadRequest(f"{place} is of no agent of the file.")
    ages = [entry.get("created_at"), entry.get("updated_at")]
    if (archived_at := entry.get("archived_at")) is not None:
        ages.append(archived_at)
    if any(type(age) is not int or not clock.FIRST <= age <= clock.LAST for age in ages):
        raise BadRequest(f"{place}: created_at, updated_at and archived_at are times in microseconds.")
    if not isinstance(entry.get("summary"), str | None):
        raise BadRequest(f"{place}: summary is a text, or null.")
    blocks, access = entry.get("block_ids"), entry.get("access")
    if not isinstance(blocks, list) or not isinstance(access, dict) or sorted(map(str, blocks)) != sorted(access):
        raise BadRequest(f"{place}: its blocks and the access to them do not fit.")
    if any(block not in loading.plans.blocks or allowed not in ACCESSES for block, allowed in access.items()):
        raise BadRequest(f"{place}: names a block that is not in the file, or no access.")
