"""What is said in groups: who speaks when, under which name, who hears what, and where it ends."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from groups.test_groups import new_group
from runs.talking import DONE, Reading, call, calling, kinds, ok, read
from support.fixtures import NewAgent, one_store
from support.polling import until
from support.scripted_model import ScriptedModel


def say_to(http: httpx.Client, group: dict[str, Any], text: str, **more: Any) -> dict[str, Any]:
    turn: dict[str, Any] = ok(http.post(f"/v1/groups/{group['id']}/messages", json={"input": text, **more}))
    return turn


def spoken(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return who said what, of assistant messages."""
    return [(each["name"], each["content"]) for each in messages if each["message_type"] == "assistant_message"]


def listed(http: httpx.Client, group: dict[str, Any], **params: Any) -> list[dict[str, Any]]:
    path = f"/v1/groups/{group['id']}/messages"
    found: list[dict[str, Any]] = ok(http.get(path, params={"order": "asc", "limit": 100, **params}))
    return found


def told_to(http: httpx.Client, agent_id: str) -> list[Any]:
    """Return what the agent was told in its conversation of the group."""
    (conversation,) = [each for each in ok(http.get("/v1/conversations", params={"agent_id": agent_id})) if each["id"]]
    path = f"/v1/conversations/{conversation['id']}/messages"
    found = ok(http.get(path, params={"order": "asc"}))
    return [each["content"] for each in found if each["message_type"] == "user_message"]


def test_the_members_speak_one_after_the_other_and_hear_each_other(http: httpx.Client, new_agent: NewAgent) -> None:
    one, two = new_agent(name="one"), new_agent(name="two")
    group = new_group(http, one.id, two.id)
    turn = say_to(http, group, "hello all")
    assert spoken(turn["messages"]) == [("one", "ok"), ("two", "ok")]
    assert [each["sender_id"] for each in turn["messages"]] == [one.id, two.id]
    assert turn["stop_reason"]["stop_reason"] == "end_turn"
    assert (turn["usage"]["step_count"], len(turn["usage"]["run_ids"])) == (2, 2)
    assert told_to(http, one.id) == ["hello all"]
    first, second = told_to(http, two.id)
    assert (first, "ok" in second, one.id in second) == ("hello all", True, True)

    say_to(http, group, "and again")
    assert [text.splitlines()[-1] for text in told_to(http, one.id)] == ["hello all", "ok", "and again"]
    said = listed(http, group)
    assert kinds(said) == ["user_message", "assistant_message", "assistant_message"] * 2
    assert spoken(said) == [("one", "ok"), ("two", "ok")] * 2
    assert listed(http, group, limit=2, after=said[1]["id"]) == said[2:4]
    mine = ok(http.get(f"/v1/agents/{one.id}/messages", params={"group_id": group["id"], "order": "asc"}))
    assert [each["content"].splitlines()[-1] for each in mine[1:]] == ["hello all", "ok", "ok", "and again", "ok"]
    apart = ok(http.get(f"/v1/agents/{one.id}/messages"))
    assert kinds(apart) == ["system_message"], "what an agent says to its own user stays apart"


def test_max_turns_says_how_often_somebody_speaks(http: httpx.Client, new_agent: NewAgent) -> None:
    one, two = new_agent(name="one"), new_agent(name="two")
    group = new_group(http, one.id, two.id, manager_config={"manager_type": "round_robin", "max_turns": 3})
    assert [name for name, _ in spoken(say_to(http, group, "go on")["messages"])] == ["one", "two", "one"]


def test_a_supervisor_answers_with_what_its_members_said(http: httpx.Client, new_agent: NewAgent) -> None:
    one, two, boss = new_agent(name="one"), new_agent(name="two"), new_agent(name="boss")
    group = new_group(http, one.id, two.id, manager_config={"manager_type": "supervisor", "manager_agent_id": boss.id})
    ask = {"message": "your view?\nECHO my view", "names": []}
    turn = say_to(http, group, f"CALL ask_members {json.dumps(ask)}\nTHEN ECHO both agree")
    (answer,) = [each for each in turn["messages"] if each["message_type"] == "tool_return_message"]
    assert answer["tool_return"] == "one: my view\n\ntwo: my view"
    assert spoken(turn["messages"]) == [("boss", "both agree")]
    assert len(turn["usage"]["run_ids"]) == 3
    assert sorted(spoken(listed(http, group))) == [("boss", "both agree"), ("one", "my view"), ("two", "my view")]
    assert listed(http, group)[0]["message_type"] == "user_message"


def test_a_dynamic_manager_chooses_who_speaks_until_it_is_done(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    one, two, lead = new_agent(name="one"), new_agent(name="two"), new_agent(name="lead")
    config = {"manager_type": "dynamic", "manager_agent_id": lead.id, "termination_token": "STOP!"}
    group = new_group(http, one.id, two.id, manager_config=config)

    def choose(name: str) -> None:
        scripted_model.reply_next(calling(call("choose_speaker", json.dumps({"name": name}), f"call_{name}")))

    choose("two")
    scripted_model.reply_next({"content": "I am two"})
    choose("one")
    scripted_model.reply_next({"content": "I am one"})
    scripted_model.reply_next({"content": "STOP!"})
    turn = say_to(http, group, "discuss")
    assert spoken(turn["messages"]) == [("two", "I am two"), ("one", "I am one"), ("lead", "STOP!")]
    told = [text_of(message) for message in scripted_model.conversations[2]]
    assert any("I am two" in text for text in told), "the manager hears what was said before it chooses"


def text_of(message: dict[str, Any]) -> str:
    return json.dumps(message["content"])


def test_a_dynamic_turn_has_an_end(http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    one, lead = new_agent(name="one"), new_agent(name="lead")
    config = {"manager_type": "dynamic", "manager_agent_id": lead.id, "max_turns": 2}
    group = new_group(http, one.id, manager_config=config)
    for _ in range(2):
        scripted_model.reply_next(calling(call("choose_speaker", json.dumps({"name": "one"}))))
        scripted_model.reply_next({"content": "more"})
    turn = say_to(http, group, "for ever")
    assert spoken(turn["messages"]) == [("one", "more"), ("one", "more")]
    assert len(scripted_model.requests) == 4


def test_a_stream_tells_who_speaks(http: httpx.Client, new_agent: NewAgent) -> None:
    one, two = new_agent(name="one"), new_agent(name="two")
    group = new_group(http, one.id, two.id)
    path = f"/v1/groups/{group['id']}/messages/stream"
    with http.stream("POST", path, json={"input": "ECHO four words of text", "stream_tokens": True}) as response:
        entries = Reading(response).rest()
    assert entries[-1] == DONE
    events = read(entries)
    words: dict[str, str] = {}
    for event in events:
        if event["message_type"] == "assistant_message":
            words[event["name"]] = words.get(event["name"], "") + event["content"]
            assert event["sender_id"] == {"one": one.id, "two": two.id}[event["name"]]
    assert words["one"] == "four words of text"
    assert set(words) == {"one", "two"}
    assert kinds(events)[-2:] == ["stop_reason", "usage_statistics"]
    assert kinds(events).count("stop_reason") == 1
    numbers = [event["seq_id"] for event in events if event.get("seq_id") is not None]
    assert numbers == sorted(set(numbers))


def test_a_group_that_speaks_is_stopped(http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    one, two = new_agent(name="one"), new_agent(name="two")
    group = new_group(http, one.id, two.id)
    path = f"/v1/groups/{group['id']}/messages"
    with scripted_model.hold() as held, http.stream("POST", f"{path}/stream", json={"input": "hello"}) as response:
        reading = Reading(response)
        held.wait_for(1)
        assert list(ok(http.post(f"{path}/cancel")).values()) == ["cancelled"]
        events = read(reading.rest())
    assert events[-1]["stop_reason"] == "cancelled"
    assert not spoken([event for event in events if "name" in event])
    assert len(scripted_model.requests) == 1, "nobody else begins to speak"
    assert spoken(say_to(http, group, "once more")["messages"]) == [("one", "ok"), ("two", "ok")]


def test_a_speaker_s_failure_is_the_turn_s(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    group = new_group(http, new_agent().id, new_agent().id)
    path = f"/v1/groups/{group['id']}/messages"
    scripted_model.fail_next(400)
    assert http.post(path, json={"input": "hello"}).status_code == 502
    scripted_model.fail_next(400)
    with http.stream("POST", f"{path}/stream", json={"input": "hello"}) as response:
        events = read(Reading(response).rest())
    assert kinds(events)[-2:] == ["error_message", "stop_reason"]
    assert listed(http, group) == []


def test_what_was_said_is_changed_and_forgotten(http: httpx.Client, new_agent: NewAgent) -> None:
    one, two = new_agent(name="one"), new_agent(name="two")
    group = new_group(http, one.id, two.id)
    say_to(http, group, "ECHO a slip")
    slip = listed(http, group)[1]
    path = f"/v1/groups/{group['id']}/messages/{slip['id']}"
    changed = ok(http.patch(path, json={"content": "as meant"}))
    assert (changed["content"], changed["name"]) == ("as meant", "one")
    assert listed(http, group)[1]["content"] == "as meant"
    stranger = ok(http.get(f"/v1/agents/{one.id}/messages"))[0]["id"]
    assert http.patch(f"/v1/groups/{group['id']}/messages/{stranger}", json={"content": "x"}).status_code == 404
    assert ok(http.patch(f"/v1/groups/{group['id']}/reset-messages")) is None
    assert listed(http, group) == []
    assert spoken(say_to(http, group, "anew")["messages"]) == [("one", "ok"), ("two", "ok")]


@one_store
@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"input": "x", "background": True}, 422, "background"),
        ({"input": "x", "callback_url": "https://example.org/x"}, 422, "callback_url"),
        ({"messages": [{"type": "approval", "approve": True}]}, 422, "approval"),
        ({"messages": []}, 422, "empty"),
    ],
)
def test_what_a_group_cannot_take_is_refused_before_anybody_speaks(
    http: httpx.Client, new_agent: NewAgent, body: dict[str, Any], status: int, told: str
) -> None:
    group = new_group(http, new_agent().id)
    refused = http.post(f"/v1/groups/{group['id']}/messages", json=body)
    assert (refused.status_code, told in refused.text) == (status, True), refused.text
    assert listed(http, group) == []


@one_store
def test_who_answers_nobody_says_whom_to_talk_to(http: httpx.Client, new_agent: NewAgent) -> None:
    one, manager = new_agent().id, new_agent().id
    config = {"manager_type": "sleeptime", "manager_agent_id": manager}
    sleeping, empty = new_group(http, one, manager_config=config), new_group(http)
    for group, told in ((sleeping, manager), (empty, "no members")):
        refused = http.post(f"/v1/groups/{group['id']}/messages/stream", json={"input": "hello"})
        assert (refused.status_code, told in refused.text) == (400, True), refused.text


@one_store
def test_a_member_searches_its_own_archives_and_files_and_not_those_of_another(
    http: httpx.Client, new_agent: NewAgent
) -> None:
    tools = ["archival_memory_search"]
    one, two = new_agent(name="one", tools=tools), new_agent(name="two", tools=tools)
    for agent, word in ((one, "heron"), (two, "owl")):
        ok(http.post(f"/v1/agents/{agent.id}/archival-memory", json={"text": f"kept: {word}"}))
        folder = ok(http.post("/v1/folders", json={"name": f"{word} {agent.id}"}))["id"]
        ok(http.patch(f"/v1/agents/{agent.id}/folders/attach/{folder}"))
        ok(http.post(f"/v1/folders/{folder}/upload", files={"file": (f"{word}.txt", f"filed: {word}".encode())}))
        until(lambda folder=folder: not ok(http.get("/v1/jobs", params={"source_id": folder, "active": True})))  # type: ignore[misc]
    group = new_group(http, one.id, two.id, manager_config={"manager_type": "round_robin", "max_turns": 1})

    def returned(tool: str, **arguments: Any) -> str:
        turn = say_to(http, group, f"CALL {tool} {json.dumps(arguments)}")
        (answer,) = [each for each in turn["messages"] if each["message_type"] == "tool_return_message"]
        assert answer["sender_id"] == one.id
        return str(answer["tool_return"])

    for word, is_its_own in (("heron", True), ("owl", False)):
        assert (f"kept: {word}" in returned("archival_memory_search", query=word)) is is_its_own
        assert (f"filed: {word}" in returned("semantic_search_files", query=word)) is is_its_own
        assert (f"filed: {word}" in returned("grep_files", pattern=word)) is is_its_own
