"""The API calls behind what a page does, as one would make them with curl and in Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from folkmoot.models.frames import printable_json


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API: what it does, how it is made with curl, and how in Python."""

    title: str
    method: str
    path: str
    python: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    streams: bool = False

    def curl(self, base_url: str, with_key: bool) -> str:
        """Return the command."""
        parts = ["curl -N" if self.streams else "curl"]
        if self.method != "GET":
            parts.append(f"-X {self.method}")
        parts.append(shlex.quote(f"{base_url}{self.path}"))
        lines = [" ".join(parts)]
        if with_key:
            lines.append('-H "Authorization: Bearer $FOLKMOOT_API_KEY"')
        lines += ["-H " + shlex.quote(f"{name}: {value}") for name, value in self.headers.items()]
        if self.body is not None:
            lines.append("-H 'Content-Type: application/json'")
            lines.append("-d " + shlex.quote(printable_json(self.body)))
        return " \\\n  ".join(lines)


def connect(base_url: str, with_key: bool) -> str:
    """Return the lines of Python that every call begins with."""
    key = 'os.environ["FOLKMOOT_API_KEY"]' if with_key else '"not-needed"'
    first = "import os\n" if with_key else ""
    client = f"client = Letta(base_url={literal(base_url)}, api_key={key})"
    return f"{first}from letta_client import Letta, Stream\n\n{client}"


def literal(text: str) -> str:
    r"""Return a text as Python writes it, in double quotes: `literal('say "no"')` gives `"say \"no\""`."""
    return '"' + "".join(_WRITTEN.get(character) or repr(character)[1:-1] for character in text) + '"'


def moot_calls() -> list[Call]:
    """Return the calls behind the map."""
    return [
        Call("List agents with their blocks", "GET", "/v1/agents?include=agent.blocks",
             'for agent in client.agents.list(include=["agent.blocks"]):\n    print(agent.name, agent.blocks)'),
        Call("List blocks", "GET", "/v1/blocks", "for block in client.blocks.list():\n    print(block.label)"),
        Call("List runs under way", "GET", "/v1/runs?active=true", "client.runs.list(active=True)"),
    ]  # fmt: skip


def block_calls(block_id: str, version: int) -> list[Call]:
    """Return the calls behind a block's page."""
    path = f"/v1/blocks/{block_id}"
    back = max(1, version - 1)
    agent = "agent-…"
    held = f"/v1/agents/{agent}/core-memory/blocks"
    return [
        Call("Read it", "GET", path, f'block = client.blocks.retrieve({literal(block_id)})'),
        Call("Watch it", "GET", f"{path}/watch", _raw("get", f"{path}/watch", _STREAM), streams=True),
        Call("Edit it, only if nobody has since", "PATCH", path,
             f'client.blocks.update({literal(block_id)}, value="…", extra_headers={{"If-Match": \'"{version}"\'}})',
             {"value": "…"}, {"If-Match": f'"{version}"'}),
        Call("Who wrote each line", "GET", f"{path}/blame", _raw("get", f"{path}/blame")),
        Call("All its versions", "GET", f"{path}/history", _raw("get", f"{path}/history")),
        Call("One version with its text", "GET", f"{path}/history/{version}", _raw("get", f"{path}/history/{version}")),
        Call("Revert to an earlier version", "POST", f"{path}/revert",
             _raw("post", f"{path}/revert", f'body={{"version": {back}}}'), {"version": back}),
        Call("Which runs were shown it", "GET", f"{path}/readers?version={version}",
             _raw("get", f"{path}/readers?version={version}")),
        Call("Attach it to an agent", "PATCH", f"{held}/attach/{block_id}",
             f'client.agents.blocks.attach({literal(block_id)}, agent_id="{agent}", extra_body={{"access": "append"}})',
             {"access": "append"}),
        Call("Detach it", "PATCH", f"{held}/detach/{block_id}",
             f'client.agents.blocks.detach({literal(block_id)}, agent_id="{agent}")'),
        Call("Delete it", "DELETE", path, f'client.blocks.delete({literal(block_id)})'),
    ]  # fmt: skip


def compare_calls(block_id: str, first: int, last: int) -> list[Call]:
    """Return the calls behind two versions side by side."""
    path = f"/v1/blocks/{block_id}/history"
    return [
        Call(f"Version {number} with its text", "GET", f"{path}/{number}", _raw("get", f"{path}/{number}"))
        for number in (first, last)
    ]


def agent_calls(agent_id: str, model: str) -> list[Call]:
    """Return the calls behind an agent's page."""
    path = f"/v1/agents/{agent_id}"
    message = {"messages": [{"role": "user", "content": "Hello"}], "stream_tokens": True}
    approval = {"type": "approval", "approvals": [{"type": "approval", "tool_call_id": "call_…", "approve": True}]}
    return [
        Call("Send a message and stream the answer", "POST", f"{path}/messages/stream",
             f'for event in client.agents.messages.stream({literal(agent_id)}, input="Hello", stream_tokens=True):\n'
             "    print(event)", message, streams=True),
        Call("Approve a tool call", "POST", f"{path}/messages",
             f'client.agents.messages.create({literal(agent_id)}, messages=[{approval}])', {"messages": [approval]}),
        Call("Begin a conversation beside", "POST", f"/v1/conversations?agent_id={agent_id}",
             f'client.conversations.create(agent_id={literal(agent_id)}, summary="Birds")', {"summary": "Birds"}),
        Call("Say something in it", "POST", "/v1/conversations/conv-…/messages",
             'for event in client.conversations.messages.create("conv-…", input="Hello", stream_tokens=True):\n'
             "    print(event)", {"input": "Hello", "stream_tokens": True}, streams=True),
        Call("Fork it", "POST", "/v1/conversations/conv-…/fork", 'client.conversations.fork("conv-…")'),
        Call("List its conversations", "GET", f"/v1/conversations?agent_id={agent_id}",
             f'client.conversations.list(agent_id={literal(agent_id)})'),
        Call("Stop what it is doing", "POST", f"{path}/messages/cancel",
             f'client.agents.messages.cancel({literal(agent_id)})'),
        Call("List its messages", "GET", f"{path}/messages", f'client.agents.messages.list({literal(agent_id)})'),
        Call("Watch its memory", "GET", f"{path}/core-memory/watch",
             _raw("get", f"{path}/core-memory/watch", _STREAM), streams=True),
        Call("Change its settings", "PATCH", path, f'client.agents.update({literal(agent_id)}, model={literal(model)})',
             {"model": model}),
        Call("Give it a tool", "PATCH", f"{path}/tools/attach/tool-…",
             f'client.agents.tools.attach("tool-…", agent_id={literal(agent_id)})'),
        Call("List its runs", "GET", f"/v1/runs?agent_id={agent_id}",
             f'client.runs.list(agent_id={literal(agent_id)})'),
        Call("Delete it", "DELETE", path, f'client.agents.delete({literal(agent_id)})'),
    ]  # fmt: skip


def members_calls() -> list[Call]:
    """Return the calls behind the members' page."""
    body = {"name": "claude-code", "blocks": [{"block": "organization", "access": "append"}]}
    return [
        Call("List keys", "GET", "/v1/keys", _raw("get", "/v1/keys")),
        Call("Make a member", "POST", "/v1/keys", _raw("post", "/v1/keys", f"body={body}"), body),
        Call("Change what a member reaches", "PATCH", "/v1/keys/key-…",
             _raw("patch", "/v1/keys/key-…", 'body={"blocks": []}'), {"blocks": []}),
        Call("Revoke a key", "DELETE", "/v1/keys/key-…", _raw("delete", "/v1/keys/key-…")),
    ]  # fmt: skip


def archives_calls() -> list[Call]:
    """Return the call behind the list of archives."""
    python = "for archive in client.archives.list():\n    print(archive.name)"
    return [Call("List archives", "GET", "/v1/archives", python)]


def new_archive_calls() -> list[Call]:
    """Return the call behind the form for an archive."""
    body = {"name": "field notes", "description": "What the team has seen"}
    python = 'client.archives.create(name="field notes", description="What the team has seen")'
    return [Call("Create an archive", "POST", "/v1/archives", python, body)]


def archive_calls(archive_id: str) -> list[Call]:
    """Return the calls behind an archive's page."""
    path, agent, passage = f"/v1/archives/{archive_id}", "agent-…", "passage-…"
    id_ = literal(archive_id)
    return [
        Call("Add a passage", "POST", f"{path}/passages",
             f'client.archives.passages.create({id_}, text="…", tags=["…"])', {"text": "…", "tags": ["…"]}),
        Call("Search it", "POST", "/v1/passages/search",
             f'client.passages.search(query="…", archive_id={id_}, extra_body={{"search_mode": "hybrid"}})',
             {"query": "…", "archive_id": archive_id, "search_mode": "hybrid"}),
        Call("List its passages", "GET", f"{path}/passages", _raw("get", f"{path}/passages")),
        Call("What was deleted, by whom", "GET", f"{path}/deletions", _raw("get", f"{path}/deletions")),
        Call("Attach it to an agent", "PATCH", f"/v1/agents/{agent}/archives/attach/{archive_id}",
             f'client.agents.archives.attach({id_}, agent_id="{agent}", extra_body={{"access": "append"}})',
             {"access": "append"}),
        Call("Detach it", "PATCH", f"/v1/agents/{agent}/archives/detach/{archive_id}",
             f'client.agents.archives.detach({id_}, agent_id="{agent}")'),
        Call("Delete a passage", "DELETE", f"{path}/passages/{passage}",
             f'client.archives.passages.delete("{passage}", archive_id={id_})'),
        Call("Delete it", "DELETE", path, f'client.archives.delete({id_})'),
    ]  # fmt: skip


def folders_calls() -> list[Call]:
    """Return the call behind the list of folders."""
    return [Call("List folders", "GET", "/v1/folders", "for folder in client.folders.list():\n    print(folder.name)")]


def new_folder_calls() -> list[Call]:
    """Return the call behind the form for a folder."""
    body = {"name": "handbook", "description": "How the house is run"}
    python = 'client.folders.create(name="handbook", description="How the house is run")'
    return [Call("Create a folder", "POST", "/v1/folders", python, body)]


def folder_calls(folder_id: str) -> list[Call]:
    """Return the calls behind a folder's page."""
    path, agent, file = f"/v1/folders/{folder_id}", "agent-…", "file-…"
    jobs = f"/v1/jobs?source_id={folder_id}"
    id_ = literal(folder_id)
    return [
        Call("Upload a file", "POST", f"{path}/upload",
             f'client.folders.files.upload({id_}, file=open("rules.md", "rb"))'),
        Call("How far each is read", "GET", f"{path}/files", f"client.folders.files.list({id_})"),
        Call("The jobs that read them", "GET", jobs, _raw("get", jobs)),
        Call("Attach it to an agent", "PATCH", f"/v1/agents/{agent}/folders/attach/{folder_id}",
             f'client.agents.folders.attach({id_}, agent_id="{agent}")'),
        Call("Detach it", "PATCH", f"/v1/agents/{agent}/folders/detach/{folder_id}",
             f'client.agents.folders.detach({id_}, agent_id="{agent}")'),
        Call("What an agent has open", "GET", f"/v1/agents/{agent}/files",
             f'client.agents.files.list(agent_id="{agent}")'),
        Call("Delete a file", "DELETE", f"{path}/{file}", f'client.folders.files.delete("{file}", folder_id={id_})'),
        Call("Delete it", "DELETE", path, f"client.folders.delete({id_})"),
    ]  # fmt: skip


def file_calls(folder_id: str, file_id: str) -> list[Call]:
    """Return the calls behind a file's page."""
    path = f"/v1/folders/{folder_id}/files/{file_id}"
    python = f"client.folders.files.retrieve({literal(file_id)}, folder_id={literal(folder_id)}, include_content=True)"
    return [Call("Its whole text", "GET", f"{path}?include_content=true", python)]


def tool_server_calls() -> list[Call]:
    """Return the calls behind the servers of tools."""
    path, server = "/v1/mcp-servers", "mcp_server-…"
    config = {"mcp_server_type": "streamable_http", "server_url": "https://…/mcp", "auth_token": "{{ TOKEN }}"}
    return [
        Call("List them", "GET", path, "for server in client.mcp_servers.list():\n    print(server.server_name)"),
        Call("Add one", "POST", path, f'client.mcp_servers.create(server_name="search", config={config})',
             {"server_name": "search", "config": config}),
        Call("Its tools", "GET", f"{path}/{server}/tools", f'client.mcp_servers.tools.list("{server}")'),
        Call("Look at its tools anew", "PATCH", f"{path}/{server}/refresh", f'client.mcp_servers.refresh("{server}")'),
        Call("Sign in to it", "GET", f"{path}/connect/{server}",
             _raw("get", f"{path}/connect/{server}", _STREAM), streams=True),
        Call("Remove it", "DELETE", f"{path}/{server}", f'client.mcp_servers.delete("{server}")'),
    ]  # fmt: skip


def inbox_calls() -> list[Call]:
    """Return the calls behind the inbox."""
    agent = "agent-…"
    path = f"/v1/agents/{agent}"
    denial = {"type": "approval", "tool_call_id": "call_…", "approve": False, "reason": "not in this block"}
    decision = {"type": "approval", "approvals": [denial]}
    like = {"tool_name": "memory_insert", "arguments": {"label": "organization"}}
    return [
        Call("List the runs that wait", "GET", "/v1/runs?stop_reason=requires_approval",
             'client.runs.list(stop_reason="requires_approval")'),
        Call("What an agent waits for", "GET", f"{path}?include=agent.pending_approval",
             f'client.agents.retrieve("{agent}", include=["agent.pending_approval"])'),
        Call("Deny a call with a reason", "POST", f"{path}/messages",
             f'client.agents.messages.create("{agent}", messages=[{decision}])', {"messages": [decision]}),
        Call("Approve the like from now on", "POST", f"{path}/standing-approvals",
             _raw("post", f"{path}/standing-approvals", f"body={like}"), like),
        Call("What was approved beforehand", "GET", f"{path}/standing-approvals",
             _raw("get", f"{path}/standing-approvals")),
        Call("Revoke it", "DELETE", f"{path}/standing-approvals/approval-…",
             _raw("delete", f"{path}/standing-approvals/approval-…")),
    ]  # fmt: skip


def search_calls(query: str) -> list[Call]:
    """Return the calls behind a search over everything."""
    said, kept = {"query": query}, {"query": query, "search_mode": "text"}
    words = literal(query)
    return [
        Call("Messages", "POST", "/v1/messages/search", f"client.messages.search(query={words})", said),
        Call("Blocks by their text", "GET", f"/v1/blocks?value_search={quote(query)}",
             f"client.blocks.list(value_search={words})"),
        Call("Passages", "POST", "/v1/passages/search",
             f'client.passages.search(query={words}, extra_body={{"search_mode": "text"}})', kept),
        Call("Agents by name", "GET", f"/v1/agents?query_text={quote(query)}",
             f"client.agents.list(query_text={words})"),
        Call("Runs that failed", "GET", "/v1/runs?statuses=failed", 'client.runs.list(statuses=["failed"])'),
    ]  # fmt: skip


def activity_calls() -> list[Call]:
    """Return the calls behind the activity."""
    path = "/v1/blocks/block-…/history"
    return [
        Call("Runs, the newest first", "GET", "/v1/runs", "client.runs.list()"),
        Call("A block's edits", "GET", path, _raw("get", path)),
        Call("Edits of a block as they happen", "GET", "/v1/blocks/block-…/watch",
             _raw("get", "/v1/blocks/block-…/watch", _STREAM), streams=True),
        Call("What waits for somebody", "GET", "/v1/runs?stop_reason=requires_approval",
             'client.runs.list(stop_reason="requires_approval")'),
        Call("Members", "GET", "/v1/keys", _raw("get", "/v1/keys")),
    ]  # fmt: skip


def runs_calls() -> list[Call]:
    """Return the calls behind the list of runs."""
    return [
        Call("List runs", "GET", "/v1/runs", "client.runs.list()"),
        Call("List those under way", "GET", "/v1/runs?active=true", "client.runs.list(active=True)"),
        Call("List those that failed", "GET", "/v1/runs?statuses=failed", 'client.runs.list(statuses=["failed"])'),
    ]


def run_calls(run_id: str, agent_id: str) -> list[Call]:
    """Return the calls behind a run's page."""
    path = f"/v1/runs/{run_id}"
    return [
        Call("Read it", "GET", path, f'client.runs.retrieve({literal(run_id)})'),
        Call("Follow it live", "GET", f"{path}/stream", _raw("get", f"{path}/stream", _STREAM), streams=True),
        Call("Its steps", "GET", f"{path}/steps", f'client.runs.steps.list({literal(run_id)})'),
        Call("Its messages", "GET", f"{path}/messages", f'client.runs.messages.list({literal(run_id)})'),
        Call("Take back what it wrote", "POST", f"{path}/revert", _raw("post", f"{path}/revert")),
        Call("Cancel it", "POST", f"/v1/agents/{agent_id}/messages/cancel",
             f'client.agents.messages.cancel({literal(agent_id)}, run_ids=[{literal(run_id)}])',
             {"run_ids": [run_id]}),
    ]  # fmt: skip


def new_block_calls() -> list[Call]:
    """Return the call behind the form for a block."""
    body = {"label": "organization", "value": "Organization: Letta", "limit": 4000}
    python = 'client.blocks.create(label="organization", value="Organization: Letta", limit=4000)'
    return [Call("Create a block", "POST", "/v1/blocks", python, body)]


def step_calls(step_id: str) -> list[Call]:
    """Return the calls behind a step's page."""
    path = f"/v1/steps/{step_id}"
    id_ = literal(step_id)
    return [
        Call("Read it", "GET", path, f"client.steps.retrieve({id_})"),
        Call("What the model was sent and what it answered", "GET", f"{path}/trace",
             f"client.steps.trace.retrieve({id_})"),
        Call("Its messages", "GET", f"{path}/messages", f"client.steps.messages.list({id_})"),
        Call("How long its parts took", "GET", f"{path}/metrics", f"client.steps.metrics.retrieve({id_})"),
    ]  # fmt: skip


def new_agent_calls(model: str) -> list[Call]:
    """Return the call behind the form for an agent."""
    body = {"name": "agent1", "model": model, "tools": ["web_search"], "block_ids": ["block-…"]}
    python = f'client.agents.create(name="agent1", model={literal(model)}, tools=["web_search"], block_ids=["block-…"])'
    return [Call("Create an agent", "POST", "/v1/agents", python, body)]


def import_calls() -> list[Call]:
    """Return the calls behind the form that takes an agent's file."""
    return [
        Call("Import a file", "POST", "/v1/agents/import",
             'client.agents.import_file(file=open("agent.af", "rb"))'),
        Call("Export one", "GET", "/v1/agents/agent-…/export", 'client.agents.export_file("agent-…")'),
    ]  # fmt: skip


def tools_calls() -> list[Call]:
    """Return the calls behind the list of tools."""
    return [
        Call("List tools", "GET", "/v1/tools", "for tool in client.tools.list():\n    print(tool.name)"),
        Call("List your own", "GET", "/v1/tools?tool_types=custom", 'client.tools.list(tool_types=["custom"])'),
        Call("Find tools by words", "POST", "/v1/tools/search",
             'client.tools.search(query="price")', {"query": "price"}),
    ]  # fmt: skip


def tool_calls(tool_id: str, name: str) -> list[Call]:
    """Return the calls behind a tool's page."""
    path, agent = f"/v1/tools/{tool_id}", "agent-…"
    return [
        Call("Read it", "GET", path, f"client.tools.retrieve({literal(tool_id)})"),
        Call("Run it as an agent that has it", "POST", f"/v1/agents/{agent}/tools/{name}/run",
             f'client.agents.tools.run({literal(name)}, agent_id="{agent}", args={{}})', {"args": {}}),
        Call("Give it to an agent", "PATCH", f"/v1/agents/{agent}/tools/attach/{tool_id}",
             f'client.agents.tools.attach({literal(tool_id)}, agent_id="{agent}")'),
        Call("Change it", "PATCH", path, f'client.tools.update({literal(tool_id)}, source_code="…")',
             {"source_code": "…"}),
        Call("Delete it", "DELETE", path, f"client.tools.delete({literal(tool_id)})"),
    ]  # fmt: skip


def new_tool_calls() -> list[Call]:
    """Return the calls behind the form for a tool."""
    source = 'def wave(how: str) -> str:\n    """Wave."""\n    return f"waves {how}"\n'
    return [
        Call("Make a tool", "POST", "/v1/tools", f"client.tools.create(source_code={literal(source)})",
             {"source_code": source}),
        Call("Run a source once", "POST", "/v1/tools/run",
             _raw("post", "/v1/tools/run", f'body={{"source_code": {literal(source)}, "args": {{"how": "back"}}}}'),
             {"source_code": source, "args": {"how": "back"}}),
    ]  # fmt: skip


_WRITTEN = {'"': '\\"', "'": "'"}
_STREAM = "stream=True, stream_cls=Stream[object]"


def _raw(method: str, path: str, more: str = "") -> str:
    return f"client.{method}({literal(path)}, cast_to=object{', ' + more if more else ''})"
