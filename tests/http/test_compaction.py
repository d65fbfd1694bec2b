"""Context that lasts: a turn never fails because the history is long, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import httpx
import pytest
from assertions import assert_error
from letta_client import AsyncLetta, BadRequestError, Letta
from letta_client.types import AgentState

from folkmoot.models.frames import render_frame
from support.fixtures import NewAgent, each_provider, each_wire, one_store, thorough
from support.scripted_model import ScriptedModel, tokens_of

MARK = "<summary_of_earlier_messages-"


def is_for_summary(conversation: list[dict[str, Any]]) -> bool:
    return "Write the summary now." in json.dumps(conversation)


def turns(model: ScriptedModel) -> list[list[dict[str, Any]]]:
    """Return what was asked for a step, without what was asked for a summary."""
    return [conversation for conversation in model.conversations if not is_for_summary(conversation)]


def shown(conversation: list[dict[str, Any]]) -> str:
    """Return what a request says of the conversation, its instructions and memory left out."""
    return json.dumps(conversation[1:-1])


def talk(client: Letta, agent: AgentState, count: int, size: int = 40, start: int = 0) -> None:
    for number in range(start, start + count):
        filler = "word " * (size // 5)
        client.agents.messages.create(agent.id, input=f"ECHO answer {number} {filler}")


def streamed(client: Letta, agent: AgentState, **more: Any) -> list[Any]:
    events: Any = client.agents.messages.create(agent.id, input="ECHO streamed", streaming=True, **more)
    return list(events)


def stored(client: Letta, agent: AgentState) -> list[Any]:
    return list(client.agents.messages.list(agent.id, order="asc", limit=1000))


# -- on demand -------------------------------------------------------------------------------------------------


@each_provider
def test_a_compaction_puts_a_summary_in_the_place_of_the_oldest_messages(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    talk(client, agent, 10)
    scripted_model.reply_next({"content": "They counted to three."})
    done = client.agents.messages.compact(agent.id)
    assert done.summary == "They counted to three."
    assert (done.num_messages_before, done.num_messages_after) == (21, 16)
    asked = scripted_model.conversations[-1]
    assert is_for_summary(asked)
    assert "answer 0" in json.dumps(asked)
    assert "answer 9" not in json.dumps(asked)
    client.agents.messages.create(agent.id, input="ECHO on")
    client.agents.messages.create(agent.id, input="ECHO and on")
    first, second = scripted_model.conversations[-2:]
    assert first[1] == {
        "role": "user",
        "content": render_frame("summary_of_earlier_messages", "They counted to three."),
    }
    assert ("answer 2" in shown(first), "answer 3" in shown(first)) == (False, True)
    assert json.dumps(second).startswith(json.dumps(first[:-1])[:-1])
    assert len(client.agents.retrieve(agent.id).message_ids or ()) == 1 + 14 + 4


def test_what_left_stays_stored_listed_and_found(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    client.agents.messages.create(agent.id, input="ECHO the password is kumquat")
    talk(client, agent, 4)
    before = [m.id for m in stored(client, agent)]
    client.agents.messages.compact(agent.id, compaction_settings={"mode": "all"})
    assert [m.id for m in stored(client, agent)] == before
    client.agents.messages.create(agent.id, input='CALL conversation_search {"query": "kumquat"}')
    returned = next(m for m in stored(client, agent)[::-1] if m.message_type == "tool_return_message")
    assert "the password is kumquat" in returned.tool_return


@pytest.mark.parametrize("path", ["/v1/agents/{}/messages", "/v1/conversations/{}/messages"])
def test_a_summary_is_listed_only_when_it_is_asked_for(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, path: str
) -> None:
    agent = new_agent()
    talk(client, agent, 4)
    scripted_model.reply_next({"content": "In short."})
    client.conversations.messages.compact("default", agent_id=agent.id)
    address = path.format(agent.id)
    assert "summary_message" not in http.get(address).text
    assert "summary_message" not in http.get("/v1/messages/", params={"limit": 20}).text
    for asking in ({"include_compaction_messages": True}, {"include_return_message_types": "summary_message"}):
        newest = http.get(address, params={"limit": 1, "order": "desc"}).json()
        assert [m["message_type"] for m in newest] == ["assistant_message"], "the limit counts what is shown"
        found = [m for m in http.get(address, params=asking).json() if m["message_type"] == "summary_message"]
        assert [m["summary"] for m in found] == ["In short."]
        stats = found[0]["compaction_stats"]
        assert (stats["trigger"], stats["messages_count_before"], stats["context_window"]) == ("requested", 9, 128_000)
        assert stats["context_tokens_after"] < stats["context_tokens_before"]


@each_wire
@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"mode": "all"}, 0),
        ({"mode": "self_compact_all"}, 0),
        ({"mode": "sliding_window", "sliding_window_percentage": 0.5}, 5),
        ({"mode": "self_compact_sliding_window", "sliding_window_percentage": 0.9}, 1),
        ({"mode": "something newer", "sliding_window_percentage": 0.2}, 8),
        ({"sliding_window_percentage": "half"}, 7),
        ({}, 7),
    ],
)
def test_modes(client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, settings: Any, left: int) -> None:
    agent = new_agent(system="I am the agent.")
    talk(client, agent, 10)
    done = client.agents.messages.compact(agent.id, compaction_settings=settings)
    assert done.num_messages_after == 2 + 2 * left
    own = str(settings.get("mode")).startswith("self")
    assert scripted_model.conversations[-1][0]["content"].startswith("I am the agent.") is own


@one_store
@pytest.mark.parametrize("settings", [{"model": 7}, {"model_settings": "hot"}])
def test_settings_that_cannot_be_used_are_refused(
    client: Letta, http: httpx.Client, new_agent: NewAgent, settings: Any
) -> None:
    agent = new_agent()
    talk(client, agent, 2)
    (name,) = settings
    given = {"compaction_settings": settings}
    assert_error(http.post(f"/v1/agents/{agent.id}/summarize", json=given), 422, f"compaction_settings.{name}")
    assert_error(http.patch(f"/v1/agents/{agent.id}", json=given), 422, f"compaction_settings.{name}")


@each_provider
def test_a_second_summary_is_made_from_the_first(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(compaction_settings={"mode": "all", "prompt": "Just the gist.", "clip_chars": 60})
    talk(client, agent, 3)
    scripted_model.reply_next({"content": "The first part."})
    client.agents.messages.compact(agent.id)
    talk(client, agent, 3, start=3)
    scripted_model.reply_next({"content": "The first part. " + "And the second. " * 50})
    done = client.agents.messages.compact(agent.id)
    asked = json.dumps(scripted_model.conversations[-1])
    assert "Just the gist." in asked
    assert "The first part." in asked
    assert ("answer 2" in asked, "answer 5" in asked) == (False, True)
    assert done.summary.startswith("The first")
    assert len(done.summary) <= 60


def test_a_custom_model_writes_the_summary_and_the_agents_own_when_it_cannot(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(compaction_settings={"model": "openai/gpt-4.1-mini"})
    talk(client, agent, 4)
    client.agents.messages.compact(agent.id)
    assert scripted_model.requests[-1]["model"] == "gpt-4.1-mini"
    for unusable in ("nobody/nothing", "openai/gpt-4.1-mini"):
        talk(client, agent, 4)
        client.agents.update(agent.id, compaction_settings={"model": unusable})
        if unusable.startswith("openai"):
            scripted_model.fail_next(401)
        scripted_model.reply_next({"content": f"not by {unusable}"})
        assert client.agents.messages.compact(agent.id).summary == f"not by {unusable}"
        assert scripted_model.requests[-1]["model"] == "gpt-4o-mini"


def test_when_no_model_can_summarise_a_line_says_how_many_messages_are_missing(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(compaction_settings={"mode": "all"})
    for missing in (6, 12):
        talk(client, agent, 3)
        scripted_model.fail_next(401)
        done = client.agents.messages.compact(agent.id)
        assert done.summary == (f"({missing} earlier messages were left out; search them with conversation_search)")
    assert len(stored(client, agent)) == 13


@pytest.mark.parametrize(
    "said", ["OK.", "", "I'm sorry, but I can't help with that.", "Understood. Here is the summary:"]
)
def test_a_summary_that_says_nothing_is_asked_for_again_and_never_taken(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, said: str
) -> None:
    agent = new_agent(compaction_settings={"mode": "all"})
    client.agents.messages.create(agent.id, input="ECHO the password is kumquat")
    scripted_model.reply_next({"content": said})
    scripted_model.reply_next({"content": "They agreed on a password."})
    assert client.agents.messages.compact(agent.id).summary == "They agreed on a password."
    talk(client, agent, 2)
    for _ in range(2):
        scripted_model.reply_next({"content": said})
    asked = len(scripted_model.requests)
    summary = client.agents.messages.compact(agent.id).summary
    assert len(scripted_model.requests) - asked == 2
    assert summary.startswith("They agreed on a password."), "the summary so far is kept"
    assert "4 earlier messages were left out" in summary
    client.agents.messages.create(agent.id, input='CALL conversation_search {"query": "kumquat"}')
    returned = next(m for m in stored(client, agent)[::-1] if m.message_type == "tool_return_message")
    assert "the password is kumquat" in returned.tool_return


def test_a_conversation_with_nothing_to_leave_cannot_be_compacted(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    conversation = client.conversations.create(agent_id=agent.id)
    with pytest.raises(BadRequestError, match="compact"):
        client.agents.messages.compact(agent.id)
    with pytest.raises(BadRequestError, match="compact"):
        client.conversations.messages.compact(conversation.id)
    assert scripted_model.requests == []


@each_provider
@pytest.mark.parametrize("mode", ["all", "sliding_window"])
def test_a_waiting_approval_and_its_calls_stay(client: Letta, new_agent: NewAgent, mode: Any) -> None:
    rules: Any = [{"type": "requires_approval", "tool_name": "conversation_search"}]
    agent = new_agent(tool_rules=rules)
    talk(client, agent, 4)
    waiting = client.agents.messages.create(agent.id, input="CALL conversation_search {}").messages[-1]
    client.agents.messages.compact(agent.id, compaction_settings={"mode": mode})
    call: Any = {"type": "approval", "tool_call_id": waiting.tool_call.tool_call_id, "approve": True}  # type: ignore[union-attr]
    turn = client.agents.messages.create(agent.id, messages=[{"type": "approval", "approvals": [call]}])
    assert [m.message_type for m in turn.messages] == ["tool_return_message", "assistant_message"]


def test_compacting_one_conversation_leaves_the_others_alone(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    talk(client, agent, 4)
    other = client.conversations.fork("default", agent_id=agent.id)
    client.agents.messages.compact(agent.id, compaction_settings={"mode": "all"})
    assert len(client.conversations.retrieve(other.id).in_context_message_ids or ()) == 9
    assert len(client.agents.retrieve(agent.id).message_ids or ()) == 1


async def test_of_two_compactions_at_once_the_context_moves_once_and_only_forwards(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    talk(client, agent, 6)
    with scripted_model.hold("Write the summary now.") as held:
        modes: list[Any] = [{"mode": "all"}, {"mode": "sliding_window", "sliding_window_percentage": 0.5}]
        compacting = []
        for count, mode in enumerate(modes, 1):
            compact = async_client.agents.messages.compact(agent.id, compaction_settings=mode)
            compacting.append(asyncio.create_task(compact))
            await asyncio.to_thread(held.wait_for, count)
        client.agents.messages.create(agent.id, input="ECHO meanwhile")
        held.release(1)
        await compacting[0]
        held.release()
        await compacting[1]
    client.agents.messages.create(agent.id, input="ECHO afterwards")
    sent = shown(scripted_model.conversations[-1])
    assert ("answer 5" in sent, "meanwhile" in sent, MARK in sent) == (False, True, True)
    assert [m.message_type for m in stored(client, agent)].count("assistant_message") == 8


@one_store
def test_what_leaves_can_be_kept_in_an_archive(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    """Each message once, however often the context is made smaller; what the agent may only search gets nothing."""
    agent = new_agent(compaction_settings={"archive": True})
    reader = new_agent(compaction_settings={"archive": True})
    shared = client.archives.create(name="read only")
    path = f"/v1/agents/{reader.id}/archives/attach/{shared.id}"
    assert http.patch(path, json={"access": "read"}).status_code == 200
    for each in (agent, reader):
        talk(client, each, 10)
        for _ in range(2):
            scripted_model.reply_next({"content": "They counted to three."})
            client.agents.messages.compact(each.id)
            talk(client, each, 3, start=10)
    (archive,) = client.archives.list(agent_id=agent.id).items
    kept = http.get(f"/v1/archives/{archive.id}/passages", params={"limit": 100}).json()
    said = [each["text"].split(" word")[0] for each in kept]
    assert {"user: ECHO answer 0", "assistant: answer 0"} <= set(said)
    ids = [each["metadata"]["message_id"] for each in kept]
    assert len(set(ids)) == len(ids)
    in_context = set(client.agents.retrieve(agent.id).message_ids or ())
    assert not in_context & set(ids), "what is in context still is not kept"
    assert {each["author"]["name"] for each in kept} == {agent.name}
    assert all(each["tags"] == ["conversation"] for each in kept)
    found = client.agents.passages.search(agent.id, query="answer 2")
    assert "answer 2" in found.results[0].content
    assert http.get(f"/v1/archives/{shared.id}").json()["passage_count"] == 0


# -- unattended ------------------------------------------------------------------------------------------------


@each_wire
def test_a_context_near_its_limit_is_compacted_before_the_model_is_asked(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    scripted_model.window = 6000
    agent = new_agent(context_window_limit=6000)
    talk(client, agent, 30, size=1000)
    assert {m.message_type for m in stored(client, agent)} == {"system_message", "user_message", "assistant_message"}
    assert len(stored(client, agent)) == 61
    requests = turns(scripted_model)
    assert len(requests) == 30
    assert all(tokens_of(request) <= 6000 for request in scripted_model.requests)
    assert MARK in shown(requests[-1])
    assert 1 <= len(scripted_model.requests) - 30 <= 15


@each_wire
def test_the_turn_that_compacts_shows_the_summary_when_asked_to(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    talk(client, agent, 6)
    for include in (False, True):
        scripted_model.fail_next(400, code="context_length_exceeded")
        turn = client.agents.messages.create(agent.id, input="ECHO hi", include_compaction_messages=include)
        kinds = [m.message_type for m in turn.messages]
        assert kinds == [*(["event_message", "summary_message"] if include else []), "assistant_message"]
    scripted_model.fail_next(400, code="context_length_exceeded")
    events = streamed(client, agent, include_compaction_messages=True)
    assert [e.message_type for e in events if e.message_type != "ping"] == [
        "event_message",
        "summary_message",
        "assistant_message",
        "stop_reason",
        "usage_statistics",
    ]


@each_wire
@pytest.mark.parametrize("stream_tokens", [False, True])
def test_an_overflow_compacts_once_and_goes_on(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, stream_tokens: bool
) -> None:
    agent = new_agent()
    talk(client, agent, 8)
    scripted_model.fail_next(400, code="context_length_exceeded")
    client.agents.messages.create(agent.id, input="ECHO go on", streaming=False)
    if stream_tokens:
        scripted_model.fail_next(400, code="context_length_exceeded")
        events = streamed(client, agent, stream_tokens=True)
        said = "".join(str(e.content) for e in events if e.message_type == "assistant_message")
        assert said == "streamed"
    last = scripted_model.conversations[-1]
    assert MARK in shown(last)
    assert ("ECHO streamed" if stream_tokens else "ECHO go on") in shown(last)
    run = client.runs.list(agent_id=agent.id, limit=1).items[0]
    assert run.status == "completed"


@each_wire
def test_the_turn_under_way_keeps_its_request_and_the_last_call_with_its_return(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    scripted_model.window = 5000
    agent = new_agent(context_window_limit=5000)
    talk(client, agent, 10, size=400)
    script = "\n".join(
        ['CALL conversation_search {"query": "answer", "limit": 3}'] * 6 + ["THEN ECHO finished the errand"]
    )
    turn = client.agents.messages.create(agent.id, input=f"{script}\n{'detail ' * 20}", max_steps=12)
    assert turn.stop_reason.stop_reason in ("end_turn", "max_steps")
    for request in turns(scripted_model)[10:]:
        assert "finished the errand" in shown(request)


@each_wire
@pytest.mark.parametrize("size", [20_000, 300_000])
def test_a_message_longer_than_the_window_is_shown_in_short_and_stored_whole(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, size: int
) -> None:
    scripted_model.window = 4500
    agent = new_agent()
    talk(client, agent, 3)
    text = "ECHO understood\n" + "é" * size + "\nthe end of it"
    turn = client.agents.messages.create(agent.id, input=text)
    assert turn.stop_reason.stop_reason == "end_turn"
    request = turns(scripted_model)[-1]
    assert "are left out" in shown(request)
    assert "the end of it" in shown(request)
    assert [m.content for m in stored(client, agent) if m.message_type == "user_message"][-1] == text
    client.agents.messages.create(agent.id, input="ECHO and now")
    assert stored(client, agent)[-1].content == "and now"


@pytest.mark.parametrize(
    ("store", "provider", "seed"),
    [
        ("sqlite", "openai", 0),
        ("postgres", "openai", 1),
        ("sqlite", "anthropic", 0),
        *(pytest.param(("sqlite", "postgres")[seed % 2], "openai", seed, marks=thorough) for seed in range(2, 6)),
    ],
    indirect=["store", "provider"],
)
def test_a_model_that_refuses_more_than_n_tokens_is_always_recovered_from(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, seed: int
) -> None:
    """Whatever is said, however little the model takes, and whether or not anybody knows that."""
    chance = random.Random(seed)
    agent = new_agent(compaction_settings={"mode": chance.choice(["all", "sliding_window", "self_compact_all"])})
    for number in range(25):
        scripted_model.window = chance.choice([3500, 4000, 6000, 12_000])
        if chance.random() < 0.15:
            scripted_model.fail_next(400, code="context_length_exceeded")
        size = chance.choice([10, 500, 5_000, 60_000])
        calls = [f'CALL conversation_search {{"limit": {chance.randint(1, 50)}}}'] * chance.choice([0, 0, 1, 3])
        script = "\n".join([*calls, f"THEN ECHO {number} {chance.choice('aé漢') * (size // 3)}"])
        turn = client.agents.messages.create(agent.id, input=script, max_steps=8)
        assert turn.stop_reason.stop_reason in ("end_turn", "max_steps")
    every = stored(client, agent)
    said = [m.content for m in every if m.message_type == "user_message"]
    assert len(said) == 25
    calls_made = [m.tool_call.tool_call_id for m in every if m.message_type == "tool_call_message"]
    assert [m.tool_call_id for m in every if m.message_type == "tool_return_message"] == calls_made


@each_wire
def test_a_failing_summary_does_not_fail_the_turn(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    talk(client, agent, 6)
    scripted_model.fail_next(400, code="context_length_exceeded")
    scripted_model.fail_next(401)
    turn = client.agents.messages.create(agent.id, input="ECHO still here")
    assert turn.messages[0].content == "still here"  # type: ignore[union-attr]
    assert "earlier messages were left out" in shown(scripted_model.conversations[-1])
