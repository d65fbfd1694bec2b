"""Agents of every type, with their settings, variables, and what they have: tags, blocks, tools, archives, folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table

from folkmoot.agents.agents import Agent, columns_of
from folkmoot.conversations.messages import clean_text
from folkmoot.errors import FolkmootError
from folkmoot.identifiers import derived_id
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import (
    agent_archives,
    agent_blocks,
    agent_files,
    agent_folders,
    agent_tags,
    agent_tools,
    agents,
    archives,
    blocks,
    files,
    folders,
    tools,
)
from folkmoot.tools.builtin import BUILTIN_TOOLS
from folkmoot.transfer.message_rows import clean
from folkmoot.transfer.retired.context import DAMAGED, Context, text_of, time_of
from folkmoot.transfer.retired.source import Unreadable

LINKS = ("agents_tags", "blocks_agents", "tools_agents", "archives_agents", "sources_agents", "files_agents")
VARIABLES = "agent_environment_variables"


class Agents:
    """The table of agents, and those that say what each has."""

    name = "agents"
    tables = frozenset({"agents", VARIABLES, *LINKS})

    async def take(self, context: Context) -> None:
        """Take agents; one that is here already stays as it is."""
        condition, values = context.where("agents")
        async for row in context.source.rows("agents", condition, *values, order="created_at, id"):
            if row["id"] in await context.ids(agents):
                context.done.there["agents"] += 1
                await context.count_there((*LINKS, VARIABLES), "agent_id", row["id"])
                continue
            try:
                await _make(context, row)
            except FolkmootError as error:
                context.problem("agents", row, f"cannot be written: {error.message}")
            except DAMAGED as error:
                context.problem("agents", row, error)
            context.progress("agents", context.done.taken["agents"], context.done.source["agents"])


async def _make(context: Context, row: Mapping[str, Any]) -> None:
    if not isinstance(row["llm_config"], dict):
        raise ValueError("its llm_config is no JSON object")  # noqa: TRY004 - a fault of the data
    variables = await _variables(context, row)
    agent = _agent(context, row, variables)
    links = [
        (agent_tags, "agents_tags", await _tags(context, row)),
        (agent_blocks, "blocks_agents", await _held(context, row, "blocks_agents", "block_id", blocks)),
        (agent_tools, "tools_agents", await _tools(context, row)),
        (agent_archives, "archives_agents", await _archives(context, row)),
        (agent_folders, "sources_agents", await _held(context, row, "sources_agents", "source_id", folders)),
        (agent_files, "files_agents", await _files(context, row)),
    ]

    async def write(transaction: Transaction) -> None:
        await transaction.insert(agents, [columns_of(agent) | {"id": agent.id, "created_at": agent.created_at}])
        for table, _, rows in links:
            await transaction.insert(table, rows, or_keep=True)

    await context.write(write)
    (await context.ids(agents)).add(agent.id)
    context.done.taken["agents"] += 1
    context.done.taken[VARIABLES] += len(variables)
    for _, of, rows in links:
        context.done.taken[of] += len(rows)


def _agent(context: Context, row: Mapping[str, Any], variables: Mapping[str, str]) -> Agent:
    config = {name: value for name, value in clean(row["llm_config"]).items() if name not in _OF_ANOTHER_SERVER}
    kept = {name: clean(row.get(name)) for name in _CONFIGURATION if row.get(name) is not None}
    kept = {name: value for name, value in kept.items() if not isinstance(row[name], Unreadable)}
    if "metadata_" in kept:
        kept["metadata"] = kept.pop("metadata_")
    return Agent(
        id=row["id"],
        organization_id="",
        name=clean_text(row["name"] or row["id"]),
        description=text_of(row.get("description")),
        agent_type=row["agent_type"] or "letta_v1_agent",
        system=clean_text(row["system"] or ""),
        model=_model(context, row),
        embedding=context.embedding(row.get("embedding_config")),
        timezone=row.get("timezone") or "UTC",
        hidden=row.get("hidden"),
        project_id=row.get("project_id"),
        template_id=row.get("template_id"),
        base_template_id=row.get("base_template_id"),
        configuration={**kept, "llm_config": config, "sealed_variables": context.sealer.seal(dict(variables))},
        created_at=time_of(row),
        updated_at=time_of(row, "updated_at"),
    )


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


def _model(context: Context, row: Mapping[str, Any]) -> str:
    config = row["llm_config"]
    named, plain = config.get("handle") or "", f"{config.get('model_endpoint_type')}/{config.get('model')}"
    for handle in context.catalogue.names_of(named, plain):
        try:
            found = context.catalogue.handle_of(handle)
        except FolkmootError:
            continue
        if handle != named:
            context.note(f"agents {row['id']}: its model {named!r} is {found!r} here.")
        return found
    context.note(f"agents {row['id']}: no provider of its model {named or plain!r} is configured here.")
    return named or plain


async def _variables(context: Context, row: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in await context.source.all(VARIABLES, "agent_id = $1", row["id"]):
        value = context.secret(each, "value", "value_enc")
        if value is None:
            context.problem(VARIABLES, each, f"{each['key']} of {row['id']} needs LETTA_ENCRYPTION_KEY.")
        else:
            found[each["key"]] = clean_text(value)
    return found


async def _tags(context: Context, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = await context.source.all("agents_tags", "agent_id = $1", row["id"])
    return [{"agent_id": row["id"], "tag": clean_text(each["tag"])} for each in found]


async def _held(context: Context, row: Mapping[str, Any], of: str, column: str, table: Table) -> list[dict[str, Any]]:
    """Return the rows that say which blocks, archives or folders an agent has."""
    name = {"source_id": "folder_id"}.get(column, column)
    order = "created_at" if context.source.has(of, "created_at") else column
    made: list[dict[str, Any]] = []
    for each in await context.source.all(of, "agent_id = $1", row["id"], order=order):
        if each[column] not in await context.ids(table):
            context.problem(of, {"id": row["id"]}, f"has {each[column]}, which did not come.")
            continue
        link = {"agent_id": row["id"], name: each[column], "attached_at": time_of(row) + len(made)}
        if table is not folders:
            link["access"] = "write"
        if table is blocks:
            link["label"] = clean_text(each["block_label"])
        made.append(link)
    return made


async def _archives(context: Context, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return which archives an agent has; that of its own is made of passages from before there were archives."""
    own = derived_id("archive", row["id"])
    if context.source.has("archives_agents") or own not in await context.ids(archives):
        return await _held(context, row, "archives_agents", "archive_id", archives)
    return [{"agent_id": row["id"], "archive_id": own, "access": "write", "attached_at": time_of(row)}]


async def _tools(context: Context, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    used = [each["tool_id"] for each in await context.source.all("tools_agents", "agent_id = $1", row["id"])]
    names = {each["id"]: each["name"] for each in await context.source.all("tools", "id = ANY($1)", used)}
    made = []
    for place, tool_id in enumerate(used):
        if names.get(tool_id) in BUILTIN_TOOLS:
            here = BUILTIN_TOOLS[names[tool_id]].id
        elif tool_id in await context.ids(tools):
            here = tool_id
        else:
            context.problem("tools_agents", {"id": row["id"]}, f"has the tool {tool_id}, which did not come.")
            continue
        made.append({"agent_id": row["id"], "tool_id": here, "attached_at": time_of(row) + place})
    return made


async def _files(context: Context, row: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    made = []
    for each in await context.source.all("files_agents", "agent_id = $1", row["id"]):
        if each["file_id"] not in await context.ids(files):
            context.problem("files_agents", each, f"is of the file {each['file_id']}, which did not come.")
            continue
        made.append(
            {
                "agent_id": row["id"],
                "file_id": each["file_id"],
                "is_open": bool(each["is_open"]),
                "first_line": each.get("start_line"),
                "last_line": each.get("end_line"),
                "accessed_at": time_of(each, "last_accessed_at"),
            }
        )
    return made
