"""Tools: those that come with every server by name, those of one's own with their source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from folkmoot.agents.agents import tools_of
from folkmoot.errors import FolkmootError
from folkmoot.store.engine import Transaction
from folkmoot.tools.builtin import BUILTIN_TOOLS
from folkmoot.tools.custom.making import Described, describe, put_tool, would_stay
from folkmoot.tools.stored import StoredTool, count_users, find_tool_named
from folkmoot.tools.tool import Tool
from folkmoot.transfer.exporting import Exporting
from folkmoot.transfer.importing import Loading
from folkmoot.transfer.message_rows import OWN_KEY

_OF_SERVER = "external_mcp"


class Tools:
    """The section `tools`."""

    async def export(self, exporting: Exporting) -> None:
        """Add the tools of the agents, each once."""
        for agent in exporting.agents:
            entry = exporting.entry(agent)
            entry["tool_ids"] = []
            for tool in await tools_of(exporting.transaction, agent.id, exporting.services.tools):
                new = exporting.ids.known(tool.id) == tool.id
                identifier = exporting.ids.of("tool", tool.id)
                entry["tool_ids"].append(identifier)
                if new:
                    told = tool_entry(tool)
                    if tool.stored is not None and tool.stored.server_id:
                        told[OWN_KEY] = {"server_id": exporting.ids.of("mcp_server", tool.stored.server_id)}
                    exporting.content["tools"].append({"id": identifier, **told})

    def prepare(self, loading: Loading) -> None:
        """Read the sources of tools, which are not run."""
        for entry in loading.file.section("tools"):
            name, kind = str(entry.get("name")), entry.get("tool_type")
            fields = loading.plans.tools.get(entry["id"])
            if name in BUILTIN_TOOLS:
                if kind == "custom":
                    loading.left_out.append(f"tool {name!r}: a tool of that name comes with the server and is taken.")
            elif kind == _OF_SERVER:
                pass  # it is taken when its server is here
            elif fields is None:
                loading.refused.append(f"Tool {name!r} ({kind}): has no source, and none of that name is here.")
            else:
                try:
                    loading.prepared[entry["id"]] = (fields, describe(_without_own_schema(fields)))
                except FolkmootError as error:
                    loading.refused.append(f"Tool {name!r}: {error.message}")

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Find the tools that are here, make the others."""
        for entry in loading.file.section("tools"):
            name, kind = str(entry.get("name")), entry.get("tool_type")
            if name in BUILTIN_TOOLS:
                loading.made[entry["id"]] = BUILTIN_TOOLS[name].id
            elif kind == _OF_SERVER:
                await _find_of_server(loading, transaction, entry)
            elif entry["id"] in loading.prepared:
                tool = await _put(loading, transaction, *loading.prepared[entry["id"]])
                loading.made[entry["id"]] = tool.id


async def _put(
    loading: Loading, transaction: Transaction, fields: Mapping[str, Any], described: Described
) -> StoredTool:
    """Return the tool of that name: the file's, or the one here when that is not to be replaced."""
    name, there = described.name, await find_tool_named(transaction, described.name)
    fields = _within_hosts(loading, name, fields, there)
    if there is None:
        return await put_tool(transaction, fields, described, loading.author)
    if would_stay(there, fields, described):
        return there
    users = await count_users(transaction, there.id)
    wanted = loading.options.override_existing_tools
    if not (users == 0 if wanted is None else wanted):
        loading.tell(
            f"tool {name!r}: another one of that name is here, which {users} agents have, and stays; "
            "override_existing_tools=true puts the file's into its place for all of them."
        )
        return there
    loading.changed.append(f"tool {name!r}: is the file's now, also for the {users} agents here that have it.")
    return await put_tool(transaction, fields, described, loading.author)


def _within_hosts(
    loading: Loading, name: str, fields: Mapping[str, Any], there: StoredTool | None
) -> Mapping[str, Any]:
    """Return a tool's fields with the hosts that it may reach: the file's only when that is wanted."""
    metadata = dict(fields.get("metadata") or {})
    asked = metadata.get("allowed_hosts") or []
    before = (there.metadata or {}).get("allowed_hosts") or [] if there is not None else []
    same_source = there is not None and there.source_code == fields["source_code"]
    hosts = asked if loading.options.open_hosts else before if same_source else []
    if closed := [host for host in asked if host not in hosts]:
        loading.tell(
            f"tool {name!r}: asks for the hosts {', '.join(closed)}, which stay closed to it; "
            "open_hosts=true opens them, or do so at the tool."
        )
    if hosts:
        metadata["allowed_hosts"] = hosts
    else:
        metadata.pop("allowed_hosts", None)
    return {**fields, "metadata": metadata} if metadata or (there is not None and there.metadata) else fields


async def _find_of_server(loading: Loading, transaction: Transaction, entry: Mapping[str, Any]) -> None:
    """Find a tool of a server: of the file's when that is here, else of whichever has one of its name."""
    name, own = str(entry.get("name")), entry.get(OWN_KEY)
    server_id = loading.made.get(str(own.get("server_id"))) if isinstance(own, dict) else None
    if server_id is not None:
        tool = await find_tool_named(transaction, name, server_id)
        found = [] if tool is None else [tool.id]
    else:
        found = [each.id for each in await loading.services.tools.entries(transaction) if each.name == name]
    if found:
        loading.made[entry["id"]] = found[0]
    else:
        loading.tell(f"tool {name!r}: is of a server of tools that is not here; add the server and attach it.")


def _without_own_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool's fields without the schema that its source says by itself, so that it follows the source later."""
    plain = {name: value for name, value in fields.items() if name != "json_schema"}
    try:
        read = describe(plain)
    except FolkmootError:
        return dict(fields)
    given = fields.get("json_schema")
    return plain if given is None or read.json_schema == given else dict(fields)


_OF_STORED = (
    "args_json_schema",
    "pip_requirements",
    "npm_requirements",
    "default_requires_approval",
    "enable_parallel_execution",
)
"""What only tools with a row have, and the format has of each."""


def tool_entry(tool: Tool) -> dict[str, Any]:
    """Return a tool as a file has it, without its identifier."""
    stored, schema = tool.stored, tool.schema
    entry: dict[str, Any] = {
        "name": tool.name,
        "tool_type": tool.tool_type,
        "description": schema.description,
        "tags": list(tool.tags),
        "return_char_limit": tool.return_limit,
        "project_id": None,
        "created_by_id": None,
        "last_updated_by_id": None,
    }
    if stored is None:
        told = {"name": schema.name, "description": schema.description, "parameters": schema.parameters}
        own = dict.fromkeys(_OF_STORED)
        return entry | own | {"source_type": "python", "source_code": None, "json_schema": told, "metadata_": {}}
    return entry | {
        "source_type": stored.source_type,
        "source_code": stored.source_code,
        "json_schema": dict(stored.json_schema),
        "args_json_schema": dict(stored.args_json_schema) if stored.args_json_schema else None,
        "pip_requirements": stored.pip_requirements,
        "npm_requirements": stored.npm_requirements,
        "default_requires_approval": stored.default_requires_approval,
        "enable_parallel_execution": stored.enable_parallel_execution,
        "metadata_": dict(stored.metadata or {}),
    }
