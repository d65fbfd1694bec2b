"""Conversations: threads of one agent, each with a history of its own, all with the agent's memory."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from letta_client import AsyncLetta, BadRequestError, ConflictError, Letta, NotFoundError
from letta_client.types.agents import LettaResponse

from chaos.moot import rows
from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, NewBlock, StartServer, one_store
from support.polling import until
from support.scripted_model import ScriptedModel


def say(client: Letta, conversation_id: str, text: str, **more: Any) -> Any:
    """Say something and return the whole turn, which the client would take for a stream."""
    return whole(client, conversation_id, input=text, **more)


def whole(client: Letta, conversation_id: str, **request: Any) -> LettaResponse:
    answer = client.conversations.messages.with_raw_response.create(conversation_id, streaming=False, **request)
    assert answer.headers["content-type"] == "application/json"
    return LettaResponse.model_validate_json(answer.text())


def said(client: Letta, conversation_id: str, **more: Any) -> list[Any]:
    """Return what was said, oldest first, without the system message."""
    found = client.conversations.messages.list(conversation_id, order="asc", **more).items
    return [m.content for m in found if m.message_type in ("user_message", "assistant_message")]


def memory_of(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"])


def insertion(label: str, text: str) -> str:
    return f"CALL memory_insert {json.dumps({'label': label, 'new_string': text})}"


def test_conversations_do_not_see_each_others_messages(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    one, two = (client.conversations.create(agent_id=agent.id, summary=name) for name in ("one", "two"))
    assert one.in_context_message_ids == []
    assert one.last_message_at is None
    say(client, one.id, "ECHO first")
    say(client, two.id, "ECHO second")
    client.agents.messages.create(agent.id, input="ECHO third")
    assert said(client, one.id) == ["ECHO first", "first"]
    assert said(client, two.id) == ["ECHO second", "second"]
    assert said(client, agent.id) == said(client, "default", agent_id=agent.id) == ["ECHO third", "third"]
    for request, text in zip(scripted_model.requests, ("first", "second", "third"), strict=True):
        assert [m["content"] for m in request["messages"] if m["role"] == "user"] == [f"ECHO {text}"]
    retrieved = client.conversations.retrieve(one.id)
    assert len(retrieved.in_context_message_ids or ()) == 3
    assert retrieved.last_message_at is not None


def test_messages_are_streamed_unless_the_request_says_otherwise(client: Letta, new_agent: NewAgent) -> None:
    conversation = client.conversations.create(agent_id=new_agent().id)
    with client.conversations.messages.with_streaming_response.create(conversation.id, input="ECHO hi") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    kinds = [json.loads(event)["message_type"] for event in events[:-1]]
    assert kinds == ["ping", "assistant_message", "stop_reason", "usage_statistics"]
    assert events[-1] == "[DONE]"
    assert say(client, conversation.id, "ECHO whole").messages[0].content == "whole"


async def test_two_conversations_take_turns_at_once_and_share_memory(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block(value="start")
    label = str(block.label)
    agent = new_agent(block_ids=[block.id])
    threads = [client.conversations.create(agent_id=agent.id).id for _ in range(2)]
    with scripted_model.hold() as held:
        turns = [
            asyncio.create_task(
                async_client.conversations.messages.create(
                    thread, input=insertion(label, f"by {place}"), streaming=False
                )
            )
            for place, thread in enumerate(threads)
        ]
        await asyncio.to_thread(held.wait_for, 2)
        held.release()
        await asyncio.gather(*turns)
    assert set(client.blocks.retrieve(block.id).value.splitlines()) == {"start", "by 0", "by 1"}
    say(client, threads[0], "ECHO look")
    assert "by 0" in memory_of(scripted_model.requests[-1])
    assert "by 1" in memory_of(scripted_model.requests[-1])


@one_store
def test_a_conversation_is_not_reached_by_way_of_another_agent(http: httpx.Client, new_agent: NewAgent) -> None:
    agent, other = new_agent(), new_agent()
    theirs = http.post("/v1/conversations", params={"agent_id": other.id}, json={"summary": "secret"}).json()["id"]
    for conversation in (theirs, other.id):
        for path, query in (
            (f"/v1/agents/{agent.id}/messages", {"conversation_id": conversation}),
            (f"/v1/agents/{agent.id}/export", {"conversation_id": conversation}),
            (f"/v1/conversations/{conversation}", {"agent_id": agent.id}),
            (f"/v1/conversations/{conversation}/messages", {"agent_id": agent.id}),
            (f"/agents/{agent.id}", {"conversation": conversation}),
        ):
            answer = http.get(path, params=query)
            assert (answer.status_code, "secret" in answer.text) == (404, False), (path, query)
    assert http.get(f"/v1/conversations/{theirs}", params={"agent_id": other.id}).json()["summary"] == "secret"


@one_store
def test_nothing_is_done_in_a_conversation_that_is_named_beside_another_agent(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent, other = new_agent(), new_agent()
    theirs = client.conversations.create(agent_id=other.id, summary="theirs").id
    say(client, theirs, "ECHO one")
    before = client.conversations.messages.list(theirs).items
    for conversation in (theirs, other.id):
        path = f"/v1/conversations/{conversation}"
        for method, where, body in (
            ("PATCH", "", {"summary": "mine"}),
            ("PATCH", "/reset-messages", {}),
            ("POST", "/fork", None),
            ("POST", "/cancel", None),
            ("DELETE", "", None),
        ):
            answer = http.request(method, path + where, params={"agent_id": agent.id}, json=body)
            assert (answer.status_code, "none of agent" in answer.text) == (404, True), (method, where)
        for where in ("/messages", "/messages/preview-raw-payload", "/stream", "/compact", "/recompile"):
            body = {"agent_id": agent.id, **({"input": "ECHO two"} if where.startswith("/messages") else {})}
            answer = http.post(path + where, json=body)
            assert (answer.status_code, "none of agent" in answer.text) == (404, True), where
    assert client.conversations.retrieve(theirs).summary == "theirs"
    assert client.conversations.messages.list(theirs).items == before
    assert [each.id for each in client.conversations.list(agent_id=other.id)] == [theirs]
    turn = whole(client, theirs, input="ECHO two", agent_id=other.id)
    assert turn.messages[0].content == "two", "its own agent may be named"


# -- blocks of their own ---------------------------------------------------------------------------------------


def isolate(http: httpx.Client, agent_id: str, *labels: str) -> Any:
    body = {"isolated_block_labels": list(labels)}
    return http.post("/v1/conversations/", params={"agent_id": agent_id}, json=body).raise_for_status().json()


def test_an_isolated_block_is_a_copy_that_only_its_conversation_sees_and_edits(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    shared, copied = new_block(value="for all"), new_block(value="before")
    agent = new_agent(block_ids=[shared.id, copied.id])
    apart = isolate(http, agent.id, str(copied.label))
    (own,) = apart["isolated_block_ids"]
    say(client, apart["id"], insertion(str(copied.label), "only here"))
    say(client, apart["id"], insertion(str(shared.label), "seen by all"))
    client.agents.messages.create(agent.id, input=insertion(str(copied.label), "only there"))
    assert client.blocks.retrieve(own).value == "before\nonly here"
    assert client.blocks.retrieve(copied.id).value == "before\nonly there"
    say(client, apart["id"], "look")
    shown = memory_of(scripted_model.requests[-1])
    assert "only here" in shown
    assert "seen by all" in shown
    assert "only there" not in shown
    assert shown.count(f'label="{copied.label}"') == 1


def test_isolating_a_block_that_the_agent_does_not_have_is_404_and_makes_nothing(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    answer = http.post("/v1/conversations/", params={"agent_id": agent.id}, json={"isolated_block_labels": ["nothing"]})
    assert (answer.status_code, "'nothing'" in answer.json()["detail"]) == (404, True)
    assert client.conversations.list(agent_id=agent.id) == []


def test_an_isolated_block_cannot_be_deleted_by_a_tool_and_the_turn_goes_on(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="x")
    agent = new_agent(block_ids=[block.id], tools=["memory"])
    apart = isolate(http, agent.id, str(block.label))
    turn = say(client, apart["id"], f'CALL memory {{"command": "delete", "path": "/memories/{block.label}"}}')
    returned = next(m for m in turn.messages if m.message_type == "tool_return_message")
    assert (returned.status, turn.stop_reason.stop_reason) == ("error", "end_turn")
    assert client.blocks.retrieve(block.id).value == "x"


@pytest.mark.parametrize("whole_agent", [False, True], ids=["conversation", "agent"])
def test_deleting_takes_the_messages_and_the_copies_along(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock, whole_agent: bool
) -> None:
    block = new_block(value="kept")
    agent = new_agent(block_ids=[block.id])
    apart = isolate(http, agent.id, str(block.label))
    say(client, apart["id"], "ECHO kumquat")
    if whole_agent:
        client.agents.delete(agent.id)
    else:
        client.conversations.delete(apart["id"])
        client.agents.retrieve(agent.id)
    assert client.blocks.retrieve(block.id).value == "kept"
    for gone in (f"/v1/blocks/{apart['isolated_block_ids'][0]}", f"/v1/conversations/{apart['id']}"):
        assert http.get(gone).status_code == 404
    found = http.post("/v1/messages/search", json={"query": "kumquat", "conversation_id": apart["id"]}).json()
    assert found == []


# -- lists, changes, forks -------------------------------------------------------------------------------------


def test_lists_page_filter_and_leave_out_what_is_archived(client: Letta, new_agent: NewAgent) -> None:
    agent, other = new_agent(), new_agent()
    made = [client.conversations.create(agent_id=agent.id, summary=f"about {n}").id for n in range(5)]
    client.conversations.create(agent_id=other.id)

    def ids(**more: Any) -> list[str]:
        return [each.id for each in client.conversations.list(agent_id=agent.id, **more)]

    assert ids() == made[::-1]
    assert ids(order="asc", limit=2) == made[:2]
    assert ids(order="asc", limit=2, after=made[1]) == made[2:4]
    assert ids(summary_search="ABOUT 3") == [made[3]]
    say(client, made[1], "hello")
    assert ids(order_by="last_message_at")[0] == made[1]
    client.conversations.update(made[0], archived=True)
    assert ids() == made[:0:-1]
    assert ids(archive_status="archived") == [made[0]]
    assert ids(archive_status="all") == made[::-1]
    assert [each.agent_id for each in client.conversations.list(agent_id=other.id)] == [other.id]


def test_a_conversation_has_a_model_and_settings_of_its_own(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    conversation = client.conversations.create(agent_id=agent.id, model="openai/gpt-4.1")
    say(client, conversation.id, "hello")
    settings: Any = {"provider_type": "openai", "temperature": 0.25}
    changed = client.conversations.update(conversation.id, model="openai/gpt-4o", model_settings=settings, summary="s")
    assert (changed.model, changed.summary) == ("openai/gpt-4o", "s")
    say(client, conversation.id, "hello")
    client.agents.messages.create(agent.id, input="hello")
    assert [request["model"] for request in scripted_model.requests] == ["gpt-4.1", "gpt-4o", "gpt-4o-mini"]
    assert scripted_model.requests[1]["temperature"] == 0.25
    with pytest.raises(NotFoundError):
        client.conversations.update(conversation.id, model="nobody/nothing")


@pytest.mark.parametrize("bad", [r'"\ud800"', '"a\\u0000b"', f'"{"x" * 100_001}"'], ids=["half", "NUL", "too long"])
def test_settings_that_could_not_be_shown_again_are_refused(
    client: Letta, http: httpx.Client, new_agent: NewAgent, bad: str
) -> None:
    agent = new_agent()
    conversation = client.conversations.create(agent_id=agent.id)
    body = f'{{"model_settings": {{"provider_type": "openai", "extra": [{bad}]}}}}'
    headers = {"content-type": "application/json"}
    refused = http.patch(f"/v1/conversations/{conversation.id}", content=body, headers=headers)
    assert (refused.status_code, "model_settings" in refused.json()["detail"]) == (422, True), refused.text
    assert [one.model_settings for one in client.conversations.list(agent_id=agent.id)] == [None]


def test_a_fork_has_the_history_up_to_a_message_and_leaves_the_source_alone(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    source = client.conversations.create(agent_id=agent.id)
    say(client, source.id, "ECHO one")
    say(client, source.id, "CALL conversation_search {}\nTHEN ECHO two")
    before = client.conversations.messages.list(source.id, order="asc").items
    entire = client.conversations.fork(source.id)
    until_call = client.conversations.fork(
        source.id, message_id=next(m.id for m in before if m.message_type == "tool_call_message")
    )
    until_word = client.conversations.fork(source.id, message_id=before[1].id)
    say(client, entire.id, "ECHO three")
    assert said(client, entire.id)[-3:] == ["two", "ECHO three", "three"]
    kinds = [m.message_type for m in client.conversations.messages.list(until_call.id, order="asc").items]
    assert kinds[-2:] == ["tool_call_message", "tool_return_message"]
    assert said(client, until_word.id) == ["ECHO one"]
    after = client.conversations.messages.list(source.id, order="asc").items
    assert [m.id for m in after] == [m.id for m in before]
    second = before[3]
    again = http.post(f"/v1/conversations/{source.id}/fork", params={"before_message_id": second.id}).json()["id"]
    assert said(client, again) == ["ECHO one", "one"]
    first = http.post(f"/v1/conversations/{source.id}/fork", params={"before_message_id": before[1].id}).json()["id"]
    assert said(client, first) == []
    for refused, why in (
        ({"before_message_id": before[2].id}, "is part of a reply"),
        ({"before_message_id": second.id, "message_id": second.id}, "name this or message_id, not both"),
        ({"before_message_id": "message-00000000-0000-4000-8000-000000000000"}, "is not in the conversation's context"),
    ):
        answer = http.post(f"/v1/conversations/{source.id}/fork", params=refused)
        assert (answer.status_code, why in answer.json()["detail"]) == (400, True)
    run_id = before[1].run_id
    assert len(http.get(f"/v1/runs/{run_id}/messages").json()) == 2
    sent = [m["content"] for m in scripted_model.requests[-1]["messages"] if m["role"] == "user"]
    assert sent == ["ECHO one", "CALL conversation_search {}\nTHEN ECHO two", "ECHO three"]
    main = client.conversations.fork("default", agent_id=agent.id)
    assert said(client, main.id) == []
    with pytest.raises(BadRequestError, match="message_id"):
        client.conversations.fork(source.id, message_id="message-00000000-0000-4000-8000-000000000000")


def test_a_fork_copies_isolated_blocks(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="zero")
    agent = new_agent(block_ids=[block.id])
    apart = isolate(http, agent.id, str(block.label))
    forked = http.post(f"/v1/conversations/{apart['id']}/fork").json()
    say(client, apart["id"], insertion(str(block.label), "in the first"))
    assert client.blocks.retrieve(forked["isolated_block_ids"][0]).value == "zero"


# -- runs, approvals, names ------------------------------------------------------------------------------------


async def test_a_run_is_followed_and_cancelled_by_its_conversation(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    conversation, other = (client.conversations.create(agent_id=agent.id).id for _ in range(2))
    with scripted_model.hold() as held:
        begun = await async_client.conversations.messages.create(conversation, input="ECHO late", background=True)
        await asyncio.to_thread(held.wait_for, 1)
        assert client.conversations.cancel(other) == {}
        begins = asyncio.Event()
        following = asyncio.create_task(_events(async_client, conversation, begins))
        await begins.wait()
        held.release()
        kinds = [event["message_type"] for event in await following]
    await begun.close()  # type: ignore[attr-defined]
    assert kinds == ["ping", "assistant_message", "stop_reason", "usage_statistics"]
    with scripted_model.hold() as held:
        begun = await async_client.conversations.messages.create(conversation, input="never", background=True)
        await asyncio.to_thread(held.wait_for, 1)
        assert list((await async_client.conversations.cancel(conversation)).values()) == ["cancelled"]
    await begun.close()  # type: ignore[attr-defined]
    assert said(client, conversation) == ["ECHO late", "late"]
    assert say(client, conversation, "ECHO on").messages[0].content == "on"
    with pytest.raises(BadRequestError, match="run_id"):
        client.conversations.messages.stream(conversation)


async def _events(client: AsyncLetta, conversation: str, begins: asyncio.Event) -> list[dict[str, Any]]:
    async with client.conversations.messages.with_streaming_response.stream(conversation) as answer:
        begins.set()
        lines = [line async for line in answer.iter_lines()]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(event) for event in data if event != "[DONE]"]


def test_an_approval_waits_in_its_own_conversation_only(client: Letta, new_agent: NewAgent) -> None:
    rules: Any = [{"type": "requires_approval", "tool_name": "conversation_search"}]
    agent = new_agent(tool_rules=rules)
    waits, goes_on = (client.conversations.create(agent_id=agent.id).id for _ in range(2))
    turn = say(client, waits, "CALL conversation_search {}")
    assert turn.stop_reason.stop_reason == "requires_approval"
    with pytest.raises(ConflictError):
        say(client, waits, "hello?")
    assert say(client, goes_on, "ECHO yes").messages[0].content == "yes"
    call = turn.messages[-1].tool_call.tool_call_id
    approval: Any = {"type": "approval", "approvals": [{"type": "approval", "tool_call_id": call, "approve": True}]}
    done = whole(client, waits, messages=[approval])
    assert done.stop_reason.stop_reason == "end_turn"


def test_recompile_returns_the_system_text_with_the_memory_of_the_conversation(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="the text")
    agent = new_agent(block_ids=[block.id], system="Be brief.")
    apart = isolate(http, agent.id, str(block.label))
    client.blocks.update(block.id, value="another text")
    own, agents = (
        json.loads(text) for text in (client.conversations.recompile(apart["id"]), client.agents.recompile(agent.id))
    )
    assert own.startswith("Be brief.")
    assert ("the text" in own, "another text" in own) == (True, False)
    assert "another text" in agents
    assert (
        json.loads(client.conversations.recompile("default", agent_id=agent.id)).split("<block")[1:]
        == agents.split("<block")[1:]
    )


def test_names_that_mean_nothing_are_refused(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    unknown = "conv-00000000-0000-4000-8000-000000000000"
    for call in (client.conversations.retrieve, client.conversations.delete, client.conversations.fork):
        with pytest.raises(NotFoundError):
            call(unknown)
    assert http.post("/v1/conversations/default/messages", json={"input": "x"}).status_code == 400
    assert http.get("/v1/conversations/nonsense").status_code == 422
    with pytest.raises(BadRequestError, match="main conversation"):
        client.conversations.delete(agent.id)
    with pytest.raises(NotFoundError):
        client.conversations.create(agent_id="agent-00000000-0000-4000-8000-000000000000")


def test_a_conversation_begins_with_a_system_message_that_names_agent_and_conversation(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(system="Be brief.")
    conversation = client.conversations.create(agent_id=agent.id)
    for where, name in ((conversation.id, conversation.id), (agent.id, "default")):
        (first,) = client.conversations.messages.list(where).items
        assert first.message_type == "system_message"
        assert first.content.startswith("Be brief.")
        section = first.content.partition("<memory_metadata>")[2]
        assert f"agent_id: {agent.id}\n" in section
        assert f"conversation_id: {name}\n" in section
        assert client.conversations.retrieve(where).in_context_message_ids == [first.id]
    say(client, conversation.id, "ECHO hello")
    assert f"conversation_id: {conversation.id}\n" in memory_of(scripted_model.requests[-1])


def test_recompile_renews_the_system_message_unless_it_is_a_dry_run(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent(system="Be brief.")
    conversation = client.conversations.create(agent_id=agent.id)

    def shown(where: str) -> str:
        (first,) = client.conversations.messages.list(where).items
        return str(first.content)  # type: ignore[union-attr]

    client.agents.update(agent.id, system="Be kind.")
    assert shown(agent.id).startswith("Be kind."), "the main conversation's is renewed at once"
    text = http.post(f"/v1/conversations/{conversation.id}/recompile", params={"dry_run": True}).json()
    assert (text.startswith("Be kind."), shown(conversation.id).startswith("Be brief.")) == (True, True)
    client.conversations.recompile(conversation.id)
    assert shown(conversation.id).startswith("Be kind.")
    assert conversation.id in shown(conversation.id)


def test_a_fork_shares_the_ids_of_the_messages_that_it_shares(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    one = client.conversations.create(agent_id=agent.id)
    say(client, one.id, "ECHO quincunx")
    forked = client.conversations.fork(one.id)
    mine, theirs = (
        [m.id for m in client.conversations.messages.list(each.id, order="asc").items] for each in (one, forked)
    )
    assert mine[1:] == theirs[1:]
    assert mine[0] != theirs[0], "each has a system message of its own"
    say(client, forked.id, "ECHO and on")
    assert len(client.conversations.messages.list(one.id).items) == 3
    found = http.post("/v1/messages/search", json={"query": "quincunx", "agent_id": agent.id}).json()
    assert [each["message_id"] for each in found] == mine[:0:-1], "each once"
    in_fork = {"query": "quincunx", "conversation_id": forked.id}
    assert len(http.post("/v1/messages/search", json=in_fork).json()) == 2
    every = [m["id"] for m in http.get("/v1/messages", params={"limit": 1000}).json()]
    assert [every.count(each) for each in mine] == [1, 1, 1]
    client.conversations.delete(one.id)
    assert len(http.post("/v1/messages/search", json={"query": "quincunx", "agent_id": agent.id}).json()) == 2
    assert http.get(f"/v1/messages/{mine[1]}").status_code == 200


def test_default_is_the_main_conversation_wherever_one_is_named(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    client.agents.messages.create(agent.id, input="ECHO heliotrope")
    apart = client.conversations.create(agent_id=agent.id)
    say(client, apart.id, "ECHO heliotrope")
    of_agent = {"agent_id": agent.id}
    here = {"conversation_id": "default"}

    def ids(path: str, **query: Any) -> list[str]:
        return [each["id"] for each in http.get(path, params=query).json()]

    main = ids(f"/v1/agents/{agent.id}/messages", order="asc", **here)
    assert len(main) == 3
    assert ids("/v1/conversations/default/messages", order="asc", **of_agent) == main
    assert set(main) <= set(ids("/v1/messages", limit=1000, **here))
    assert len(ids("/v1/runs", **of_agent)) == 2
    assert len(ids("/v1/runs", **here, **of_agent)) == 1
    found = http.post("/v1/messages/search", json={"query": "heliotrope", **here, **of_agent}).json()
    assert sorted(each["message_id"] for each in found) == sorted(main[1:])
    assert http.get(f"/v1/agents/{agent.id}/context", params=here).status_code == 200
    renamed = http.patch("/v1/conversations/default", params=of_agent, json={"summary": "the main one"})
    assert (renamed.status_code, renamed.json()["id"]) == (200, agent.id)
    assert "lasts as long" in http.delete("/v1/conversations/default", params=of_agent).json()["detail"]


def test_a_stream_of_a_conversation_at_rest_is_refused_in_known_words(http: httpx.Client, new_agent: NewAgent) -> None:
    answer = http.post("/v1/conversations/default/stream", json={"agent_id": new_agent().id})
    assert (answer.status_code, "No active runs found" in answer.json()["detail"]) == (400, True)


def test_conversations_are_ordered_by_their_last_run(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    ids = [client.conversations.create(agent_id=agent.id).id for _ in range(3)]
    for each in (ids[2], ids[0]):
        say(client, each, "ECHO hello")
    query = {"agent_id": agent.id, "order_by": "last_run_completion", "limit": 2}
    first = [each["id"] for each in http.get("/v1/conversations", params=query).json()]
    assert first == [ids[0], ids[2]]
    client.conversations.delete(ids[2])
    rest = http.get("/v1/conversations", params={**query, "after": ids[2]}).json()
    assert [each["id"] for each in rest] == [ids[1]]


@one_store
def test_a_reset_leaves_the_system_message_in_context(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    thread = http.post("/v1/conversations", params={"agent_id": agent.id}, json={}).json()["id"]
    path = f"/v1/conversations/{thread}"
    http.post(f"{path}/messages", json={"input": "ECHO hello", "streaming": False}).raise_for_status()
    assert len(http.get(f"{path}/messages").json()) == 3
    for body, left in (({}, 3), ({"delete_messages": True}, 1)):
        reset = http.patch(f"{path}/reset-messages", json=body).raise_for_status().json()
        assert (reset["id"], len(reset["in_context_message_ids"])) == (thread, 1)
        assert len(http.get(f"{path}/messages").json()) == left
    assert len(http.get(f"/v1/conversations/{agent.id}/messages").json()) == 1, "the agent's own thread is another one"


def test_an_agent_s_messages_are_those_of_all_its_conversations_by_time(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    client.agents.messages.create(agent.id, input="ECHO one")
    thread = client.conversations.create(agent_id=agent.id)
    say(client, thread.id, "ECHO two")
    http.post(f"/v1/conversations/{thread.id}/fork").raise_for_status()
    client.agents.messages.create(agent.id, input="ECHO three")
    http.post("/v1/conversations/ephemeral", json={"agent_id": agent.id}).raise_for_status()

    def listed(**query: Any) -> list[tuple[str, str]]:
        page = client.agents.messages.list(agent.id, **query)
        return [(each.id, str(getattr(each, "content", ""))) for each in page if each.message_type != "system_message"]

    everything = listed(order="asc")
    assert [text for _, text in everything] == ["ECHO one", "one", "ECHO two", "two", "ECHO three", "three"]
    assert listed(order="asc", limit=2) == everything, "page after page"
    assert listed(order="desc", limit=3) == everything[::-1]
    after = everything[1][0]
    assert listed(order="asc", after=after) == everything[2:]
    assert listed(order="asc", before=after) == everything[:1]
    assert listed(order="asc", include_return_message_types=["assistant_message"]) == everything[1::2]
    assert listed(order="asc", conversation_id=thread.id) == everything[2:4]
    assert listed(order="asc", conversation_id="default") == [*everything[:2], *everything[4:]]


def test_an_ephemeral_conversation_goes_with_its_agent_when_its_time_is_over(
    start_server: StartServer, database_url: str, scripted_model: ScriptedModel
) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        asked = {"model": MODEL, "system": "Be brief.", "model_settings": {"temperature": 0.5}}
        begun = http.post("/v1/conversations/ephemeral", json=asked).raise_for_status().json()
        turn = {"input": "ECHO hello", "streaming": False}
        answer = http.post(f"/v1/conversations/{begun['id']}/messages", json=turn).raise_for_status().json()
        assert [each["content"] for each in answer["messages"]] == ["hello"]
        sent = scripted_model.requests[-1]
        assert ("Be brief." in json.dumps(sent["messages"]), sent["temperature"], sent.get("tools")) == (
            True,
            0.5,
            None,
        )
        agent = http.get(f"/v1/agents/{begun['agent_id']}").json()
        assert (agent["hidden"], agent["tools"], agent["blocks"]) == (True, [], [])
        assert http.get("/v1/conversations").json() == []
        assert (http.get("/v1/agents").json(), http.get("/v1/agents/count").json()) == ([], 0)
        own = http.post("/v1/agents", json={"model": MODEL, "hidden": True}).json()["id"]
        http.post("/v1/conversations", params={"agent_id": own}, json={"hidden": True}).raise_for_status()
        http.patch(f"/v1/conversations/{begun['id']}", json={"hidden": False}).raise_for_status()
        assert [each["id"] for each in http.get("/v1/agents").json()] == [own], "whatever conversations hide"
        assert agent["id"] not in http.get("/agents").text + http.get("/").text
        (job,) = http.get("/v1/jobs", params={"source_id": agent["id"]}).json()
        assert (job["kind"], job["subject_id"]) == ("delete_ephemeral", agent["id"])
        asyncio.run(rows(database_url, "UPDATE jobs SET due_at = 1"))
        until(lambda: http.get(f"/v1/agents/{agent['id']}").status_code == 404)
        assert http.get(f"/v1/conversations/{begun['id']}").status_code == 404
        until(lambda: http.get(f"/v1/jobs/{job['id']}").json()["status"] == "completed")
