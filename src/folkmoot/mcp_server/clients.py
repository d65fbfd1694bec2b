"""How each well-known client is told of the door: one line for each, where they stand in `docs/mcp.md` too."""

from __future__ import annotations

from collections.abc import Mapping

CLIENTS: Mapping[str, str] = {
    "Claude Code": (
        "claude mcp add --transport http folkmoot {url}/mcp --header 'Authorization: Bearer ${FOLKMOOT_API_KEY}'"
    ),
    "Codex": "codex mcp add folkmoot --url {url}/mcp --bearer-token-env-var FOLKMOOT_API_KEY",
    "Gemini CLI": (
        'gemini mcp add --transport http --header "Authorization: Bearer $FOLKMOOT_API_KEY" folkmoot {url}/mcp'
    ),
    "Cursor, in .cursor/mcp.json": (
        '{"mcpServers": {"folkmoot": {"url": "{url}/mcp", '
        '"headers": {"Authorization": "Bearer ${env:FOLKMOOT_API_KEY}"}}}}'
    ),
    "VS Code, in .vscode/mcp.json": (
        '{"servers": {"folkmoot": {"type": "http", "url": "{url}/mcp", '
        '"headers": {"Authorization": "Bearer ${env:FOLKMOOT_API_KEY}"}}}}'
    ),
    "n8n, node MCP Client Tool": (
        "Endpoint: {url}/mcp   Server Transport: HTTP Streamable   Authentication: Bearer Auth"
    ),
    "LangGraph": (
        'MultiServerMCPClient({"folkmoot": {"transport": "streamable_http", "url": "{url}/mcp", '
        '"headers": {"Authorization": f"Bearer {key}"}}})'
    ),
}
"""What to run or write, by client, with `{url}` for the server's address."""

STDIO = '{"mcpServers": {"folkmoot": {"command": "folkmoot", "args": ["mcp"], "env": {"FOLKMOOT_API_KEY": "…"}}}}'
"""What a client is told that starts a program."""

USUAL_URL = "http://localhost:8283"


def help_text() -> str:
    """Return what `folkmoot mcp --help` prints."""
    lines = "\n".join(f"  {client}:\n    {line_for(client, USUAL_URL)}" for client in CLIENTS)
    return f"""Usage: folkmoot mcp

Bridge an agent's client to the running server by the Model Context Protocol, over stdin and stdout: to the one at
FOLKMOOT_URL (http://localhost:8283 if unset), with the key FOLKMOOT_API_KEY. Where none runs, serve the database here.

Clients that start a program run it themselves:
  {STDIO}

Clients that take an address join at /mcp of the server. FOLKMOOT_API_KEY stands for the key of a member:
folkmoot keys create NAME --block LABEL:ACCESS
{lines}"""


def line_for(client: str, url: str) -> str:
    """Return a client's line for a server."""
    return CLIENTS[client].replace("{url}", url)
