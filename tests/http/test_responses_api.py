"""OpenAI's Responses API, spoken by the `openai` package: an agent in the place of a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from letta_client import Letta
from openai.types.responses import Response

from support.fixtures import NewAgent
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

LOOK_UP = {
    "type": "function",
    "name": "look_up",
    "description": "Look up a word.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    "strict": False,
}


@pytest.fixture
def api(server: ServerProcess) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, led to the server."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def said(client: Letta, conversation_id: str) -> list[tuple[str, Any]]:
    return [
        (m.message_type.removesuffix("_message"), m.content)
        for m in client.conversations.messages.list(conversation_id, order="asc")
        if m.message_type in ("user_message", "assistant_message", "system_message")
    ][1:]


def strictly(shown: Any) -> Any:
    """Validate a model of OpenAI's package as its types say, which the package itself does not."""
    return type(shown).model_validate(shown.model_dump(mode="json"), strict=False)


def place_of(response: Response) -> str:
    assert response.conversation is not None
    return response.conversation.id


def test_a_response_and_the_next_ones_behind_it(api: openai.OpenAI, client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    first = api.responses.create(model=agent.id, input="ECHO one", metadata={"case": "7"})
    strictly(first)
    assert (first.output_text, first.status, first.model) == ("one", "completed", agent.id)
    assert first.usage is not None
    assert (first.usage.input_tokens, first.usage.output_tokens, first.usage.total_tokens) == (100, 10, 110)
    second = api.responses.create(model=agent.id, input="ECHO two", previous_response_id=first.id)
    assert place_of(second) == place_of(first) != agent.id
    third = api.responses.create(model=agent.id, input="ECHO three", conversation=place_of(first))
    assert place_of(third) == place_of(first)
    assert [text for _, text in said(client, place_of(first))] == [
        "ECHO one", "one", "ECHO two", "two", "ECHO three", "three",
    ]  # fmt: skip
    again = api.responses.retrieve(first.id)
    assert again.output == first.output
    assert (again.metadata, again.usage, again.previous_response_id) == ({"case": "7"}, first.usage, None)
    other = api.responses.create(model=agent.id, input="ECHO four")
    assert place_of(other) not in (agent.id, place_of(first))
    main = api.responses.create(model=agent.id, input="ECHO five", conversation="default")
    assert place_of(main) == agent.id


def test_behind_a_response_that_was_followed_already_the_conversation_is_forked(
    api: openai.OpenAI, client: Letta, new_agent: NewAgent
) -> None:
    agent = new_agent()
    first = api.responses.create(model=agent.id, input="ECHO one")
    second = api.responses.create(model=agent.id, input="ECHO two", previous_response_id=first.id)
    branch = api.responses.create(model=agent.id, input="ECHO other", previous_response_id=first.id)
    assert place_of(branch) != place_of(second)
    assert [text for _, text in said(client, place_of(branch))] == ["ECHO one", "one", "ECHO other", "other"]
    assert [text for _, text in said(client, place_of(first))] == ["ECHO one", "one", "ECHO two", "two"]


def test_a_stream_and_reading_it_again(api: openai.OpenAI, new_agent: NewAgent) -> None:
    agent = new_agent()
    script = 'CALL conversation_search {"query": "x"}\nTHEN ECHO found nothing'
    events = [strictly(event) for event in api.responses.create(model=agent.id, input=script, stream=True)]
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "found nothing"
    assert len(deltas) > 1
    response = events[-1].response
    assert [item.type for item in response.output] == ["mcp_call", "message"]
    call = response.output[0]
    assert (call.name, json.loads(call.arguments), call.status) == ("conversation_search", {"query": "x"}, "completed")
    assert call.output
    for kind in ("response.mcp_call.in_progress", "response.mcp_call_arguments.done", "response.mcp_call.completed"):
        assert kinds.count(kind) == 1, kind
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == response.output
    rest = list(api.responses.retrieve(response.id, stream=True, starting_after=4))
    assert [event.type for event in rest] == kinds[5:]
    assert rest[:-1] == events[5:-1]
    whole = api.responses.retrieve(response.id)
    assert (whole.output, whole.usage, whole.status) == (response.output, response.usage, "completed")


def test_thoughts_are_shown_as_a_summary_too(api: openai.OpenAI, new_agent: NewAgent) -> None:
    events = list(api.responses.create(model=new_agent().id, input="THINK a long while\nECHO so it is", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for kind in ("reasoning_text", "reasoning_summary_text"):
        deltas = [event.delta for event in events if event.type == f"response.{kind}.delta"]  # type: ignore[union-attr]
        assert "".join(deltas) == "a long while"
    for kind in ("reasoning_summary_part.added", "reasoning_summary_text.done", "reasoning_summary_part.done"):
        assert [event.type for event in events].count(f"response.{kind}") == 1, kind  # type: ignore[comparison-overlap]
    response = events[-1].response  # type: ignore[union-attr]
    thought = response.output[0]
    assert thought.type == "reasoning"
    assert [part.text for part in (*thought.summary, *(thought.content or ()))] == ["a long while"] * 2
    assert api.responses.retrieve(response.id).output == response.output


@pytest.mark.parametrize("stream", [False, True])
def test_functions_of_the_caller(
    api: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel, stream: bool
) -> None:
    agent = new_agent()

    def ask(**request: Any) -> Response:
        answer: Any = api.responses.create(model=agent.id, tools=[LOOK_UP], stream=stream, **request)
        return list(answer)[-1].response if stream else answer

    asked = ask(input='CALL look_up {"word": "moot"}')
    (call,) = asked.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), asked.status) == ("look_up", {"word": "moot"}, "completed")
    with pytest.raises(openai.ConflictError, match="waiting for approval"):
        ask(input="hello", previous_response_id=asked.id)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "a meeting"}
    with pytest.raises(openai.BadRequestError, match="which conversation's"):
        ask(input=[{**result, "call_id": "call_of_nobody"}])
    answered = ask(input=[result], previous_response_id=asked.id)
    assert "a meeting" in json.dumps(scripted_model.requests[-1]["messages"])
    assert place_of(answered) == place_of(asked)
    assert [item.type for item in answered.output] == ["message"]


def test_a_caller_that_leaves_out_the_ids_of_calls(api: openai.OpenAI, new_agent: NewAgent) -> None:
    """The Vercel AI SDK does, and sends all that was said with each request."""
    agent = new_agent()
    talk: list[Any] = [{"role": "user", "content": 'CALL look_up {"word": "a"}\nTHEN CALL look_up {"word": "b"}'}]
    asked = first = api.responses.create(model=agent.id, tools=[LOOK_UP], input=talk)
    for result in ("the first letter", "the second"):
        (call,) = asked.output
        assert call.type == "function_call"
        talk.append({"type": "function_call", "call_id": call.call_id, "name": "look_up", "arguments": call.arguments})
        talk.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
        asked = api.responses.create(model=agent.id, tools=[LOOK_UP], input=talk)
        assert place_of(asked) == place_of(first)
    assert asked.output_text == "done"
    talk += [
        {"type": "item_reference", "id": asked.output[0].id},
        {"role": "user", "content": 'CALL look_up {"word": "c"}\nTHEN ECHO all three'},
    ]
    (call,) = api.responses.create(model=agent.id, tools=[LOOK_UP], input=talk).output
    assert call.type == "function_call"
    talk.append({"type": "function_call", "call_id": call.call_id, "name": "look_up", "arguments": call.arguments})
    talk.append({"type": "function_call_output", "call_id": call.call_id, "output": "the third"})
    last = api.responses.create(model=agent.id, tools=[LOOK_UP], input=talk)
    assert (place_of(last), last.output_text) == (place_of(first), "all three")
    with pytest.raises(openai.BadRequestError, match="which conversation's"):
        api.responses.create(model=new_agent().id, tools=[LOOK_UP], input=talk[-2:])


def test_calls_without_ids_that_were_answered_long_ago_are_history(
    api: openai.OpenAI, client: Letta, new_agent: NewAgent
) -> None:
    """Pydantic AI sends what was said without any ids."""
    talk: list[Any] = [
        {"role": "user", "content": "What is a moot?"},
        {"type": "function_call", "call_id": "call_of_old", "name": "look_up", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_of_old", "output": "a meeting"},
        {"role": "assistant", "content": "A meeting."},
        {"role": "user", "content": "ECHO more"},
    ]
    told = api.responses.create(model=new_agent().id, tools=[LOOK_UP], input=talk)
    assert said(client, place_of(told)) == [
        ("user", "What is a moot?"), ("assistant", "A meeting."), ("user", "ECHO more"), ("assistant", "more"),
    ]  # fmt: skip


def test_a_caller_that_keeps_what_was_said_itself(api: openai.OpenAI, client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    talk: list[Any] = [{"role": "user", "content": 'CALL look_up {"word": "moot"}\nTHEN ECHO done'}]
    asked = api.responses.create(model=agent.id, tools=[LOOK_UP], input=talk, store=False)
    talk += [*asked.output, {"type": "function_call_output", "call_id": asked.output[0].call_id, "output": "a meeting"}]
    answered = api.responses.create(model=agent.id, tools=[LOOK_UP], input=talk, store=False)
    assert place_of(answered) == place_of(asked)
    talk += [*answered.output, {"role": "user", "content": "ECHO more"}]
    last = api.responses.create(model=agent.id, tools=[LOOK_UP], input=talk, store=False)
    assert (place_of(last), last.output_text) == (place_of(asked), "more")
    assert [text for who, text in said(client, place_of(asked)) if who == "user"] == [talk[0]["content"], "ECHO more"]
    with pytest.raises(openai.NotFoundError):
        api.responses.retrieve(last.id)
    elsewhere = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}, talk[-1]]
    told = api.responses.create(model=agent.id, input=elsewhere)
    assert said(client, place_of(told)) == [
        ("user", "Hi."), ("assistant", "Hello."), ("user", "ECHO more"), ("assistant", "more"),
    ]  # fmt: skip
    assert told.output_text == "more"


@pytest.mark.parametrize("approve", [True, False])
def test_a_call_that_the_caller_decides_about(api: openai.OpenAI, new_agent: NewAgent, approve: bool) -> None:
    agent = new_agent(tool_rules=[{"type": "requires_approval", "tool_name": "conversation_search"}])
    script = 'CALL conversation_search {"query": "x"}\nTHEN ECHO done'
    asked = api.responses.create(model=agent.id, input=script)
    (request,) = asked.output
    assert request.type == "mcp_approval_request"
    assert (request.name, json.loads(request.arguments)) == ("conversation_search", {"query": "x"})
    decision = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": approve}
    answered = api.responses.create(model=agent.id, input=[decision], previous_response_id=asked.id)  # type: ignore[list-item]
    assert answered.output_text == "done"
    calls = [item for item in answered.output if item.type == "mcp_call"]
    assert [(call.name, call.approval_request_id) for call in calls] == (
        [("conversation_search", request.id)] if approve else []
    )


def test_in_the_background_cancelled_and_deleted(
    api: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held:
        begun = api.responses.create(model=agent.id, input="ECHO hi", background=True)
        assert (begun.status, begun.output) == ("queued", [])
        held.wait_for(1)
        assert api.responses.retrieve(begun.id).status == "in_progress"
        stream = api.responses.retrieve(begun.id, stream=True)
        assert next(iter(stream)).type == "response.created"
        assert api.responses.cancel(begun.id).status == "cancelled"
        last = list(stream)[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")  # type: ignore[union-attr]
    assert api.responses.cancel(begun.id).status == "cancelled"
    api.responses.delete(begun.id)
    with pytest.raises(openai.NotFoundError):
        api.responses.retrieve(begun.id)


def test_what_was_said(api: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    agent = new_agent()
    items: list[Any] = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "ECHO hi"}]},
    ]
    response = api.responses.create(model=agent.id, input=items, instructions="Speak of nothing else.")
    sent = scripted_model.requests[-1]["messages"]
    told = "\n".join(message["content"] for message in sent if message["role"] == "system")
    assert "Speak of nothing else." in told
    assert agent.system in told
    api.responses.create(model=agent.id, input="ECHO ho", previous_response_id=response.id)
    assert "Speak of nothing else." not in json.dumps(scripted_model.requests[-1]["messages"])
    listed = api.responses.input_items.list(response.id, order="asc")
    assert [(item.role, item.content[0].text) for item in listed] == [("system", "Be kind."), ("user", "ECHO hi")]  # type: ignore[union-attr]


def test_a_model_that_fails(api: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    agent = new_agent()
    scripted_model.fail_next(400, times=2)
    *_, last = api.responses.create(model=agent.id, input="ECHO hi", stream=True)
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert (last.response.status, last.response.error.code) == ("failed", "server_error")
    assert api.responses.retrieve(last.response.id).status == "failed"
    with pytest.raises(openai.APIStatusError) as caught:
        api.responses.create(model=agent.id, input="ECHO hi")
    assert caught.value.status_code >= 500
    assert caught.value.message


def test_sessions_choose_conversations(
    api: openai.OpenAI, client: Letta, new_agent: NewAgent, server: ServerProcess
) -> None:
    agent = new_agent()
    messages: Any = [{"role": "user", "content": "ECHO hi"}]
    for name, session in (("X-Session-Id", "a"), ("X-OpenWebUI-Chat-Id", "a"), ("X-Session-Id", "b")):
        api.chat.completions.create(model=agent.id, messages=messages, extra_headers={name: session})
    found = client.conversations.list(agent_id=agent.id)
    assert sorted(len(said(client, each.id)) for each in found) == [2, 4]
    response = api.responses.create(model=agent.id, input="ECHO hi", extra_headers={"X-Session-Id": "a"})
    assert len(said(client, place_of(response))) == 6
    main = client.agents.messages.list(agent.id, conversation_id="default")
    assert [m.message_type for m in main] == ["system_message"]
    long = httpx.post(
        f"{server.url}/v1/chat/completions",
        json={"model": agent.id, "messages": messages},
        headers={"X-Session-Id": "x" * 501},
    )
    assert (long.status_code, "x-session-id" in long.json()["detail"]) == (422, True)


def test_the_form_of_an_answer_and_what_has_to_be_called(
    api: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    form: Any = {"type": "json_schema", "name": "answer", "schema": schema}
    shaped = api.responses.create(model=agent.id, input='ECHO {"x": 1}', text={"format": form})
    assert (json.loads(shaped.output_text), shaped.text.format.type) == ({"x": 1}, "json_schema")  # type: ignore[union-attr]
    assert scripted_model.requests[-1]["response_format"]["json_schema"]["schema"]["properties"] == schema["properties"]
    api.responses.create(model=agent.id, input="ECHO words", previous_response_id=shaped.id)
    assert "response_format" not in scripted_model.requests[-1]

    wanted: Any = {"type": "function", "name": "look_up"}
    asked = api.responses.create(
        model=agent.id, tools=[LOOK_UP], tool_choice=wanted, input='CALL look_up {"word": "moot"}\nTHEN ECHO done'
    )
    assert "look_up" in json.dumps(scripted_model.requests[-1]["tool_choice"])
    assert asked.tool_choice == openai.types.responses.ToolChoiceFunction(**wanted)
    own = api.responses.create(
        model=agent.id, tools=[LOOK_UP], tool_choice="required", input="CALL conversation_search {}\nTHEN ECHO done"
    )
    choices = [request.get("tool_choice") for request in scripted_model.requests[-2:]]
    assert (choices[0], choices[1] in (None, "auto"), own.output_text) == ("required", True, "done")


def test_what_cannot_be_asked_is_said(api: openai.OpenAI, client: Letta, new_agent: NewAgent) -> None:
    agent, other = new_agent(), new_agent()
    first = api.responses.create(model=agent.id, input="ECHO one")
    before = len(list(client.conversations.list(agent_id=agent.id)))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"tool_choice": {"type": "function", "name": "unknown"}}, "'unknown' is none of the functions"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "yaml"}}}, "form of an answer"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "form of an answer"),
        ({"conversation": "default", "previous_response_id": first.id}, "previous_response_id"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": [{"type": "local_shell_call"}]}, "local_shell_call"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input_file"),
        ({"input": ""}, "content"),
        ({"conversation": other.id}, "none of agent"),
        ({"model": other.id, "previous_response_id": first.id}, "none of agent"),
    ]
    for request, named in refused:
        with pytest.raises(openai.APIStatusError) as caught:
            api.responses.create(**{"model": agent.id, "input": "ECHO hi", **request})
        assert caught.value.status_code in (404, 422), request
        assert named in caught.value.message, request
    assert len(list(client.conversations.list(agent_id=agent.id))) == before


def test_under_the_protocols_own_address(server: ServerProcess, new_agent: NewAgent) -> None:
    agent = new_agent()
    with openai.OpenAI(base_url=f"{server.url}/openai/v1", api_key="unused", max_retries=0) as api:
        response = api.responses.create(model=agent.id, input="ECHO hi")
        assert api.responses.retrieve(response.id).output_text == "hi"


def test_conversations_as_the_standard_has_them(
    server: ServerProcess, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with openai.OpenAI(base_url=f"{server.url}/openai/v1", api_key="unused", max_retries=0) as api:
        said_before: Any = [
            {"role": "user", "content": "I like walnuts."},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Noted."}]},
        ]
        begun = strictly(api.conversations.create(metadata={"agent_id": agent.id, "case": "7"}, items=said_before))
        assert begun.metadata == {"agent_id": agent.id, "case": "7"}
        script = 'CALL conversation_search {"query": "x"}\nTHEN ECHO done'
        api.responses.create(model=agent.id, input=script, conversation=begun.id)
        sent = json.dumps(scripted_model.conversations[-1])
        assert sent.index("I like walnuts.") < sent.index("Noted.") < sent.index("CALL conversation_search")

        listed = [strictly(item) for item in api.conversations.items.list(begun.id, order="asc", limit=2)]
        assert [item.type for item in listed] == [
            "message", "message", "message", "function_call", "function_call_output", "message",
        ]  # fmt: skip
        call, output = listed[3:5]
        assert (call.name, json.loads(call.arguments), output.call_id) == (
            "conversation_search", {"query": "x"}, call.call_id,
        )  # fmt: skip
        assert [item.id for item in api.conversations.items.list(begun.id)] == [item.id for item in listed[::-1]]
        again = api.conversations.items.retrieve(call.id, conversation_id=begun.id)
        assert again.model_dump(exclude_unset=True) == api.conversations.items.list(begun.id).data[2].model_dump(
            exclude_unset=True
        )

        added = api.conversations.items.create(begun.id, items=[{"role": "user", "content": "And pears."}])
        assert [item.content[0].text for item in added.data] == ["And pears."]  # type: ignore[union-attr]
        assert api.conversations.items.delete(listed[0].id or "", conversation_id=begun.id).id == begun.id
        api.responses.create(model=agent.id, input="ECHO hi", conversation=begun.id)
        sent = json.dumps(scripted_model.conversations[-1])
        assert ("walnuts" in sent, "And pears." in sent) == (False, True)

        changed = api.conversations.update(begun.id, metadata={"case": "8"})
        assert api.conversations.retrieve(begun.id) == changed
        assert changed.metadata == {"agent_id": agent.id, "case": "8"}
        assert client.conversations.retrieve(begun.id).agent_id == agent.id
        own: Any = {"agent_id": agent.id}
        own_words: Any = {"role": "user", "content": "And figs."}
        broken: Any = {"type": "input_image", "image_url": "data:image/png;base64,abc"}
        refused: list[tuple[Any, str]] = [
            (lambda: api.conversations.create(), "agent_id"),
            (lambda: api.conversations.create(metadata=own, items=[call.model_dump()]), "items.0.type"),
            (lambda: api.conversations.create(metadata=own, items=[{**own_words, "content": ""}]), "items.0.content"),
            (
                lambda: api.conversations.items.create(begun.id, items=[own_words, {**own_words, "content": [broken]}]),
                "items.1.content",
            ),
            (lambda: api.conversations.create(metadata={"agent_id": "me"}), "metadata.agent_id"),
            (lambda: api.conversations.update(begun.id, metadata={"agent_id": new_agent().id}), "stays so"),
            (lambda: api.conversations.items.retrieve(listed[0].id or "", conversation_id=begun.id), "no item"),
            (lambda: api.conversations.items.list(begun.id, after="msg_1").data, "no item"),
            (lambda: api.conversations.items.create(begun.id, items=[call.model_dump()]), "items.0.type"),
            (lambda: api.conversations.create(metadata={"agent_id": agent.id, "x": "y" * 513}), "metadata.x"),
        ]
        for ask, named in refused:
            with pytest.raises(openai.APIStatusError) as caught:
                ask()
            assert (caught.value.status_code in (400, 404, 422), named in caught.value.message) == (True, True), named
        assert strictly(api.conversations.delete(begun.id)).deleted
        with pytest.raises(openai.NotFoundError):
            api.conversations.retrieve(begun.id)


def test_an_item_is_not_deleted_under_a_turn_that_may_read_it(
    server: ServerProcess, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with openai.OpenAI(base_url=f"{server.url}/openai/v1", api_key="unused", max_retries=0) as api:
        said: Any = [{"role": "user", "content": "I like walnuts."}]
        begun = api.conversations.create(metadata={"agent_id": agent.id}, items=said)
        (item,) = api.conversations.items.list(begun.id)
        with scripted_model.hold() as held:
            api.responses.create(model=agent.id, input="ECHO hi", conversation=begun.id, background=True)
            held.wait_for(1)
            with pytest.raises(openai.ConflictError, match="under way"):
                api.conversations.items.delete(item.id or "", conversation_id=begun.id)


def test_the_tokens_of_a_response_are_told_before_it_is_asked_for(
    api: openai.OpenAI, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    first = api.responses.create(model=agent.id, input="ECHO one")
    before, asked = len(list(client.conversations.list(agent_id=agent.id))), len(scripted_model.requests)

    def count(**request: Any) -> int:
        told = strictly(api.responses.input_tokens.count(model=agent.id, **request))
        assert told.object == "response.input_tokens"
        return int(told.input_tokens)

    empty = count()
    assert empty > 100, "its instructions, tools and memory"
    main = client.agents.messages.create(agent.id, input=f"ECHO {'heron ' * 400}")
    assert main.stop_reason.stop_reason == "end_turn"
    asked += 1
    assert abs(count() - empty) < 100, "what was said in its main conversation is not in that of a new response"
    assert count(conversation="default") > empty + 500
    words: Any = [{"role": "user", "content": "word " * 400}]
    assert 200 < count(input=words) - empty < 1200
    assert count(input="word " * 400) == count(input=words)
    assert count(input="hi", instructions="Be brief. " * 100) > count(input="hi") + 100
    behind = count(input="hi", previous_response_id=first.id)
    assert count(input="hi") != behind == count(input="hi", conversation=place_of(first))
    assert len(list(client.conversations.list(agent_id=agent.id))) == before
    assert len(scripted_model.requests) == asked, "nobody is asked"
    with pytest.raises(openai.NotFoundError, match="none of agent"):
        count(input="hi", conversation=new_agent().id)


def test_a_compacted_conversation_goes_on_behind_the_item_of_its_summary(
    api: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    response = api.responses.create(model=agent.id, input="ECHO one")
    for word in ("two", "three", "four"):
        response = api.responses.create(model=agent.id, input=f"ECHO {word}", previous_response_id=response.id)
    compacted = strictly(api.responses.compact(model=agent.id, previous_response_id=response.id))
    (item,) = compacted.output
    assert (item.type, bool(item.encrypted_content), compacted.usage.total_tokens > 0) == ("compaction", True, True)
    more: Any = [item.model_dump(exclude_none=True), {"role": "user", "content": "ECHO five"}]
    last = api.responses.create(model=agent.id, input=more)
    assert (place_of(last), last.output_text) == (place_of(response), "five")
    sent = json.dumps(scripted_model.conversations[-1])
    assert ("ECHO one" in sent, "ECHO five" in sent) == (False, True)
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        api.responses.compact(model=agent.id, input="Hello.")


def test_a_list_of_items_goes_on_behind_one_that_was_deleted(server: ServerProcess, new_agent: NewAgent) -> None:
    """So do programs that delete what they list; a fork, which keeps the item, goes on behind it too."""
    agent = new_agent()
    with openai.OpenAI(base_url=f"{server.url}/openai/v1", api_key="unused", max_retries=0) as api:
        said: Any = [{"role": "user", "content": f"word {number}"} for number in range(6)]
        begun = api.conversations.create(metadata={"agent_id": agent.id}, items=said)
        items = [item.id or "" for item in api.conversations.items.list(begun.id, order="asc")]
        fork = httpx.post(f"{server.url}/v1/conversations/{begun.id}/fork").json()["id"]

        def listed(conversation: str, **page: Any) -> list[str]:
            return [item.id or "" for item in api.conversations.items.list(conversation, **page).data]

        api.conversations.items.delete(items[2], conversation_id=begun.id)
        assert listed(begun.id, after=items[2], order="asc") == items[3:]
        assert listed(begun.id, after=items[2], order="desc") == items[1::-1]
        assert listed(fork, after=items[2], order="asc") == items[3:]
        for item in api.conversations.items.list(begun.id, order="asc", limit=2):
            api.conversations.items.delete(item.id or "", conversation_id=begun.id)
        assert listed(begun.id) == []
        with pytest.raises(openai.NotFoundError):
            listed(begun.id, after="msg_123e4567-e89b-42d3-8456-426614174000")
