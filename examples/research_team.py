"""A research team fills one block: three agents look something up at once, and every line lands.

Run: pip install "letta-client>=1.12.1,<2" && python research_team.py
"""

import os
from concurrent.futures import ThreadPoolExecutor

from letta_client import Letta

MODEL = os.getenv("FOLKMOOT_MODEL")  # without one, the server's default
client = Letta(base_url=os.getenv("FOLKMOOT_BASE_URL", "http://localhost:8283"), api_key=os.getenv("LETTA_API_KEY"))

TEAM = {
    "historian": "the origin of Letta",
    "engineer": "concurrent edits and lost updates",
    "librarian": "archival memory and recall memory",
}

# One block for all; a description tells agents what it is for
block = client.blocks.create(label="findings", description="What the team found out, one line each.", value="")
agents = {
    name: client.agents.create(name=name, model=MODEL, tools=["web_search"], block_ids=[block.id]) for name in TEAM
}


def research(name: str) -> None:
    """Let one agent look its topic up and note it."""
    request = f"Find information about {TEAM[name]}. Insert what you learn into the findings block, as one line."
    response = client.agents.messages.create(agents[name].id, input=request)
    for message in response.messages:
        if message.message_type == "tool_call_message":
            print(f"{name}: calls {message.tool_call.name}")
        if message.message_type == "assistant_message":
            print(f"{name}: {message.content}")


# All at once: inserts into a shared block never conflict
with ThreadPoolExecutor() as pool:
    list(pool.map(research, TEAM))

# Who wrote what; the server keeps every version with its author
blame = client.get(f"/v1/blocks/{block.id}/blame", cast_to=object)
print("\n==== findings ====")
for line in blame["lines"]:
    print(f"{line['author']['name']} in version {line['version']}: {line['text']}")
