"""Makes, changes, runs and uses a tool of its own through the official Python client of the 0.1 line."""

import json
import os
from typing import Any

from letta_client import Letta

client = Letta(token="unused", base_url=os.environ["FOLKMOOT_BASE_URL"])
NAME = os.environ["TOOL_NAME"]
told: dict[str, Any] = {}


def source(word: str) -> str:
    return f'def {NAME}(who: str) -> str:\n    """Greet somebody."""\n    print("asked")\n    return "{word} " + who\n'


def returned(messages: Any) -> list[str]:
    return [message.tool_return for message in messages if message.message_type == "tool_return_message"]


def from_the_program(who: str) -> str:
    """Greet somebody.

    Args:
        who (str): Whom to greet.
    """
    return f"Hello {who}"


made = client.tools.create(source_code=source("Hello"))
told["made"] = [made.name, made.json_schema["parameters"]["required"]]
changed = client.tools.upsert(source_code=source("Good day"), tags=["greeting"])
told["changed"] = [changed.id == made.id, changed.tags]
told["listed"] = [tool.id == made.id for tool in client.tools.list(name=NAME)]
function = client.tools.upsert_from_function(func=from_the_program)
assert client.tools.create_from_function(func=from_the_program).id == function.id
assert function.json_schema["parameters"]["properties"]["who"]["description"] == "Whom to greet."
agent = client.agents.create(
    model="openai/gpt-4o-mini", embedding="openai/text-embedding-3-small", include_base_tools=False, tool_ids=[made.id]
)
told["run"] = client.tools.run_tool_from_source(source_code=source("Good day"), args={"who": "Ada"}).tool_return
asked: Any = [{"role": "user", "content": f'CALL {NAME} {{"who": "Bo"}}'}]
told["turn"] = returned(client.agents.messages.create(agent_id=agent.id, messages=asked).messages)
stream = client.agents.messages.create_stream(agent_id=agent.id, messages=asked)
told["streamed"] = [event.message_type for event in stream if event.message_type != "ping"]
client.agents.tools.modify_approval(agent_id=agent.id, tool_name=NAME, requires_approval=True)
waiting = client.agents.messages.create(agent_id=agent.id, messages=asked)
told["waiting"] = str(waiting.stop_reason.stop_reason)
approval: Any = {"type": "approval", "approve": True, "approval_request_id": waiting.messages[-1].id}
told["approved"] = returned(client.agents.messages.create(agent_id=agent.id, messages=[approval]).messages)
client.tools.delete(tool_id=made.id)
told["deleted"] = len(client.tools.list(name=NAME))
print(json.dumps(told))
