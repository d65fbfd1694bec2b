"""Organisations as tests see them: a client, and an identifier of everything that they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from support.fixtures import MODEL
from support.polling import until

KEY = "the-first-admins-key"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@dataclass
class Organization:
    """An organisation with an admin's client of its own."""

    id: str
    name: str
    key: str
    key_id: str
    http: httpx.Client
    word: str = field(default_factory=lambda: f"zz{uuid4().hex[:12]}")
    """Stands in everything that it says, and nowhere else."""

    ids: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the answer to a request that has to succeed."""
        response = self.http.request(method, path, **options)
        assert response.is_success, (method, path, response.text)
        return response.json()

    def fill(self) -> None:
        """Make something of everything."""
        block = self.ask("POST", "/v1/blocks", json={"label": self.word, "value": f"{self.word} keeps"})
        source = f'def {self.word}() -> str:\n    """{self.word} says it."""\n    return "{self.word} keeps it"\n'
        tool = self.ask("POST", "/v1/tools", json={"source_code": source})
        settings = self.ask("POST", "/v1/sandbox-config/local/default")["id"]
        variable = {"key": self.word, "value": f"{self.word} keeps"}
        agent = self.ask(
            "POST",
            "/v1/agents",
            json={
                "name": self.word,
                "model": MODEL,
                "block_ids": [block["id"]],
                "tags": [self.word],
                "tool_ids": [tool["id"]],
            },
        )
        said = {"messages": [{"role": "user", "content": f"{self.word} says"}]}
        run = self.ask("POST", f"/v1/agents/{agent['id']}/messages/async", json=said)
        with self.http.stream("GET", f"/v1/runs/{run['id']}/stream") as stream:
            stream.read()
        conversation = self.ask("POST", "/v1/conversations", params={"agent_id": agent["id"]}, json={})
        items = {"items": [{"role": "user", "content": f"{self.word} keeps this"}]}
        items = self.ask("POST", f"/openai/v1/conversations/{conversation['id']}/items", json=items)
        folder = self.ask("POST", "/v1/folders", json={"name": f"{self.word} folder"})
        text = f"{self.word} stands in a file".encode()
        file = self.ask("POST", f"/v1/folders/{folder['id']}/upload", files={"file": (f"{self.word}.txt", text)})
        until(lambda: not self.ask("GET", "/v1/jobs", params={"source_id": folder["id"], "active": True}))
        self.ask("PATCH", f"/v1/agents/{agent['id']}/folders/attach/{folder['id']}")
        passage = self._fill_archive(agent["id"])
        policy = [{"type": "agent", "id": agent["id"], "access": ["read_agent"]}]
        token = {"hostname": "https://app.example.org", "policy": policy}
        self.ask("POST", "/v1/client-side-access-tokens", json=token)
        tokens = self.ask("GET", "/v1/client-side-access-tokens")["tokens"]
        server = {"server_name": self.word, "config": {"server_url": "https://mcp.invalid/mcp"}}
        server = self.ask("POST", "/v1/mcp-servers", json=server)
        provider = {"name": self.word, "provider_type": "openai", "api_key": "k", "base_url": "https://models.invalid"}
        later = {**said, "schedule": {"type": "recurring", "cron_expression": "0 9 * * *"}}
        group = {"agent_ids": [agent["id"]], "description": self.word, "shared_block_ids": [block["id"]]}
        group = self.ask("POST", "/v1/groups", json=group)
        self.ask("POST", f"/v1/groups/{group['id']}/messages", json={"input": f"{self.word} says to all"})
        identity = {"identifier_key": self.word, "name": self.word, "identity_type": "user", "agent_ids": [agent["id"]]}
        like = {"tool_name": self.word, "arguments": {self.word: self.word}}
        response = self.ask("POST", "/v1/responses", json={"model": agent["id"], "input": f"{self.word} says"})
        batch = self.ask("POST", "/v1/messages/batches", json={"requests": [{"agent_id": agent["id"], **said}]})
        until(lambda: self.ask("GET", f"/v1/messages/batches/{batch['id']}")["status"] == "completed")
        template = self.ask("POST", "/v1/templates", json={"type": "agent", "agent_id": agent["id"], "name": self.word})
        made = self.ask("POST", f"/v1/templates/{self.word}/agents", json={})
        self.ids = {
            "batch_id": batch["id"],
            "template_id": template["id"],
            "template_name": self.word,
            "template_version": f"{self.word}:1",
            "deployment_id": made["deployment_id"],
            "name": self.word,
            "response_id": response["id"],
            "scheduled_message_id": self.ask("POST", f"/v1/agents/{agent['id']}/schedule", json=later)["id"],
            "project_id": self.ask("POST", "/v1/projects", json={"name": self.word})["id"],
            "provider_id": self.ask("POST", "/v1/providers", json=provider)["id"],
            "mcp_server_id": server["id"],
            "mcp_server_name": server["server_name"],
            "mcp_tool_name": "search",
            "identity_id": self.ask("POST", "/v1/identities", json=identity)["id"],
            "group_id": group["id"],
            "block_id": block["id"],
            "agent_id": agent["id"],
            "folder_id": folder["id"],
            "file_id": file["id"],
            "run_id": run["id"],
            "step_id": self.ask("GET", f"/v1/runs/{run['id']}/steps")[0]["id"],
            "message_id": self.ask("GET", f"/v1/agents/{agent['id']}/messages")[-1]["id"],
            "conversation_id": conversation["id"],
            "item_id": items["data"][0]["id"],
            "archive_id": passage["archive_id"],
            "passage_id": passage["id"],
            "memory_id": passage["id"],
            "job_id": self.ask("GET", "/v1/jobs")[0]["id"],
            "key_id": self.key_id,
            "token": tokens[0]["token"],
            "organization": self.id,
            "block_label": self.word,
            "tool_id": tool["id"],
            "tool_name": tool["name"],
            "sandbox_type": "local",
            "sandbox_config_id": settings,
            "variable_id": self.ask("POST", f"/v1/sandbox-config/{settings}/environment-variable", json=variable)["id"],
            "version": "1",
            "number": "1",
            "approval_id": self.ask("POST", f"/v1/agents/{agent['id']}/standing-approvals", json=like)["id"],
        }

    def _fill_archive(self, agent_id: str) -> Any:
        """Give the agent an archive with a passage that is embedded; return the passage."""
        fields = {"name": self.word, "description": f"{self.word} keeps", "embedding": "openai/text-embedding-3-small"}
        archive = self.ask("POST", "/v1/archives", json=fields)["id"]
        self.http.patch(f"/v1/agents/{agent_id}/archives/attach/{archive}").raise_for_status()
        kept = {"text": f"{self.word} keeps", "tags": [self.word]}
        for _ in range(2):
            passage = self.ask("POST", f"/v1/agents/{agent_id}/archival-memory", json=kept)[0]
        self.http.delete(f"/v1/archives/{archive}/passages/{passage['id']}").raise_for_status()
        while self.ask("GET", "/v1/jobs/active"):
            """It ends by itself."""
        return self.ask("GET", f"/v1/agents/{agent_id}/archival-memory")[0]


NewOrganization = Callable[[], Organization]
