"""What every method of the official clients is called with, by its dotted name; Python's and TypeScript's alike.

A method's own path parameters are filled in by name from the world; `BODIES` has the rest.
"""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

import httpx

from support.fixtures import MODEL

NOWHERE = {"environments.retrieve": 404, "environments.send_message": 404}
"""What makes no sense on one's own machine, and how it is answered: docs/api-stability.md says why."""

LAST = ("detach", "close", "close_all", "cancel", "reset", "rollback", "delete")
"""Methods that take something away, which are called behind all others."""

SOURCE = 'def {name}() -> str:\n    """Say it."""\n    return "said"\n'


def build_world(http: httpx.Client, tool_server: str) -> dict[str, str]:
    """Make one of everything that a method can name; return its identifiers by the parameters' names."""

    def ask(method: str, path: str, body: Any = None, **options: Any) -> Any:
        answer = http.request(method, path, json=body, **options)
        assert answer.is_success, (method, path, answer.text)
        return answer.json() if answer.content else None

    word = f"w{uuid4().hex[:10]}"
    block = ask("POST", "/v1/blocks", {"label": word, "value": "a"})["id"]
    tool = ask("POST", "/v1/tools", {"source_code": SOURCE.format(name=word)})["id"]
    fields = {"name": word, "model": MODEL, "block_ids": [block], "tool_ids": [tool]}
    agent = ask("POST", "/v1/agents", fields)["id"]
    archive = ask("POST", "/v1/archives", {"name": word})["id"]
    ask("PATCH", f"/v1/agents/{agent}/archives/attach/{archive}")
    passages = [ask("POST", f"/v1/archives/{archive}/passages", {"text": "a text"})["id"] for _ in range(2)]
    folder = ask("POST", "/v1/folders", {"name": word})["id"]
    file = ask("POST", f"/v1/folders/{folder}/upload", files={"file": ("a.txt", b"words")})["id"]
    while ask("GET", f"/v1/jobs?source_id={folder}&active=true"):
        time.sleep(0.02)
    ask("PATCH", f"/v1/agents/{agent}/folders/attach/{folder}")
    run = ask("POST", f"/v1/agents/{agent}/messages/async", {"input": "ECHO hello"})["id"]
    with http.stream("GET", f"/v1/runs/{run}/stream") as stream:
        stream.read()
    conversation = ask("POST", f"/v1/conversations?agent_id={agent}", {})["id"]
    said = {"input": f"ECHO {'words ' * 50}", "streaming": False}
    for _ in range(4):
        ask("POST", f"/v1/conversations/{conversation}/messages", said)
        ask("POST", f"/v1/agents/{agent}/messages", {"input": said["input"]})
    followed = http.get("/v1/runs", params={"conversation_id": conversation, "limit": 1}).json()[0]["id"]
    identity = {"identifier_key": word, "name": word, "identity_type": "user", "agent_ids": [agent]}
    server = ask("POST", "/v1/mcp-servers", {"server_name": word, "config": {"server_url": tool_server}})["id"]
    remote = ask("GET", f"/v1/mcp-servers/{server}/tools")
    schedule = {"messages": [{"role": "user", "content": "x"}], "schedule": {"scheduled_at": 4e12}}
    policy = [{"type": "agent", "id": agent, "access": ["read_agent"]}]
    ask("POST", "/v1/client-side-access-tokens", {"hostname": "https://app.example.org", "policy": policy})
    exported = http.get(f"/v1/agents/{agent}/export").json()
    return {
        "word": word,
        "agent_id": agent,
        "block_id": block,
        "block_label": word,
        "archive_id": archive,
        "passage_id": passages[0],
        "memory_id": passages[1],
        "folder_id": folder,
        "file_id": file,
        "run_id": run,
        "run_of_conversation": followed,
        "path_run_id": run,
        "step_id": ask("GET", f"/v1/runs/{run}/steps")[0]["id"],
        "message_id": ask("GET", f"/v1/agents/{agent}/messages")[-1]["id"],
        "conversation_id": conversation,
        "identity_id": ask("POST", "/v1/identities", identity)["id"],
        "tool_id": tool,
        "tool_name": word,
        "mcp_server_id": server,
        "mcp_tool_id": next(each["id"] for each in remote if each["name"].endswith("shout")),
        "scheduled_message_id": ask("POST", f"/v1/agents/{agent}/schedule", schedule)["id"],
        "token": ask("GET", "/v1/client-side-access-tokens")["tokens"][0]["token"],
        "device_id": "laptop",
        "connection_id": "connection",
        "template_name": word,
        "template_version": f"{word}:latest",
        "agent_file": json.dumps(exported if isinstance(exported, dict) else json.loads(exported)),
        "tool_server": tool_server,
    }


def bodies(world: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return what methods are given besides what their paths name."""
    word, said = world["word"], {"input": "ECHO hello"}
    message = [{"role": "user", "content": "x"}]
    policy = [{"type": "agent", "id": world["agent_id"], "access": ["read_agent"]}]
    config = {"mcp_server_type": "streamable_http", "server_url": world["tool_server"]}
    source = SOURCE.format(name=f"{word}_two")
    return {
        "access_tokens.create": {"hostname": "https://app.example.org", "policy": policy},
        "agents.create": {"name": f"{word} two", "model": MODEL, "memory_blocks": [{"label": "human", "value": "a"}]},
        "agents.update": {"description": "other"},
        "agents.blocks.update": {"value": "b"},
        "agents.messages.create": said,
        "agents.messages.create_async": said,
        "agents.messages.stream": said,
        "agents.passages.create": {"text": "a text"},
        "agents.passages.search": {"query": "text"},
        "agents.schedule.create": {"messages": message, "schedule": {"scheduled_at": 4e12}},
        "agents.tools.run": {"args": {}},
        "agents.tools.update_approval": {"body_requires_approval": False},
        "archives.create": {"name": f"{word} two"},
        "archives.update": {"description": "other"},
        "archives.passages.create": {"text": "a text"},
        "archives.passages.create_many": {"passages": [{"text": "a text"}]},
        "blocks.create": {"label": "human", "value": "a"},
        "blocks.update": {"value": "c"},
        "conversations.create": {"agent_id": world["agent_id"]},
        "conversations.update": {"summary": "other"},
        "conversations.messages.create": said,
        "conversations.messages.stream": {"run_id": world["run_of_conversation"]},
        "environments.send_message": {"messages": message},
        "folders.create": {"name": f"{word} two"},
        "folders.update": {"description": "other"},
        "mcp_servers.create": {"config": config, "server_name": f"{word}_two"},
        "mcp_servers.update": {"config": config, "server_name": f"{word}_three"},
        "mcp_servers.tools.run": {"args": {"word": "hi"}},
        "messages.search": {"query": "hello"},
        "passages.search": {"query": "text"},
        "steps.feedback.create": {"feedback": "positive"},
        "templates.create": {"type": "agent", "agent_id": world["agent_id"], "name": word},
        "templates.update": {"agent_file_json": json.loads(world["agent_file"])},
        "templates.rollback": {"version": "1"},
        "tools.create": {"source_code": source},
        "tools.update": {"description": "other"},
        "tools.upsert": {"source_code": source},
        "tools.search": {"query": "said"},
    }


def in_order(names: list[str]) -> list[str]:
    """Return methods in the order in which they can be called: what takes away last, and what others stand in last."""

    def place(name: str) -> tuple[int, bool, bool, str]:
        last = name.rpartition(".")[2]
        if last not in LAST:
            return (0, name != "templates.create", False, name)
        # Parts are deleted while what has them is there, then attachments end, then roots go, the agent last of all.
        stage = {"detach": 3, "delete": 2 if name.count(".") > 1 else 4}.get(last, 1)
        return (stage, False, name == "agents.delete", name)

    return sorted(names, key=place)
