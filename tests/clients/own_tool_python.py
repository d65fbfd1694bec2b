"""Makes, changes, runs and uses a tool of its own through the official Python clients 1.0 and later."""

import json
import os
from typing import Any

from letta_client import Letta

client = Letta(api_key="unused", base_url=os.environ["FOLKMOOT_BASE_URL"])
NAME = os.environ["TOOL_NAME"]
told: dict[str, Any] = {}


def source(word: str) -> str:
    return f'def {NAME}(who: str) -> str:\n    """Greet somebody."""\n    print("asked")\n    return "{word} " + who\n'


def returned(messages: Any) -> list[str]:
    return [message.tool_return for message in messages if message.message_type == "tool_return_message"]


made = client.tools.create(source_code=source("Hello"))
told["made"] = [made.name, (made.json_schema or {})["parameters"]["required"]]
changed = client.tools.upsert(source_code=source("Good day"), tags=["greeting"])
told["changed"] = [changed.id == made.id, changed.tags]
told["listed"] = [tool.id == made.id for tool in client.tools.list(name=NAME)]
agent = client.agents.create(model="openai/gpt-4o-mini", include_base_tools=False, tool_ids=[made.id])
if hasattr(client.agents.tools, "run"):
    told["run"] = client.agents.tools.run(NAME, agent_id=agent.id, args={"who": "Ada"}).func_return
else:  # client 1.0 has no name for it yet
    path = f"/v1/agents/{agent.id}/tools/{NAME}/run"
    ran: Any = client.post(path, body={"args": {"who": "Ada"}}, cast_to=object)
    told["run"] = ran["func_return"]
asked: Any = {"messages": [{"role": "user", "content": f'CALL {NAME} {{"who": "Bo"}}'}]}
told["turn"] = returned(client.agents.messages.create(agent.id, **asked).messages)
stream = client.agents.messages.create(agent.id, **asked, streaming=True)
told["streamed"] = [event.message_type for event in stream if event.message_type != "ping"]
client.agents.tools.update_approval(NAME, agent_id=agent.id, body_requires_approval=True)
waiting = client.agents.messages.create(agent.id, **asked)
told["waiting"] = str(waiting.stop_reason.stop_reason)
call: Any = waiting.messages[-1]
approval: Any = {
    "type": "approval",
    "approvals": [{"type": "approval", "approve": True, "tool_call_id": call.tool_call.tool_call_id}],
}
told["approved"] = returned(client.agents.messages.create(agent.id, messages=[approval]).messages)
client.tools.delete(made.id)
told["deleted"] = len(client.tools.list(name=NAME).items)
print(json.dumps(told))
