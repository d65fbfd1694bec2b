"""How clients are told of the door: what the command prints and the page says is one thing, and of a form they read."""

from __future__ import annotations

import ast
import json
import shlex

import pytest
from pages import ROOT

from folkmoot.mcp_server.clients import CLIENTS, line_for

URL = "http://localhost:8283"
PAGE = (ROOT / "docs" / "mcp.md").read_text()


@pytest.mark.parametrize("client", CLIENTS)
def test_the_page_says_what_the_command_prints(client: str) -> None:
    assert f"| {client} | `{line_for(client, URL)}` |" in PAGE


def test_commands_name_the_server_and_the_key() -> None:
    for client, name in (("Claude Code", "claude"), ("Codex", "codex"), ("Gemini CLI", "gemini")):
        words = shlex.split(line_for(client, URL))
        assert words[:3] == [name, "mcp", "add"]
        assert {"folkmoot", f"{URL}/mcp"} <= set(words)
        assert any("FOLKMOOT_API_KEY" in word for word in words)
        options = [word for word in words if word.startswith("-")]
        known = {"--transport", "--header"} if name != "codex" else {"--url", "--bearer-token-env-var"}
        assert set(options) == known
        if name != "codex":
            assert words[words.index("--transport") + 1] == "http"
            assert words[words.index("--header") + 1].startswith("Authorization: Bearer $")


def test_files_have_the_form_that_their_client_reads() -> None:
    cursor = json.loads(line_for("Cursor, in .cursor/mcp.json", URL))["mcpServers"]["folkmoot"]
    code = json.loads(line_for("VS Code, in .vscode/mcp.json", URL))["servers"]["folkmoot"]
    for each in (cursor, code):
        assert each["url"] == f"{URL}/mcp"
        assert each["headers"] == {"Authorization": "Bearer ${env:FOLKMOOT_API_KEY}"}
    assert code["type"] == "http"


def test_the_line_for_langgraph_is_python() -> None:
    call = ast.parse(line_for("LangGraph", URL), mode="eval").body
    assert isinstance(call, ast.Call)
    assert ast.unparse(call.func) == "MultiServerMCPClient"
    servers = eval(ast.unparse(call.args[0]), {"key": "secret"})
    assert servers["folkmoot"]["url"] == f"{URL}/mcp"
    assert servers["folkmoot"]["headers"] == {"Authorization": "Bearer secret"}
