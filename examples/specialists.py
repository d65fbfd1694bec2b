"""Specialists pass on intermediate results: each reads the block of the one before it and writes its own.

Run: pip install "letta-client>=1.12.1,<2" && python specialists.py
"""

import os

from letta_client import Letta

MODEL = os.getenv("FOLKMOOT_MODEL")  # without one, the server's default
client = Letta(base_url=os.getenv("FOLKMOOT_BASE_URL", "http://localhost:8283"), api_key=os.getenv("LETTA_API_KEY"))

TOPICS = ("lost updates and concurrent edits", "read-only memory blocks", "prompt caching")
MATTERS = ("lost updates", "read-only blocks")
WANTED = "edits that are refused"

blocks = {
    label: client.blocks.create(label=label, description=description, value="")
    for label, description in (
        ("findings", "What the researcher found, unsorted."),
        ("analysis", "What of the findings matters."),
        ("report", "What the reader gets."),
    )
}


def specialist(name: str, reads: str | None, writes: str, **options: list[str]) -> str:
    """Create an agent that may write into one block, and read another; return its id."""
    agent = client.agents.create(name=name, model=MODEL, block_ids=[blocks[writes].id], **options)
    if reads:
        # Folkmoot's own addition: access is set for each attachment
        client.agents.blocks.attach(blocks[reads].id, agent_id=agent.id, extra_body={"access": "read"})
    return agent.id


def ask(agent_id: str, name: str, request: str) -> None:
    """Ask a specialist and print what it says."""
    print(f"you → {name}: {request}")
    for message in client.agents.messages.create(agent_id, input=request).messages:
        if message.message_type == "assistant_message":
            print(f"{name}: {message.content}\n")


researcher = specialist("researcher", None, "findings", tools=["web_search"])
analyst = specialist("analyst", "findings", "analysis")
writer = specialist("writer", "analysis", "report")

for topic in TOPICS:
    ask(researcher, "researcher", f"Find information about {topic} and insert what you learn into the findings block.")
for topic in MATTERS:
    request = f"Pick what the findings block says about {topic} and insert it into the analysis block."
    ask(analyst, "analyst", request)
ask(writer, "writer", f"Condense what the analysis block says about {WANTED} and insert it into the report block.")

for label, block in blocks.items():
    print(f"==== {label} ====\n{client.blocks.retrieve(block.id).value}\n")
