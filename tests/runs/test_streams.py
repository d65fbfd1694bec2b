"""A turn as a stream: whole messages or tokens, its errors, and a client that goes away."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import httpx
import pytest
from letta_client import APIStatusError, AsyncLetta, ConflictError, Letta, NotFoundError

from runs.talking import (
    DONE,
    SEARCH,
    answered,
    behind,
    call,
    calling,
    followed,
    kept,
    kinds,
    last_number,
    last_run,
    read,
    say,
    streaming,
    whole,
)
from support.fixtures import NewAgent, NewBlock, each_provider
from support.scripted_model import ScriptedModel

pytestmark = pytest.mark.filterwarnings("ignore:deprecated")  # agents.messages.stream, since 1.12

END = ["stop_reason", "usage_statistics"]
ASKED = "CALL conversation_search {}\nTHEN ECHO one two three"


def joined(chunks: list[Any]) -> dict[str, str]:
    """Return the text, or the arguments, of each message that came in pieces, by its id."""
    texts: defaultdict[str, str] = defaultdict(str)
    for chunk in chunks:
        if chunk.message_type == "assistant_message":
            texts[chunk.id] += chunk.content
        elif chunk.message_type in ("tool_call_message", "approval_request_message"):
            texts[chunk.id] += chunk.tool_call.arguments or ""
    return dict(texts)


# -- what is streamed ----------------------------------------------------------------------------------------


@each_provider
def test_a_stream_of_whole_messages(client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    agent = new_agent(max_tokens=4000)  # without a limit pydantic-ai has Anthropic stream every answer
    with client.agents.messages.stream(agent.id, input=ASKED) as stream:
        chunks: list[Any] = list(stream)
    assert [chunk.message_type for chunk in chunks] == [
        *("ping", "tool_call_message", "tool_return_message", "assistant_message"),
        *END,
    ]
    stored = list(client.agents.messages.list(agent.id, order="asc"))[2:]
    assert [chunk.id for chunk in chunks[1:4]] == [message.id for message in stored]
    assert chunks[1].tool_call.arguments == stored[0].tool_call.arguments  # type: ignore[union-attr]
    assert chunks[2].tool_return == stored[1].tool_return  # type: ignore[union-attr]
    assert chunks[3].content == "one two three"
    assert {chunk.run_id for chunk in chunks[:4]} == {stored[0].run_id}
    assert (chunks[4].stop_reason, chunks[5].step_count, chunks[5].total_tokens) == ("end_turn", 2, 220)
    assert not scripted_model.requests[0].get("stream"), "the model need not stream for whole messages"


@each_provider
def test_a_stream_of_tokens_adds_up_to_what_is_stored(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    insertion = json.dumps({"label": block.label, "new_string": "a text that is cut into several pieces"})
    with client.agents.messages.stream(
        agent.id, input=f"CALL memory_insert {insertion}\nTHEN ECHO one two  three\n four", stream_tokens=True
    ) as stream:
        chunks: list[Any] = list(stream)
    called, said = list(client.agents.messages.list(agent.id, order="asc"))[2::2]
    texts = joined(chunks)
    assert texts == {called.id: insertion, said.id: "one two  three\n four"}
    pieces = [chunk for chunk in chunks if chunk.message_type == "tool_call_message"]
    assert len(pieces) > 3
    assert [piece.tool_call.name for piece in pieces if piece.tool_call.name] == ["memory_insert"]
    assert {piece.tool_call.tool_call_id for piece in pieces} == {called.tool_call.tool_call_id}  # type: ignore[union-attr]
    assert len([chunk for chunk in chunks if chunk.message_type == "assistant_message"]) > 3
    order = list(dict.fromkeys(chunk.message_type for chunk in chunks))
    assert order == ["ping", "tool_call_message", "tool_return_message", "assistant_message", *END]
    assert {chunk.otid for chunk in chunks if chunk.message_type == "assistant_message"} == {said.otid}


@each_provider
def test_several_calls_are_streamed_under_ids_of_their_own(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    calls = [call("conversation_search", json.dumps({"query": str(n)}), f"call_{n}") for n in range(3)]
    scripted_model.reply_next(calling(*calls, content="Let me look."))
    with client.agents.messages.stream(agent.id, input="hello", stream_tokens=True) as stream:
        chunks: list[Any] = list(stream)
    stored = {m.id: m for m in client.agents.messages.list(agent.id)}
    texts = joined(chunks)
    assert set(texts) <= set(stored)
    assert [text for text in texts.values() if text.startswith("{")] == [c["function"]["arguments"] for c in calls]
    returned = [chunk for chunk in chunks if chunk.message_type == "tool_return_message"]
    assert [each.tool_call_id for each in returned] == [c["id"] for c in calls]
    assert {each.id for each in returned} <= set(stored)


@each_provider
def test_reasoning_is_streamed_before_the_answer(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    scripted_model.reply_next({"content": "Seven.", "reasoning_content": "Three and four."})
    with client.agents.messages.stream(agent.id, input="hello") as stream:
        chunks: list[Any] = list(stream)
    assert [chunk.message_type for chunk in chunks] == ["ping", "reasoning_message", "assistant_message", *END]
    assert chunks[1].reasoning == "Three and four."
    stored = list(client.agents.messages.list(agent.id, order="asc"))[2:]
    assert [chunk.id for chunk in chunks[1:3]] == [message.id for message in stored]


async def test_the_asynchronous_client_streams_the_same(
    async_client: AsyncLetta, client: Letta, new_agent: NewAgent
) -> None:
    agent = new_agent()
    async with await async_client.agents.messages.stream(agent.id, input=ASKED, stream_tokens=True) as stream:
        chunks: list[Any] = [chunk async for chunk in stream]
    assert chunks[0].message_type == "ping"
    assert [chunk.message_type for chunk in chunks[-2:]] == END
    called, said = list(client.agents.messages.list(agent.id, order="asc"))[2::2]
    assert joined(chunks) == {called.id: "{}", said.id: "one two three"}


async def test_create_streams_when_told_to(client: Letta, async_client: AsyncLetta, new_agent: NewAgent) -> None:
    agent = new_agent()
    with client.agents.messages.create(agent.id, input="ECHO hello", streaming=True) as stream:
        chunks: list[Any] = list(stream)
    assert [chunk.message_type for chunk in chunks] == ["ping", "assistant_message", *END]
    async with await async_client.agents.messages.create(agent.id, input="ECHO hello", streaming=True) as again:
        chunks = [chunk async for chunk in again]
    assert [chunk.message_type for chunk in chunks] == ["ping", "assistant_message", *END]


@each_provider
@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
def test_every_stream_ends_with_done(http: httpx.Client, new_agent: NewAgent, tokens: bool) -> None:
    events = read(answered(http, new_agent().id, ASKED, stream_tokens=tokens))
    assert kinds(events)[-2:] == END
    numbers = [event["seq_id"] for event in events if "seq_id" in event]
    assert numbers == sorted(set(numbers)), "in order; what this reader is not shown has a number too"
    assert not any("seq_id" in event for event in events[-2:])


def test_pings_can_be_left_out(http: httpx.Client, new_agent: NewAgent) -> None:
    events = read(answered(http, new_agent().id, "ECHO hello", include_pings=False))
    assert kinds(events) == ["assistant_message", *END]
    assert events[0]["run_id"].startswith("run-")


def test_only_the_types_that_are_wanted_are_streamed(http: httpx.Client, new_agent: NewAgent) -> None:
    for tokens in (False, True):
        entries = answered(
            http,
            new_agent().id,
            ASKED,
            stream_tokens=tokens,
            include_return_message_types=["tool_return_message"],
        )
        assert kinds(read(entries)) == ["ping", "tool_return_message", *END]


@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
def test_the_first_event_comes_before_the_model_answers(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, tokens: bool
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held, streaming(http, agent.id, "ECHO late", stream_tokens=tokens) as reading:
        first = json.loads(reading.next())
        assert first["message_type"] == "ping"
        held.wait_for(1)
        run = last_run(http, agent.id)
        assert (run["id"], run["status"]) == (first["run_id"], "running")
        held.release()
        assert kinds(read(reading.rest()))[-2:] == END


@each_provider
def test_tokens_come_while_the_model_writes(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    with (
        scripted_model.hold(after=3) as held,
        streaming(http, new_agent().id, "ECHO one two three four", stream_tokens=True) as reading,
    ):
        _, one, two = read(reading.take(3))
        assert (one["content"], two["content"]) == ("one ", "two ")
        held.wait_for(1)
        held.release()
        assert "".join(event.get("content", "") for event in read(reading.rest())) == "three four"


# -- what goes wrong -----------------------------------------------------------------------------------------


def test_what_can_be_refused_is_refused_before_the_stream(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    with pytest.raises(NotFoundError):
        client.agents.messages.stream("agent-123e4567-e89b-42d3-8456-426614174999", input="hello")
    agent = new_agent(tool_rules=[{"type": "requires_approval", "tool_name": "conversation_search"}])
    with pytest.raises(APIStatusError) as empty:
        client.agents.messages.stream(agent.id, messages=[])
    assert empty.value.status_code == 422
    client.agents.messages.create(agent.id, input=SEARCH)
    with pytest.raises(ConflictError) as pending:
        client.agents.messages.stream(agent.id, input="hello")
    assert pending.value.body["detail"]["code"] == "PENDING_APPROVAL"  # type: ignore[index]


@each_provider
@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
def test_an_error_is_an_event_and_the_stream_has_an_end(
    http: httpx.Client, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, tokens: bool
) -> None:
    agent = new_agent()
    scripted_model.fail_next(400, message="no such luck")
    events = read(answered(http, agent.id, "lost", stream_tokens=tokens))
    assert kinds(events) == ["ping", "error_message", "stop_reason"]
    assert "no such luck" in events[1]["message"]
    assert events[1]["run_id"] == events[0]["run_id"]
    assert events[1]["error_type"]
    assert events[2]["stop_reason"] == "llm_api_error"
    run = client.runs.retrieve(events[0]["run_id"])
    assert (run.status, run.stop_reason) == ("failed", "llm_api_error")
    assert kinds(kept(http, agent.id)) == ["system_message"]
    assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"


def test_the_official_client_reads_an_error_in_a_stream(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    scripted_model.fail_next(400, message="no such luck")
    with client.agents.messages.stream(new_agent().id, input="lost") as stream:
        chunks: list[Any] = list(stream)
    assert [chunk.message_type for chunk in chunks] == ["ping", "error_message", "stop_reason"]
    assert "no such luck" in chunks[1].message


@each_provider
@pytest.mark.parametrize("told", [False, True], ids=["cut", "told"])
@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_a_model_that_breaks_off_leaves_no_half_message(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, pieces: int, told: bool
) -> None:
    agent = new_agent()
    (scripted_model.break_next if told else scripted_model.drop_next)(10, after=pieces)
    events = read(answered(http, agent.id, "ECHO one two three four", stream_tokens=True))
    scripted_model.reset()
    assert kinds(events)[-2:] == ["error_message", "stop_reason"]
    assert kinds(kept(http, agent.id)) == ["system_message"]
    assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"


@each_provider
def test_an_error_in_a_later_step_leaves_the_steps_before(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    scripted_model.reply_next(calling(call("conversation_search")))
    scripted_model.fail_next(400)
    events = read(answered(http, agent.id, "again"))
    assert kinds(events) == ["ping", "tool_call_message", "tool_return_message", "error_message", "stop_reason"]
    assert kinds(whole(http, agent.id))[-3:] == ["user_message", "tool_call_message", "tool_return_message"]
    assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"


# -- a client that goes away ---------------------------------------------------------------------------------


@each_provider
@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
def test_wherever_a_client_leaves_the_turn_goes_on_and_can_be_resumed(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, tokens: bool
) -> None:
    total = len(answered(http, new_agent().id, ASKED, stream_tokens=tokens))
    agent = new_agent()
    for leave_after in range(total):
        with streaming(http, agent.id, ASKED, stream_tokens=tokens) as reading:
            seen = reading.take(leave_after)
        run_id = last_run(http, agent.id)["id"]
        everything = followed(http, run_id)
        assert everything[:leave_after] == seen
        assert followed(http, run_id, last_number(seen)) == behind(everything, last_number(seen))
        assert len(everything) == total
        messages = whole(http, agent.id)
        assert kinds(messages[-4:]) == ["user_message", "tool_call_message", "tool_return_message", "assistant_message"]
        assert messages[-1]["content"] == "one two three"
        assert len(messages) == 1 + 4 * (leave_after + 1)


@each_provider
@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
@pytest.mark.parametrize("step", [1, 2])
def test_a_client_that_leaves_while_the_model_thinks_changes_nothing(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, tokens: bool, step: int
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held:
        with streaming(http, agent.id, ASKED, stream_tokens=tokens) as reading:
            first = reading.next()
            held.wait_for(1)
            if step == 2:
                held.release(1)
                while json.loads(reading.next())["message_type"] != "tool_return_message":
                    pass
                held.wait_for(2)
        held.release()
        run_id = json.loads(first)["run_id"]
        everything = followed(http, run_id)
    assert everything[: len(reading.seen)] == reading.seen
    assert everything[-1] == DONE
    assert kinds(whole(http, agent.id))[-1] == "assistant_message"
    assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"
    assert len(scripted_model.requests) == 3


def test_two_streams_of_one_conversation_come_one_after_the_other(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold(matching="first") as held, streaming(http, agent.id, "ECHO first") as first:
        first.next()
        held.wait_for(1)
        with streaming(http, agent.id, "ECHO second") as second:
            second.next()
            held.release()
            assert read(first.rest())[0]["content"] == "first"
            assert read(second.rest())[0]["content"] == "second"
    assert [m.get("content") for m in whole(http, agent.id)[1:]] == ["ECHO first", "first", "ECHO second", "second"]


@pytest.mark.parametrize("kind", ["memgpt_v2_agent"])
def test_send_message_is_streamed_as_what_the_agent_says(
    http: httpx.Client, client: Letta, model: str, kind: Any
) -> None:
    agent = client.agents.create(model=model, agent_type=kind)
    events = read(answered(http, agent.id, 'CALL send_message {"message": "Hello, you."}'))
    assert kinds(events) == ["ping", "assistant_message", *END]
    assert events[1]["content"] == "Hello, you."
