"""The page's adapter for Anthropic's memory tool, with the base class of Anthropic's own SDK."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pages import ROOT, examples

from support.fixtures import NewBlock, one_store
from support.server import ServerProcess

ADAPTER = next(each.text for each in examples(ROOT / "docs" / "mcp.md") if "BetaAbstractMemoryTool" in each.text)


@pytest.fixture
def adapter() -> type[Any]:
    namespace: dict[str, Any] = {"__name__": "adapter"}
    exec(compile(ADAPTER, "docs/mcp.md", "exec"), namespace)
    found: type[Any] = namespace["SharedMemory"]
    return found


@one_store
def test_claude_reads_and_writes_a_block_as_its_memory(
    server: ServerProcess, http: httpx.Client, new_block: NewBlock, adapter: type[Any]
) -> None:
    from anthropic.lib.tools import BetaAbstractMemoryTool, ToolError  # two seconds of who collects the tests

    block = new_block(value="one\ntwo")
    key = http.post("/v1/keys", json={"name": "claude", "blocks": [{"block": block.id}]}).json()["key"]
    memory = adapter(server.url, key)
    assert isinstance(memory, BetaAbstractMemoryTool)
    assert memory.to_dict()["type"] == "memory_20250818"

    def call(command: str, path: str = f"/memories/{block.label}", **more: Any) -> str:
        return str(memory.call({"command": command, "path": path, **more}))

    assert block.label in call("view", "/memories")
    assert "     2\ttwo" in call("view")
    assert "     1\tone" not in call("view", view_range=[2, 2])
    call("insert", insert_line=1, insert_text="between")
    call("str_replace", old_str="two", new_str="2")
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "one\nbetween\n2"
    with pytest.raises(ToolError, match="did not appear"):
        call("str_replace", old_str="none", new_str="x")
    call("create", file_text="all new")
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "all new"
    for refused in ({"command": "delete"}, {"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"}):
        with pytest.raises(ToolError):
            memory.call({"path": f"/memories/{block.label}", **refused})
    with pytest.raises(ToolError, match="no block"):
        call("view", "/memories/nowhere")
    assert http.get(f"/v1/blocks/{block.id}").json()["updated_by"]["name"] == "claude"
    memory.http.close()
