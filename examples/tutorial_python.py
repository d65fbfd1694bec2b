"""Two agents share a memory block: the shared memory tutorial, with the 1.x line of letta-client.

Run: pip install "letta-client>=1.12.1,<2" && python tutorial_python.py
"""

import os

from letta_client import Letta

MODEL = os.getenv("FOLKMOOT_MODEL", "openai/gpt-4o-mini")

# Initialize the client
client = Letta(base_url=os.getenv("FOLKMOOT_BASE_URL", "http://localhost:8283"), api_key=os.getenv("LETTA_API_KEY"))

# Create a memory block that will be shared between agents
block = client.blocks.create(
    label="organization",
    value="Organization: Letta",
    limit=4000,
)
print(f"Created shared block: {block.id}\n")

# Create the first agent with the block attached during creation
agent1 = client.agents.create(
    name="agent1",
    model=MODEL,
    block_ids=[block.id],
    tools=["web_search"],
)
print(f"Created agent1: {agent1.id}")

# Create the second agent and attach the block afterward
agent2 = client.agents.create(
    name="agent2",
    model=MODEL,
    tools=["web_search"],
)
print(f"Created agent2: {agent2.id}")

agent2 = client.agents.blocks.attach(
    block.id,
    agent_id=agent2.id,
)
print(f"Attached block to agent2: {agent2.id}\n")

# Agent1 contributes information
response = client.agents.messages.create(
    agent1.id,
    messages=[
        {
            "role": "user",
            "content": """
    Find information about the connection between memory blocks and Letta.
    Insert what you learn into the memory block, prepended with "Agent1: ".
""",
        }
    ],
)
for msg in response.messages:
    if msg.message_type == "assistant_message":
        print(f"Agent1 response: {msg.content}")
    if msg.message_type == "tool_call_message":
        print(f"Tool call: {msg.tool_call.name}({msg.tool_call.arguments})")

# Agent2 contributes information
response = client.agents.messages.create(
    agent2.id,
    messages=[
        {
            "role": "user",
            "content": """
    Find information about the origin of Letta.
    Insert what you learn into the memory block, prepended with "Agent2: ".
""",
        }
    ],
)
for msg in response.messages:
    if msg.message_type == "assistant_message":
        print(f"Agent2 response: {msg.content}")
    if msg.message_type == "tool_call_message":
        print(f"Tool call: {msg.tool_call.name}({msg.tool_call.arguments})")

# Inspect the shared memory
updated_block = client.blocks.retrieve(block.id)
print("==== Updated block ====")
print(updated_block.value)
print("=======================\n")

# Create a read-only block for policies and attach it to an agent
read_only_block = client.blocks.create(
    label="policies",
    value="Company Policy: Always be helpful and respectful.",
    read_only=True,
)
read_only_agent = client.agents.create(
    name="policy_agent",
    model=MODEL,
    block_ids=[read_only_block.id],
)
print(f"Created read-only agent: {read_only_agent.id}")
