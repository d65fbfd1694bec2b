"""Taking the retired server's database over: what is there already stays, so that it can be run again and again."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import bindparam, delete, select

from folkmoot.agents.agents import Agent, columns_of
from folkmoot.agents.instructions import system_content
from folkmoot.conversations.conversations import start_conversation
from folkmoot.conversations.messages import Message, clean_text
from folkmoot.errors import FolkmootError
from folkmoot.identifiers import ORGANIZATION
from folkmoot.memory.authors import Author
from folkmoot.memory.history import record
from folkmoot.models.catalogue import Catalogue
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.sealing import Sealer
from folkmoot.store.tables import (
    agent_blocks,
    agent_tags,
    agent_tools,
    agents,
    block_tags,
    blocks,
    conversation_blocks,
    conversations,
    messages,
    organizations,
    tools,
)
from folkmoot.tools.builtin import BUILTIN_TOOLS
from folkmoot.tools.custom.making import describe
from folkmoot.tools.stored import StoredTool
from folkmoot.transfer.conversation_state import Arranged, arrange, write_said
from folkmoot.transfer.message_rows import THINKING_ALOUD, RowReader, UnreadableRow, moment_of
from folkmoot.transfer.retired.secrets import decrypt
from folkmoot.transfer.retired.source import Source, Unreadable

AUTHOR = Author("system", name="import")

_TAKEN = frozenset(
    {
        "organizations",
        "agents",
        "agents_tags",
        "block",
        "blocks_agents",
        "blocks_tags",
        "blocks_conversations",
        "messages",
        "conversations",
        "conversation_messages",
        "tools",
        "tools_agents",
        "agent_environment_variables",
        "alembic_version",
    }
)
"""Tables whose rows are taken; of every other one it is told how many there are."""

_ids_of_said = select(messages.c.id).where(messages.c.conversation_id == bindparam("of"), messages.c.sequence > 0)
_forget = delete(conversations).where(conversations.c.id == bindparam("of"))
_agent_there = select(agents.c.id).where(agents.c.id == bindparam("of"))
_tool_there = select(tools.c.id).where(tools.c.id == bindparam("of"))
_block_there = select(blocks.c.id).where(blocks.c.id == bindparam("of"))


@dataclass(slots=True)
class Taken:
    """What came of each table: rows there, rows taken, rows that were here already, and what could not be taken."""

    source: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    digest: Any = field(default_factory=hashlib.sha256)
    """Over the texts of all messages, in their order."""


@dataclass(frozen=True, slots=True)
class Import:
    """One run over a source."""

    source: Source
    store: Store
    """Everybody's."""

    sealer: Sealer
    catalogue: Catalogue
    passphrase: str | None
    progress: Callable[[str, int, int], None]
    dry_run: bool = False
    organization: str | None = None
    done: Taken = field(default_factory=Taken)

    async def run(self) -> Taken:
        """Take everything over and return what came."""
        for table in sorted(self.source.columns):
            self.done.source[table] = await self.source.count(table)
            if table not in _TAKEN and self.done.source[table]:
                self.done.problems.append(f"{table}: {self.done.source[table]:,} rows are not taken.")
        for row in await self.source.all("organizations"):
            if self.organization in (None, row["id"], row["name"]):
                await self._organization(row)
        return self.done

    async def _organization(self, row: Mapping[str, Any]) -> None:
        whose = str(row["id"])
        if whose != ORGANIZATION:
            made = {"organization_id": whose, "name": row["name"], "created_at": _time(row, "created_at")}
            await self._write(self.store, lambda t: t.insert(organizations, [made], or_keep=True))
        self.done.taken["organizations"] += 1
        store = self.store.of(whose)
        await self._blocks(store, whose)
        tool_ids = await self._tools(store, whose)
        total = self.done.source["messages"]
        async for agent in self.source.rows("agents", "organization_id = $1", whose, order="created_at, id"):
            try:
                await self._agent(store, agent, tool_ids)
            except (KeyError, TypeError, ValueError) as error:
                self._problem("agents", agent, error)
            self.progress("messages", self.done.taken["messages"] + self.done.there["messages"], total)

    async def _write(self, store: Store, work: Any) -> None:
        if not self.dry_run:
            await store.write(work)

    def _problem(self, table: str, row: Mapping[str, Any], error: object) -> None:
        named = f" {row['name']!r}" if row.get("name") else ""
        self.done.problems.append(f"{table} {row.get('id')}{named}: {error}"[:300])

    async def _blocks(self, store: Store, whose: str) -> None:
        tags: dict[str, list[str]] = {}
        for row in await self.source.all("blocks_tags", "organization_id = $1", whose, order="created_at, tag"):
            tags.setdefault(row["block_id"], []).append(row["tag"])
        async for row in self.source.rows("block", "organization_id = $1", whose, order="created_at, id"):
            await self._block(store, row, tags.get(row["id"], []))

    async def _block(self, store: Store, row: Mapping[str, Any], tags: Sequence[str]) -> None:
        if await store.read(lambda t: t.first(_block_there, of=row["id"])) is not None:
            self.done.there["block"] += 1
            return
        value, at = clean_text(row["value"]), _time(row, "created_at")
        template = {n: row.get(n) for n in ("template_id", "base_template_id", "deployment_id", "entity_id")}
        template["preserve_on_migration"] = row.get("preserve_on_migration")
        kept = {
            "id": row["id"],
            "label": row["label"],
            "value": value,
            "character_limit": max(int(row["limit"]), len(value), 1),
            "description": row.get("description"),
            "read_only": bool(row.get("read_only")),
            "require_version": False,
            "hidden": row.get("hidden"),
            "project_id": row.get("project_id"),
            "is_template": bool(row.get("is_template")),
            "template_name": row.get("template_name"),
            "extra": json.dumps({"metadata": _object(row.get("metadata_")), "template": template}),
            "version": 1,
            "created_at": at,
            "updated_at": at,
            "updated_by": AUTHOR.to_json(),
        }

        async def write(transaction: Transaction) -> None:
            await transaction.insert(blocks, [kept])
            named = [
                {"block_id": row["id"], "tag": tag, "place": place} for place, tag in enumerate(dict.fromkeys(tags))
            ]
            await transaction.insert(block_tags, named)
            await record(transaction, row["id"], 1, None, value, {"kind": "create"}, AUTHOR, at)

        await self._write(store, write)
        self.done.taken["block"] += 1
        self.done.taken["blocks_tags"] += len(tags)

    async def _tools(self, store: Store, whose: str) -> dict[str, str]:
        """Take tools with source, find the others by name, and return what each is called here."""
        known: dict[str, str] = {}
        async for row in self.source.rows("tools", "organization_id = $1", whose, order="created_at, id"):
            if row["name"] in BUILTIN_TOOLS:
                known[row["id"]] = BUILTIN_TOOLS[row["name"]].id
                self.done.there["tools"] += 1
            elif await store.read(lambda t, tool_id=row["id"]: t.first(_tool_there, of=tool_id)) is not None:  # type: ignore[misc]
                known[row["id"]] = row["id"]
                self.done.there["tools"] += 1
            elif row["tool_type"] != "custom" or not row.get("source_code"):
                self.done.problems.append(f"tools {row['id']} {row['name']!r} ({row['tool_type']}): has no source.")
            else:
                try:
                    tool = await asyncio.to_thread(_tool, row)
                except (FolkmootError, KeyError, TypeError, ValueError) as error:
                    self._problem("tools", row, getattr(error, "message", error))
                    continue
                await self._write(store, lambda t, tool=tool: t.insert(tools, [tool.to_row()], or_keep=True))
                known[row["id"]] = row["id"]
                self.done.taken["tools"] += 1
        return known

    async def _agent(self, store: Store, row: Mapping[str, Any], tool_ids: Mapping[str, str]) -> None:
        if not isinstance(row["llm_config"], dict):
            raise ValueError("its llm_config is no JSON object")  # noqa: TRY004 - a fault of the data
        there = await store.read(lambda t: t.first(_agent_there, of=row["id"])) is not None
        if there:
            self.done.there["agents"] += 1
        else:
            await self._make_agent(store, row, tool_ids)
        await self._main_conversation(store, row)
        for other in await self.source.all("conversations", "agent_id = $1", row["id"], order="created_at, id"):
            await self._conversation(store, row, other)

    async def _make_agent(self, store: Store, row: Mapping[str, Any], tool_ids: Mapping[str, str]) -> None:
        config = {name: value for name, value in row["llm_config"].items() if name not in _OF_ANOTHER_SERVER}
        named = row["llm_config"].get("handle") or ""
        variables, missing = await self._variables(row)
        kept = {name: row.get(name) for name in _CONFIGURATION if row.get(name) is not None}
        kept = {name: value for name, value in kept.items() if not isinstance(value, Unreadable)}
        if "metadata_" in kept:
            kept["metadata"] = kept.pop("metadata_")
        agent = Agent(
            id=row["id"],
            organization_id="",
            name=row["name"] or row["id"],
            description=row.get("description"),
            agent_type=row["agent_type"] or "letta_v1_agent",
            system=clean_text(row["system"] or ""),
            model=self._model(row, named),
            embedding=(row.get("embedding_config") or {}).get("handle") if row.get("embedding_config") else None,
            timezone=row.get("timezone") or "UTC",
            hidden=row.get("hidden"),
            project_id=row.get("project_id"),
            template_id=row.get("template_id"),
            base_template_id=row.get("base_template_id"),
            configuration={**kept, "llm_config": config, "sealed_variables": self.sealer.seal(variables)},
            created_at=_time(row, "created_at"),
            updated_at=_time(row, "updated_at"),
        )
        self.done.problems += [
            f"agent_environment_variables {name} of {row['id']}: LETTA_ENCRYPTION_KEY is needed." for name in missing
        ]
        tags = await self.source.all("agents_tags", "agent_id = $1", row["id"])
        held = await self.source.all("blocks_agents", "agent_id = $1", row["id"])
        used = await self.source.all("tools_agents", "agent_id = $1", row["id"])
        lost = [each["tool_id"] for each in used if each["tool_id"] not in tool_ids]
        self.done.problems += [f"tools_agents: {row['id']} has the tool {each}, which did not come." for each in lost]

        async def write(transaction: Transaction) -> None:
            await transaction.insert(agents, [columns_of(agent) | {"id": agent.id, "created_at": agent.created_at}])
            await transaction.insert(agent_tags, [{"agent_id": agent.id, "tag": each["tag"]} for each in tags])
            attached = [tool_ids[each["tool_id"]] for each in used if each["tool_id"] in tool_ids]
            rows = [
                {"agent_id": agent.id, "tool_id": each, "attached_at": agent.created_at + place}
                for place, each in enumerate(dict.fromkeys(attached))
            ]
            await transaction.insert(agent_tools, rows)
            for place, each in enumerate(held):
                if await transaction.first(_block_there, of=each["block_id"]) is None:
                    self.done.problems.append(f"blocks_agents: {agent.id} has {each['block_id']}, which did not come.")
                    continue
                hold = {"agent_id": agent.id, "block_id": each["block_id"], "label": each["block_label"]}
                await transaction.insert(
                    agent_blocks, [hold | {"access": "write", "attached_at": agent.created_at + place}], or_keep=True
                )

        await self._write(store, write)
        self.done.taken["agents"] += 1
        self.done.taken["agents_tags"] += len(tags)
        self.done.taken["blocks_agents"] += len(held)
        self.done.taken["tools_agents"] += len(used) - len(lost)
        self.done.taken["agent_environment_variables"] += len(variables)

    def _model(self, row: Mapping[str, Any], named: str) -> str:
        config = row["llm_config"]
        plain = f"{config.get('model_endpoint_type')}/{config.get('model')}"
        for handle in (named, plain):
            try:
                found = self.catalogue.handle_of(handle)
            except FolkmootError:
                continue
            if handle != named:
                self.done.problems.append(f"agents {row['id']}: its model {named!r} is {found!r} here.")
            return found
        self.done.problems.append(
            f"agents {row['id']}: no provider of its model {named or plain!r} is configured here."
        )
        return named or plain

    async def _variables(self, row: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
        found: dict[str, str] = {}
        missing: list[str] = []
        for each in await self.source.all("agent_environment_variables", "agent_id = $1", row["id"]):
            sealed = each.get("value_enc") or ""
            value = each.get("value") or (decrypt(sealed, self.passphrase) if sealed else "")
            if value is None:
                missing.append(each["key"])
            else:
                found[each["key"]] = value
        return found, missing

    async def _main_conversation(self, store: Store, agent: Mapping[str, Any]) -> None:
        condition = "agent_id = $1"
        if "conversation_id" in self.source.columns["messages"]:
            condition += " AND conversation_id IS NULL"
        rows = await self.source.all("messages", condition, agent["id"], order="sequence_id")
        in_context = agent["message_ids"] if isinstance(agent["message_ids"], list) else []
        await self._said(store, agent, agent["id"], rows, [str(each) for each in in_context], {})

    async def _conversation(self, store: Store, agent: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        links = await self.source.all("conversation_messages", "conversation_id = $1", row["id"], order='"position"')
        rows = await self.source.all("messages", "conversation_id = $1", row["id"], order="sequence_id")
        in_context = [link["message_id"] for link in links if link["in_context"]]
        await self._said(store, agent, row["id"], rows, in_context, row)
        self.done.taken["conversations"] += 1
        self.done.taken["conversation_messages"] += len(links)
        own = await self.source.all("blocks_conversations", "conversation_id = $1", row["id"])

        async def write(transaction: Transaction) -> None:
            held = [{"conversation_id": row["id"], "block_id": each["block_id"], "access": "write"} for each in own]
            await transaction.insert(conversation_blocks, held, or_keep=True)

        await self._write(store, write)
        self.done.taken["blocks_conversations"] += len(own)

    async def _said(
        self,
        store: Store,
        agent: Mapping[str, Any],
        conversation_id: str,
        rows: Sequence[Mapping[str, Any]],
        in_context: Sequence[str],
        of: Mapping[str, Any],
    ) -> None:
        """Write a conversation, unless it has gone on here."""
        parts = await asyncio.to_thread(self._messages, agent, rows)
        said = [message for part in parts.values() for message in part]
        arranged = arrange(said, [message.id for each in in_context for message in parts.get(each, ())])
        wanted = [message.id for message in arranged.messages]
        there = {row["id"] for row in await store.read(lambda t: t.all(_ids_of_said, of=conversation_id))}
        if there - set(wanted):
            self.done.problems.append(f"conversations {conversation_id}: went on here and stays as it is.")
            self.done.there["messages"] += len(rows)
            return
        if there == set(wanted) and there:
            self.done.there["messages"] += len(rows)
            return
        await self._write(store, lambda t: _rewrite(t, agent, conversation_id, arranged, of))
        self.done.taken["messages"] += len(rows)

    def _messages(self, agent: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Message]]:
        """Return the messages that each row holds, by the row's identifier."""
        reader = RowReader(agent["agent_type"] in THINKING_ALOUD)
        said: dict[str, list[Message]] = {}
        for row in rows:
            self.done.digest.update(json.dumps(row.get("content")).encode())
            try:
                said[row["id"]] = reader.messages(row)
            except UnreadableRow as error:
                self._problem("messages", row, error)
        return said


_OF_ANOTHER_SERVER = frozenset(
    {"handle", "model", "model_endpoint", "model_endpoint_type", "provider_name", "provider_category", "display_name"}
)
_CONFIGURATION = (
    "metadata_",
    "tool_rules",
    "message_buffer_autoclear",
    "enable_sleeptime",
    "response_format",
    "max_files_open",
    "per_file_view_window_char_limit",
    "compaction_settings",
    "embedding_config",
)


async def _rewrite(
    transaction: Transaction,
    agent: Mapping[str, Any],
    conversation_id: str,
    arranged: Arranged,
    of: Mapping[str, Any],
) -> None:
    """Put a conversation into the place of what an earlier run took of it."""
    await transaction.run(_forget, of=conversation_id)
    settings = {name: of[name] for name in ("model", "model_settings") if of.get(name)}
    system = Message("system_message", system_content(clean_text(agent["system"] or ""), agent["id"], conversation_id))
    await start_conversation(
        transaction, agent["id"], conversation_id, [system], summary=of.get("summary"), configuration=settings
    )
    await write_said(transaction, agent["id"], conversation_id, arranged)


def _tool(row: Mapping[str, Any]) -> StoredTool:
    """Return a tool of its own source."""
    described = describe(
        {
            "source_code": row["source_code"],
            "source_type": row.get("source_type"),
            "json_schema": row.get("json_schema"),
        }
    )
    at = _time(row, "created_at")
    tool = StoredTool(row["id"], described.name, "custom", described.json_schema, at, AUTHOR, at, AUTHOR)
    return replace(
        tool,
        description=row.get("description"),
        source_type=described.source_type,
        source_code=described.source_code,
        schema_given=described.given,
        function=described.function,
        return_char_limit=row.get("return_char_limit") or 50_000,
        default_requires_approval=row.get("default_requires_approval"),
        enable_parallel_execution=bool(row.get("enable_parallel_execution")),
        tags=[str(each) for each in row.get("tags") or ()],
        pip_requirements=row.get("pip_requirements") or None,
        npm_requirements=row.get("npm_requirements") or None,
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _time(row: Mapping[str, Any], column: str) -> int:
    value = row.get(column)
    return clock.now() if value is None else moment_of(value)
