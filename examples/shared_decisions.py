"""A coding agent from elsewhere and a research agent of the server share a project's decisions, by MCP.

Run: pip install "letta-client>=1.12.1,<2" "mcp>=2.3,<3" && python shared_decisions.py
"""

import asyncio
import os

import httpx2
from letta_client import Letta
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation

URL = os.getenv("FOLKMOOT_BASE_URL", "http://localhost:8283")
MODEL = os.getenv("FOLKMOOT_MODEL")  # without one, the server's default
client = Letta(base_url=URL, api_key=os.getenv("LETTA_API_KEY"))

# One block for both: the research agent may add to it, the coding agent may change it
decisions = client.blocks.create(
    label="decisions",
    description="What the project has decided and why, and what is known that bears on it. One line for each.",
    value="Decided: agents keep what they share in memory blocks.",
)
research = client.agents.create(name="research", model=MODEL, tools=["web_search"])
client.agents.blocks.attach(decisions.id, agent_id=research.id, extra_body={"access": "append"})

# The coding agent lives elsewhere: it joins with a key of its own, and may ask the research agent
member = {
    "name": "coder",
    "blocks": [{"block": decisions.id, "access": "write"}],
    "agents": [research.id],
}
key = client.post("/v1/keys", body=member, cast_to=object)["key"]


async def main() -> None:
    """Do what a coding agent does with its tools; Claude Code, Cursor or Codex would call the same ones."""
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=300) as http:
        transport = streamable_http_client(f"{URL}/mcp", http_client=http)
        async with Client(transport, client_info=Implementation(name="coder", version="1")) as folkmoot:

            async def use(tool: str, **arguments: str) -> str:
                result = await folkmoot.call_tool(tool, arguments)
                text = result.content[0].text
                print(f"coder: {tool}({', '.join(arguments)}): {text.splitlines()[0]}")
                return text

            print(await use("read_memory", label="decisions"))
            await use(
                "ask_agent",
                agent=research.id,
                message="Find out about memory blocks and insert what you learn into the decisions block.",
            )
            await use("insert", label="decisions", new_string="Decided: edits are inserts, which never conflict.")
            await use(
                "replace",
                label="decisions",
                old_string="agents keep what they share in memory blocks.",
                new_string="agents keep what they share in one block, decisions.",
            )
            await use("replace", label="decisions", old_string="what nobody wrote", new_string="")  # refused


asyncio.run(main())

print("\n==== decisions ====")
for line in client.get(f"/v1/blocks/{decisions.id}/blame", cast_to=object)["lines"]:
    print(f"{line['author']['type']} {line['author']['name']} in version {line['version']}: {line['text']}")
