"""What a small moot leaves in the rooms that came after 0.2.0: of each kind one thing, and what hangs on it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Protocol

from released_data import says

from support.polling import until

EMBEDDING = "openai/text-embedding-3-small"
GREETING = '''def greet(name: str) -> str:
    """Greet.

    Args:
        name: whom.
    """
    return f"Hello {name}"
'''


class Ask(Protocol):
    """Makes a request that must succeed, and returns its JSON."""

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Ask."""
        ...


class LaterRooms:
    """Fills them for an agent and a block that are there."""

    def __init__(self, ask: Ask, say: Callable[[str, str], str], agent_id: str, block_id: str) -> None:
        self._ask = ask
        self._say = say
        self._agent = agent_id
        self._block = block_id

    def live(self) -> None:
        """Do everything of which something is stored."""
        self._archives()
        self._folders()
        self._tools()
        self._identities()
        self._groups()
        self._templates()
        self._batches()
        self._later()
        self._keys()

    def _archives(self) -> None:
        archive = self._ask("POST", "/archives", {"name": "library", "embedding": EMBEDDING})["id"]
        self._ask("PATCH", f"/agents/{self._agent}/archives/attach/{archive}", {"access": "append"})
        passages = [
            self._ask("POST", f"/archives/{archive}/passages", {"text": text, "tags": tags, "metadata": {"by": "hand"}})
            for text, tags in (("A heron, ein Reiher, 鹭。", ["bird", "grey"]), ("A stork.", ["bird"]), ("Gone.", []))
        ]
        self._say(self._agent, says("archival_memory_insert", content="The scribe saw a crane.", tags=["bird"]))
        until(lambda: self._counted(archive)["embedded_count"] >= len(passages))
        self._ask("DELETE", f"/archives/{archive}/passages/{passages[-1]['id']}")

    def _counted(self, archive: str) -> dict[str, Any]:
        counts: dict[str, Any] = self._ask("GET", f"/archives/{archive}")
        return counts

    def _folders(self) -> None:
        folder = self._ask(
            "POST", "/folders", {"name": "papers", "instructions": "Read them.", "embedding": EMBEDDING}
        )["id"]
        lines = "".join(f"Line {number}: größer, 更大.\n" for number in range(200))
        file = self._ask("POST", f"/folders/{folder}/upload", files={"file": ("notes.md", lines, "text/markdown")})[
            "id"
        ]
        until(lambda: not self._ask("GET", f"/jobs?source_id={folder}&active=true"))
        self._ask("PATCH", f"/agents/{self._agent}/folders/attach/{folder}")
        self._ask("PATCH", f"/agents/{self._agent}/files/{file}/open")

    def _tools(self) -> None:
        tool = self._ask("POST", "/tools", {"source_code": GREETING, "tags": ["polite"]})["id"]
        self._ask("PATCH", f"/agents/{self._agent}/tools/attach/{tool}")
        config = self._ask("POST", "/sandbox-config/local/default")["id"]
        variable = {"key": "COLOUR", "value": "blue"}
        self._ask("POST", f"/sandbox-config/{config}/environment-variable", variable)
        server = {"mcp_server_type": "streamable_http", "server_url": "https://tools.example.org/mcp"}
        self._ask("POST", "/mcp-servers", {"server_name": "elsewhere", "config": server})

    def _identities(self) -> None:
        person = {"identifier_key": "ada", "name": "Ada", "identity_type": "user"}
        more = {"agent_ids": [self._agent], "block_ids": [self._block], "properties": [_property("city", "Wien")]}
        self._ask("POST", "/identities", {**person, **more})
        self._ask("POST", "/projects", {"name": "autumn"})

    def _groups(self) -> None:
        other = self._ask("POST", "/agents", {"name": "speaker", "include_base_tools": False})["id"]
        group = {"agent_ids": [self._agent, other], "description": "Two who talk.", "shared_block_ids": [self._block]}
        made = self._ask("POST", "/groups", group)["id"]
        self._ask("POST", f"/groups/{made}/messages", {"messages": [{"role": "user", "content": "ECHO We all hear."}]})
        self._ask("POST", "/agents", {"name": "owl", "enable_sleeptime": True})

    def _templates(self) -> None:
        self._ask("POST", "/templates", {"name": "clerk", "type": "agent", "agent_id": self._agent})
        self._ask("POST", "/templates/clerk/agents", {"agent_name": "clerk one"})

    def _batches(self) -> None:
        request = {"agent_id": self._agent, "messages": [{"role": "user", "content": "ECHO In a batch."}]}
        batch = self._ask("POST", "/messages/batches", {"requests": [request]})["id"]
        until(lambda: self._ask("GET", f"/messages/batches/{batch}")["status"] == "completed")

    def _later(self) -> None:
        """Something that is to be said in a hundred years, and a provider that nobody asks."""
        far = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC).timestamp() * 1000
        message = {"role": "user", "content": "Happy new year."}
        once = {"type": "one-time", "scheduled_at": far}
        self._ask("POST", f"/agents/{self._agent}/schedule", {"messages": [message], "schedule": once})
        provider = {
            "name": "mine",
            "provider_type": "openai",
            "api_key": "sk-mine",
            "base_url": "https://models.example.org",
        }
        self._ask("POST", "/providers", provider)

    def _keys(self) -> None:
        """A member, whose key does not close an open server."""
        member = {"name": "coder", "role": "member", "blocks": [{"block": self._block, "access": "append"}]}
        self._ask("POST", "/keys", member)


def _property(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value, "type": "string"}
