"""Uses an agent's memory through agentic-learning: by hand, and put into the prompts of an OpenAI client.

Every line of its output is one fact that the test compares.
"""

import json
import os
import sys
import warnings

from agentic_learning import AgenticLearning, learning
from openai import OpenAI

AGENT = sys.argv[1]


def tell(what: str, value: object) -> None:
    print(f"{what}: {json.dumps(value)}")


client = AgenticLearning(base_url=os.environ["FOLKMOOT_BASE_URL"], api_key="unused")
found = client.agents.retrieve(agent=AGENT)
tell("found", [found.name, found.tags, [block.label for block in found.blocks]])
tell("listed", AGENT in [agent.name for agent in client.agents.list()])

client.memory.create(agent=AGENT, label="nuts", value="Likes walnuts.", description="What to eat.")
tell("memory", {block.label: block.value for block in client.memory.list(agent=AGENT)})
tell("one block", client.memory.retrieve(agent=AGENT, label="nuts").value)
client.messages.create(agent=AGENT, messages=[{"role": "user", "content": "ECHO hello there"}])
tell("messages", [message.message_type for message in client.messages.list(agent=AGENT)])

with learning(agent=AGENT, client=client), warnings.catch_warnings(action="ignore"):
    said = OpenAI(api_key="unused", base_url=os.environ["MODEL_URL"]).chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "ECHO with memory"}]
    )
tell("said", said.choices[0].message.content)
tell("captured", [message.content for message in client.messages.list(agent=AGENT)][:2])

client.memory.delete(agent=AGENT, label="nuts")
tell("left", [block.label for block in client.memory.list(agent=AGENT)])
tell("deleted", client.agents.delete(agent=AGENT))
tell("gone", client.agents.retrieve(agent=AGENT))
