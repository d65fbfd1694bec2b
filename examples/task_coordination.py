"""Task coordination: agents claim tasks and report in one block, all at once; no claim is lost, none is made twice.

Run: pip install "letta-client>=1.12.1,<2" && python task_coordination.py
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor

from letta_client import Letta

MODEL = os.getenv("FOLKMOOT_MODEL")  # without one, the server's default
client = Letta(base_url=os.getenv("FOLKMOOT_BASE_URL", "http://localhost:8283"), api_key=os.getenv("LETTA_API_KEY"))

TASKS = ("sweep the hall", "light the fire", "call the folk", "count the votes", "write it down", "close the gate")
WORKERS = ("ada", "ben", "cleo")

# "[ ]" is an open task, "[ada]" one that ada has claimed
block = client.blocks.create(
    label="tasks",
    description='The team\'s tasks. "[ ]" is open, "[name]" is claimed.',
    value="\n".join(f"[ ] {task}" for task in TASKS),
)
agents = {name: client.agents.create(name=name, model=MODEL, block_ids=[block.id]) for name in WORKERS}


def ask(name: str, request: str) -> int:
    """Ask an agent to do something; return how many of its edits were refused because somebody was faster."""
    response = client.agents.messages.create(agents[name].id, input=request)
    returns = [message for message in response.messages if message.message_type == "tool_return_message"]
    return sum(message.status == "error" for message in returns)


def work(name: str) -> int:
    """Claim one task after the other, and report each, until none is open."""
    refused = 0
    for _ in TASKS:
        # A replace is checked against the text as it is now: of two who claim the same line, one is refused
        refused += ask(
            name,
            f'Claim one open task of the tasks block: replace "[ ]" in its line by "[{name}]". '
            "If somebody was faster, claim another one.",
        )
        lines = (client.blocks.retrieve(block.id).value or "").splitlines()
        claimed = [line for line in lines if line.startswith(f"[{name}]")]
        if not claimed:
            break
        print(f"{name}: claimed {claimed[0].partition('] ')[2]!r}")
        ask(name, f'You have done your task. Report it in the tasks block: replace "[{name}]" by "[done by {name}]".')
    return refused


with ThreadPoolExecutor() as pool:
    refused = sum(pool.map(work, WORKERS))

text = client.blocks.retrieve(block.id).value or ""
done = [task for task in TASKS if re.search(rf"^\[done by \w+\] {task}$", text, re.MULTILINE)]
print(f"\n{len(done)} of {len(TASKS)} tasks are done; {refused} claims came too late and were made again.")
print(f"\n==== tasks ====\n{text}")
