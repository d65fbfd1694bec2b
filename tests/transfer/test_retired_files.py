"""Files that the retired server exported: their agents go on here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from folkmoot.transfer.message_rows import RowReader, UnreadableRow, rows_of
from support.fixtures import MODEL
from transfer.test_agent_files import exported, imported

FILES = sorted((Path(__file__).parent / "retired").glob("*.af"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_the_agents_of_a_file_answer_and_remember(http: httpx.Client, file: Path) -> None:
    content = json.loads(file.read_bytes())
    made = imported(http, content, append_copy_suffix="false", secrets='{"SHOP_KEY": "sk"}')
    told = [line for line in made["left_out"] if "its model" not in line]
    assert told == [], "but that the model goes by another name"
    for entry, agent_id in zip(content["agents"], made["agent_ids"], strict=True):
        path = f"/v1/agents/{agent_id}"
        agent = http.get(path).json()
        for name in ("name", "description", "system", "agent_type", "metadata", "timezone", "max_files_open"):
            assert agent[name] == entry[name], name
        assert (sorted(agent["tags"]), agent["model"]) == (sorted(entry["tags"]), MODEL)
        assert [rule["type"] for rule in agent["tool_rules"]] == [rule["type"] for rule in entry["tool_rules"]]
        wanted = {block["id"]: block for block in content["blocks"]}
        assert [(b["label"], b["value"]) for b in agent["blocks"]] == [
            (wanted[each]["label"], wanted[each]["value"]) for each in entry["block_ids"]
        ]
        tools = {tool["id"]: tool["name"] for tool in content["tools"]}
        assert {tool["name"] for tool in agent["tools"]} == {tools[each] for each in entry["tool_ids"]}
        assert {each["key"] for each in agent["secrets"]} >= set(entry["secrets"] or ())
        said = http.get(f"{path}/messages", params={"order": "asc", "limit": 1000}).json()
        assert words_of(said) == words_in(entry["messages"])
        again = exported(http, agent_id)["agents"][0]
        assert len(again["messages"]) >= len(entry["messages"])
        for group in content["groups"] if entry["group_ids"] else ():
            shown = agent["managed_group"]
            assert shown["manager_type"] == group["manager_config"]["manager_type"]
            assert len(shown["agent_ids"]) == len(group["agent_ids"])
            assert set(shown["agent_ids"]) < set(made["agent_ids"])
            again = exported(http, agent_id)
            assert [each["manager_config"] for each in again["groups"]] == [group["manager_config"]]
            assert len(again["agents"]) == len(content["agents"])
        answer = http.post(f"{path}/messages", json={"input": "ECHO I am here now."})
        assert answer.status_code == 200, answer.text
        assert answer.json()["messages"][-1]["content"] == "I am here now."


def words_of(said: list[dict[str, Any]]) -> list[str]:
    """Return what was said and returned, in order."""
    texts = [m.get("content") or m.get("tool_return") for m in said if m["message_type"] != "system_message"]
    parts = [text if isinstance(text, list) else [{"type": "text", "text": text}] for text in texts if text]
    return [part["text"] for each in parts for part in each if part["type"] == "text"]


def words_in(rows: list[dict[str, Any]]) -> list[str]:
    """Return the same of a file's rows, read by no code of ours."""
    found = []
    for row in rows:
        for returned in row["tool_returns"] or ():
            message = json.loads(returned["func_response"])["message"]
            found.append(message if isinstance(message, str) else json.dumps(message, ensure_ascii=False))
        if row["role"] in ("user", "assistant"):
            found += [part["text"] for part in row["content"] or () if part["type"] == "text" and part["text"]]
    return found


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"role": "user", "content": 3}, "no list of parts"),
        ({"role": "user", "content": [{"type": "text", "text": 3}]}, "where a text should"),
        ({"role": "user", "content": [{"type": "image"}]}, "source"),
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, "name"),
        ({"role": "assistant", "content": "hi", "created_at": "soon"}, "isoformat"),
        ({"role": "user", "folkmoot": {"bodies": [["king_message", {}]]}}, "no message of the type"),
        ({"role": "user", "folkmoot": {"bodies": [["user_message", {"content": None}]]}}, "cannot be None"),
        ({}, "role"),
    ],
)
def test_a_row_that_is_none_is_told(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(UnreadableRow, match=problem):
        RowReader().messages({"id": "message-1", "created_at": "2026-01-01T00:00:00Z", **row})


WHEN = "2026-01-01T00:00:00+00:00"


def test_what_older_releases_wrote_is_read() -> None:
    """Thoughts beside calls, texts in envelopes, returns without a list, decisions in columns."""
    call = {"id": "c1", "type": "function", "function": {"name": "send_message", "arguments": '{"message": "hi"}'}}
    rows = [
        {"role": "user", "text": '{"type": "user_message", "message": "hello", "time": "now"}'},
        {"role": "user", "content": [{"type": "text", "text": '{"type": "heartbeat", "reason": "x"}'}]},
        {"role": "assistant", "content": [{"type": "text", "text": "They greet."}], "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"status": "Failed", "message": "no", "time": "now"}'},
        {"role": "approval", "approve": False, "approval_request_id": "message-1", "denial_reason": "no"},
        {"role": "assistant", "content": [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "ok"}]},
    ]
    reader = RowReader(thinks_aloud=True)
    numbered = [{"id": f"message-{number}", "created_at": WHEN, **row} for number, row in enumerate(rows)]
    messages = [message for row in numbered for message in reader.messages(row)]
    assert [(m.message_type, m.name) for m in messages] == [
        ("user_message", None),
        ("system_message", None),
        ("reasoning_message", None),
        ("tool_call_message", None),
        ("tool_return_message", "send_message"),
        ("approval_response_message", None),
        ("reasoning_message", None),
        ("assistant_message", None),
    ]
    assert messages[0].body["content"] == "hello"
    assert (messages[4].body["tool_return"], messages[4].body["status"]) == ("no", "error")
    assert messages[2].step_id == messages[3].step_id != messages[6].step_id
    assert (messages[3].id, messages[7].id) == ("message-2", "message-5"), "what shows most of a row has its id"
    written = list(rows_of(messages, thinks_aloud=True))
    again = [each for row in written for each in RowReader(thinks_aloud=True).messages(row)]
    assert [(m.message_type, m.body) for m in again] == [(m.message_type, m.body) for m in messages]
