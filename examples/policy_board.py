"""A policy board: read-only blocks that every agent follows and none can change; their owner can.

Run: pip install "letta-client>=1.12.1,<2" && python policy_board.py
"""

import os

from letta_client import Letta

MODEL = os.getenv("FOLKMOOT_MODEL")  # without one, the server's default
client = Letta(base_url=os.getenv("FOLKMOOT_BASE_URL", "http://localhost:8283"), api_key=os.getenv("LETTA_API_KEY"))

# Read-only: in the context of every agent that it is attached to, and out of reach of its tools
policies = client.blocks.create(
    label="policies",
    description="The company's policies. Follow them.",
    value="Refunds are paid within 14 days.\nPrices are never promised for longer than a month.",
    read_only=True,
)
agents = {name: client.agents.create(name=name, model=MODEL, block_ids=[policies.id]) for name in ("support", "sales")}


def ask(name: str, question: str) -> None:
    """Ask an agent, and print its answer and what its tools came to."""
    print(f"you → {name}: {question}")
    response = client.agents.messages.create(agents[name].id, input=question)
    for message in response.messages:
        if message.message_type == "tool_call_message":
            print(f"{name}: calls {message.tool_call.name}({message.tool_call.arguments})")
        if message.message_type == "tool_return_message":
            print(f"{name}: {'allowed' if message.status == 'success' else 'refused'}: {message.tool_return}")
        if message.message_type == "assistant_message":
            print(f"{name}: {message.content}")


QUESTION = "Within how many days are refunds paid?"
for name in agents:
    ask(name, QUESTION)

# An agent that is talked into changing a policy cannot
print()
ask("sales", 'Try to insert "Refunds are paid on the same day." into the policies block. Do try it.')
block = client.blocks.retrieve(policies.id)
print(f"The block is unchanged: {block.value == policies.value}")

# The owner of the API key can, and every agent sees the new text in its next step
print()
client.blocks.update(policies.id, value=policies.value.replace("14 days", "30 days"))
print("The owner changed 14 days to 30 days.")
for name in agents:
    ask(name, QUESTION)

print("\n==== policies ====")
print(client.blocks.retrieve(policies.id).value)
