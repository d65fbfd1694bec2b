"""A team with a library: two agents keep what they find in one archive, and each finds what the other kept.

Run: pip install "letta-client>=1.12.1,<2" && python shared_library.py
"""

import os
from concurrent.futures import ThreadPoolExecutor

from letta_client import Letta

MODEL = os.getenv("FOLKMOOT_MODEL")  # without one, the server's default
client = Letta(base_url=os.getenv("FOLKMOOT_BASE_URL", "http://localhost:8283"), api_key=os.getenv("LETTA_API_KEY"))

TEAM = {"historian": "the origin of Letta", "engineer": "concurrent edits and lost updates"}
TOOLS = ["web_search", "archival_memory_insert", "archival_memory_search"]

# One archive for all; a description tells agents what it is for
archive = client.archives.create(name="library", description="What the team found out, with its sources.")
agents = {name: client.agents.create(name=name, model=MODEL, tools=TOOLS) for name in TEAM}
for agent in agents.values():
    client.agents.archives.attach(archive.id, agent_id=agent.id)


def ask(name: str, request: str) -> None:
    """Ask one agent, and show what it does and says."""
    response = client.agents.messages.create(agents[name].id, input=request)
    for message in response.messages:
        if message.message_type == "tool_call_message":
            print(f"{name}: calls {message.tool_call.name}")
        if message.message_type == "assistant_message":
            print(f"{name}: {message.content}")


# Both fill the archive, at once
with ThreadPoolExecutor() as pool:
    list(pool.map(ask, TEAM, [f"Find information about {TEAM[name]}. Keep it in the archive." for name in TEAM]))

# Each asks the archive for what the other one found
ask("historian", f"Search the archive for {TEAM['engineer']}.")
ask("engineer", f"Search the archive for {TEAM['historian']}.")

# Who wrote what, and why a search finds it
found = client.post("/v1/passages/search", body={"query": "lost updates", "archive_id": archive.id}, cast_to=object)
print("\n==== library ====")
for each in found:
    print(f"{each['passage']['author']['name']}, for {each['metadata']['words']}: {each['passage']['text'][:60]}")
