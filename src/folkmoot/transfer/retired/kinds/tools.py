"""Servers of tools, and tools: those of servers, and those with source; others are found by name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from folkmoot.conversations.messages import clean_text
from folkmoot.errors import FolkmootError
from folkmoot.store.tables import mcp_servers, tools
from folkmoot.tools.builtin import BUILTIN_TOOLS
from folkmoot.tools.custom.making import describe
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.servers import ToolServer
from folkmoot.tools.stored import StoredTool, StoredType
from folkmoot.transfer.retired.context import DAMAGED, IMPORTER, Context, object_of, text_of, time_of
from folkmoot.transfer.retired.source import read_json


class Servers:
    """The table of servers of tools."""

    name = "mcp_servers"
    tables = frozenset({"mcp_server"})

    async def take(self, context: Context) -> None:
        """Take servers with what they are reached by, sealed anew."""
        condition, values = context.where("mcp_server")
        async for row in context.source.rows("mcp_server", condition, *values, order="created_at, id"):
            try:
                server = _server(context, row)
            except DAMAGED as error:
                context.problem("mcp_server", {**row, "name": row.get("server_name")}, error)
                continue
            await context.put(mcp_servers, server.to_row(context.sealer), "mcp_server", row)


def _server(context: Context, row: Mapping[str, Any]) -> ToolServer:
    named = f"mcp_server {row['id']} {row['server_name']!r}"
    token = context.secret(row, "token", "token_enc")
    headers = row.get("custom_headers") or {}
    sealed = context.secret(row, "", "custom_headers_enc")
    if token is None or sealed is None:
        context.note(f"{named}: its token or headers need LETTA_ENCRYPTION_KEY; set them anew.")
    if sealed:
        headers = read_json(sealed)
    program = object_of(row.get("stdio_config"))
    kind = row["server_type"]
    if kind not in ("stdio", "streamable_http", "sse"):
        raise ValueError(f"there are no servers of the type {kind!r}")
    configuration = ServerConfiguration(
        server_type=kind,
        server_url=row.get("server_url"),
        auth_token=token or None,
        custom_headers={str(name): str(value) for name, value in object_of(headers).items()},
        command=program.get("command"),
        args=tuple(map(str, program.get("args") or ())),
        env={str(name): str(value) for name, value in (program.get("env") or {}).items()},
    )
    author, changer = context.author_of(row), context.author_of(row, "_last_updated_by_id")
    name = clean_text(row["server_name"])
    return ToolServer(row["id"], name, configuration, time_of(row), author, time_of(row, "updated_at"), changer)


class Tools:
    """The tables of tools, but for which agent has which."""

    name = "tools"
    tables = frozenset({"tools", "mcp_tools"})

    async def take(self, context: Context) -> None:
        """Take tools with source and those of servers that came, and find the others by name."""
        links = await context.source.all("mcp_tools", "organization_id = $1", context.organization_id)
        servers = {row["tool_id"]: row["mcp_server_id"] for row in links}
        before = len(servers.keys() & await context.ids(tools))
        async for row in context.source.rows("tools", "organization_id = $1", context.organization_id, order="id"):
            await self._take(context, row, servers)
        context.done.there["mcp_tools"] += before
        context.done.taken["mcp_tools"] += len(servers.keys() & await context.ids(tools)) - before

    async def _take(self, context: Context, row: Mapping[str, Any], servers: Mapping[str, str]) -> None:
        if row["name"] in BUILTIN_TOOLS:
            context.done.there["tools"] += 1
            return
        try:
            tool = await _tool(context, row, servers.get(row["id"]))
        except FolkmootError as error:
            context.problem("tools", row, error.message)
            return
        except DAMAGED as error:
            context.problem("tools", row, error)
            return
        author = context.author_of(row)
        await context.put(tools, replace(tool, created_by=author, updated_by=author).to_row(), "tools", row)


async def _tool(context: Context, row: Mapping[str, Any], server_id: str | None) -> StoredTool:
    if row["tool_type"] == "external_mcp":
        return await _of_server(context, row, server_id)
    if row["tool_type"] == "custom" and row.get("source_code"):
        return await asyncio.to_thread(_of_source, row)
    raise ValueError(f"is of the type {row['tool_type']}, has no source, and none of its name is here")


async def _of_server(context: Context, row: Mapping[str, Any], server_id: str | None) -> StoredTool:
    origin = object_of(row.get("metadata_")).get("mcp") or {}
    server_id = server_id or origin.get("server_id")
    if server_id not in await context.ids(mcp_servers):
        raise ValueError(f"its server {server_id or origin.get('server_name')} did not come")
    schema = {name: value for name, value in object_of(row.get("json_schema")).items() if not name.startswith("mcp:")}
    parameters = schema.get("parameters")
    if isinstance(parameters, dict):  # the retired server asked models for this beside what the tool takes
        plain = {name: value for name, value in (parameters.get("properties") or {}).items() if name != _HEARTBEAT}
        required = [name for name in parameters.get("required") or () if name != _HEARTBEAT]
        schema["parameters"] = {**parameters, "properties": plain, "required": required}
    about = {"server_name": origin.get("server_name"), "server_id": server_id, "tool": row["name"]}
    return replace(_blank(row, "external_mcp", schema), server_id=str(server_id), metadata={"mcp": about})


_HEARTBEAT = "request_heartbeat"


def _of_source(row: Mapping[str, Any]) -> StoredTool:
    given = {"source_code": row["source_code"], "source_type": row.get("source_type")}
    described = describe({**given, "json_schema": object_of(row.get("json_schema")) or None})
    return replace(
        _blank(row, "custom", described.json_schema),
        name=described.name,
        source_type=described.source_type,
        source_code=described.source_code,
        args_json_schema=described.args_json_schema,
        schema_given=described.given,
        function=described.function,
        pip_requirements=row.get("pip_requirements") or None,
        npm_requirements=row.get("npm_requirements") or None,
        metadata={n: v for n, v in object_of(row.get("metadata_")).items() if n != "allowed_hosts"} or None,
    )


def _blank(row: Mapping[str, Any], kind: StoredType, schema: Mapping[str, Any]) -> StoredTool:
    tags = row.get("tags")
    return StoredTool(
        id=row["id"],
        name=clean_text(row["name"]),
        tool_type=kind,
        json_schema=schema,
        created_at=time_of(row),
        created_by=IMPORTER,
        updated_at=time_of(row, "updated_at"),
        updated_by=IMPORTER,
        description=text_of(row.get("description")),
        return_char_limit=row.get("return_char_limit") or 50_000,
        default_requires_approval=row.get("default_requires_approval"),
        enable_parallel_execution=bool(row.get("enable_parallel_execution")),
        tags=[clean_text(str(each)) for each in tags] if isinstance(tags, list) else [],
        schema_given=True,
    )
