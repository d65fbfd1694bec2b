"""The order of a reply's parts, where it is more than: reasoning, then text, then calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_provider import FakeProvider, claude

from folkmoot.models.prompt import AssistantMessage, Prompt, ToolReturn, ToolSchema, UserMessage
from folkmoot.models.requests import ModelClient

MODEL = "anthropic/claude-haiku-4-5"
TOOL = ToolSchema("look", "", {"type": "object"})
TEXT = {"type": "text", "text": "I look."}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}


def thinking(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": f"signed {text}"}


@pytest.mark.parametrize(
    ("blocks", "kept"),
    [
        pytest.param([thinking("One."), TEXT, thinking("Two."), USE], True, id="thoughts between"),
        pytest.param([TEXT, thinking("One."), USE], True, id="text first"),
        pytest.param([thinking("One."), thinking("Two."), TEXT, USE], False, id="as usual"),
    ],
)
async def test_claudes_thoughts_go_back_where_they_were(
    blocks: list[Any], kept: bool, client_for: Callable[..., ModelClient]
) -> None:
    async with FakeProvider([claude(*blocks, stop="tool_use")]) as provider:
        client = client_for(provider.address)
        reply = await client.ask(MODEL, Prompt("", [UserMessage("Hello?")], tools=[TOOL]))
        turn = AssistantMessage(reply.text, reply.reasoning, reply.tool_calls)
        turns = [UserMessage("Hello?"), turn, ToolReturn("toolu_1", "look", "x")]
        await client.ask(MODEL, Prompt("", turns, tools=[TOOL]))
    assert provider.asked[1].body["messages"][1]["content"] == blocks
    assert ("order" in reply.reasoning[0].provider) == kept
