"""Servers of tools: how each is reached stands in a file, without secrets; here they are found by their names.

None is added, since a file would then say whom this server talks to: that is its owner's to do.
"""

from __future__ import annotations

from folkmoot.agents.agents import tools_of
from folkmoot.errors import BadRequest
from folkmoot.store.engine import Transaction
from folkmoot.tools.mcp.servers import find_server, list_servers
from folkmoot.transfer.exporting import Exporting
from folkmoot.transfer.importing import Loading


class Servers:
    """The section `mcp_servers`."""

    async def export(self, exporting: Exporting) -> None:
        """Add the servers of the agents' tools, each once."""
        for agent in exporting.agents:
            for tool in await tools_of(exporting.transaction, agent.id, exporting.services.tools):
                server_id = tool.stored.server_id if tool.stored is not None else ""
                if not server_id or exporting.ids.known(server_id) != server_id:
                    continue
                server = await find_server(exporting.transaction, server_id, exporting.services.sealer)
                shown = server.configuration.shown(to_admin=False)
                entry = {
                    "id": exporting.ids.of("mcp_server", server_id),
                    "server_name": server.name,
                    "server_type": server.configuration.server_type,
                    "server_url": shown.get("server_url"),
                    "stdio_config": shown if server.configuration.is_program else None,
                    "token": None,
                    "custom_headers": None,
                }
                exporting.content["mcp_servers"].append(entry)

    def prepare(self, loading: Loading) -> None:
        """Refuse what has no name."""
        for entry in loading.file.section("mcp_servers"):
            if not isinstance(entry.get("server_name"), str):
                raise BadRequest(f"file: the server of tools {entry['id']} has no server_name.")

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Find the servers that are here, and say how the others are reached."""
        there = {server.name: server.id for server in await list_servers(transaction, loading.services.sealer)}
        for entry in loading.file.section("mcp_servers"):
            name = entry["server_name"]
            if name in there:
                loading.made[entry["id"]] = there[name]
                continue
            where = entry.get("server_url") or "a program"
            loading.tell(
                f"server of tools {name!r}: is not here; add it ({str(entry.get('server_type'))[:40]}, "
                f"{str(where)[:300]}), and attach its tools."
            )
