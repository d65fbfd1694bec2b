"""What pages read out of requests and texts, without a browser: providers' requests, versions side by side."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.web.diffs import around_changes
from folkmoot.web.requests_read import SentMessage, SentTool, read_sent
from folkmoot.web.word_diff import Side, changes_in, side_by_side

CALL = {"name": "roll", "arguments": '{"sides":6}'}
SCHEMA = {"type": "object", "properties": {"sides": {"type": "integer"}}}
REQUESTS: dict[str, dict[str, Any]] = {
    "chat completions": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Roll."}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": CALL}]},
            {"role": "tool", "tool_call_id": "1", "content": "4"},
        ],
        "tools": [{"type": "function", "function": {"name": "roll", "description": "Rolls.", "parameters": SCHEMA}}],
    },
    "responses": {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Roll."}]},
            {"type": "function_call", "call_id": "1", **CALL},
            {"type": "function_call_output", "call_id": "1", "output": "4"},
        ],
        "tools": [{"type": "function", "name": "roll", "description": "Rolls.", "parameters": SCHEMA}],
    },
    "anthropic": {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": "Roll."},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "roll", "input": {"sides": 6}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "4"}]},
        ],
        "tools": [{"name": "roll", "description": "Rolls.", "input_schema": SCHEMA}],
    },
    "google": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Roll."}]},
            {"role": "model", "parts": [{"functionCall": {"name": "roll", "args": {"sides": 6}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "roll", "response": {"result": "4"}}}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "roll", "description": "Rolls.", "parameters": SCHEMA}]}],
    },
}


@pytest.mark.parametrize("api", REQUESTS)
def test_a_request_of_any_api_is_read(api: str) -> None:
    sent = read_sent(REQUESTS[api])
    assert sent.instructions == "Be brief."
    assert sent.messages[0] == SentMessage("user", "Roll.")
    assert "roll" in sent.messages[1].text
    assert "6" in sent.messages[1].text
    assert "4" in sent.messages[2].text
    assert sent.tools == [SentTool("roll", "Rolls.", ["sides"])]


def test_what_is_of_no_known_form_is_shown_as_json() -> None:
    sent = read_sent({"messages": [{"role": "user", "content": [{"type": "audio", "data": "abc"}]}, "plain", 7]})
    assert [message.text for message in sent.messages] == ['{"type": "audio", "data": "abc"}', "plain", "7"]
    assert read_sent({}).messages == []


lines = st.lists(st.sampled_from(["", "a b", "a c", "x, y", "z"]), max_size=12)


@given(lines, lines)
def test_side_by_side_shows_both_texts_whole_but_for_what_is_cut(old: list[str], new: list[str]) -> None:
    rows = side_by_side("".join(f"{line}\n" for line in old), "".join(f"{line}\n" for line in new))
    for texts, sides in ((old, [row.left for row in rows]), (new, [row.right for row in rows])):
        for side in filter(None, sides):
            assert isinstance(side, Side)
            assert "".join(piece.text for piece in side.pieces) == texts[side.number - 1]
        assert sum(row.count for row in rows) + sum(side is not None for side in sides) == len(texts)
    assert (changes_in(rows) == 0) == (old == new)
    assert [row.change for row in rows if row.change] == list(range(1, changes_in(rows) + 1))


def test_an_edit_is_shown_with_what_is_around_it() -> None:
    text = "".join(f"{number}\n" for number in range(10))
    shown = around_changes(text, text.replace("5\n", "five\n"))
    assert [(line.kind, line.text or line.number) for line in shown] == [
        ("cut", 3), ("same", "3"), ("same", "4"), ("gone", "5"), ("added", "five"), ("same", "6"), ("same", "7"),
        ("cut", 2),
    ]  # fmt: skip
