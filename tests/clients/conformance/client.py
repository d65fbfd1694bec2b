"""What the protocol's conformance suite starts to test how servers of tools are asked: `client.py ADDRESS`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import Any

from folkmoot.errors import ToolServerFailed
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.connection import Connection, ConnectionOptions

EXAMPLES: dict[Any, Any] = {"integer": 5, "number": 5, "boolean": True, "object": {}, "array": []}
TIMEOUT = 20.0


async def main(address: str) -> None:
    """List the server's tools and call each once, with the arguments that the suite wants or some that fit."""
    configuration = ServerConfiguration("streamable_http", server_url=address)
    connection = Connection("conformance", configuration, ConnectionOptions(allow_private=True), lambda: None)
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    wanted = {call["name"]: call["arguments"] for call in context.get("toolCalls", ())}
    try:
        tools = await connection.list_tools()
        for tool in tools:
            properties = tool.input_schema.get("properties", {})
            fitting = {name: EXAMPLES.get(each.get("type"), "x") for name, each in properties.items()}
            if tool.name == "json_schema_echo":  # wants to hear what schema the other tool has
                fitting = {"schema": next(each for each in tools if each is not tool).input_schema}
            with suppress(ToolServerFailed):  # whether that was right, the suite's checks say
                await connection.call(tool.name, wanted.get(tool.name, fitting), TIMEOUT)
    finally:
        await connection.close()


asyncio.run(main(sys.argv[-1]))
