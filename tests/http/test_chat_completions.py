"""OpenAI's chat protocol, spoken by the `openai` package: an agent in the place of a model."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from letta_client import Letta
from openai.types import CompletionUsage

from support.fixtures import NewAgent, one_store
from support.scripted_model import ScriptedModel
from support.server import ServerProcess


@pytest.fixture
def chat(server: ServerProcess) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, led to the server."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def user(text: Any) -> Any:
    return {"role": "user", "content": text}


def parts(usage: CompletionUsage) -> tuple[int | None, int | None]:
    """Return how many tokens came from the provider's cache, and how many were thoughts."""
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    return usage.prompt_tokens_details.cached_tokens, usage.completion_tokens_details.reasoning_tokens


def said(client: Letta, agent_id: str) -> list[tuple[str, Any]]:
    return [
        (m.message_type, m.content)
        for m in client.agents.messages.list(agent_id, order="asc")
        if m.message_type in ("user_message", "assistant_message")
    ]


def test_a_whole_answer(chat: openai.OpenAI, new_agent: NewAgent) -> None:
    agent = new_agent()
    answer = chat.chat.completions.create(model=agent.id, messages=[user("ECHO hi from openai")])
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == (
        "assistant",
        "hi from openai",
        "stop",
    )
    assert answer.object == "chat.completion"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (100, 10, 110)
    assert parts(answer.usage) == (0, 0)


def test_a_streamed_answer(chat: openai.OpenAI, new_agent: NewAgent) -> None:
    agent = new_agent()
    chunks = list(
        chat.chat.completions.create(
            model=agent.id,
            messages=[user("ECHO hi from  openai")],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *spoken, end, usage = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken) == "hi from  openai"
    assert len(spoken) > 2
    assert spoken[0].choices[0].delta.role == "assistant"
    assert end.choices[0].finish_reason == "stop"
    assert usage.usage is not None
    assert (usage.choices, usage.usage.total_tokens, parts(usage.usage)) == ([], 110, (0, 0))
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_usage_comes_only_when_asked_for(chat: openai.OpenAI, new_agent: NewAgent) -> None:
    stream = chat.chat.completions.create(model=new_agent().id, messages=[user("ECHO hi")], stream=True)
    assert all(chunk.choices for chunk in stream)


async def test_the_asynchronous_client(server: ServerProcess, new_agent: NewAgent) -> None:
    agent = new_agent()
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as chat:
        stream = await chat.chat.completions.create(model=agent.id, messages=[user("ECHO a b")], stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "a b"


def test_only_what_is_new_is_said_to_the_agent(chat: openai.OpenAI, client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    talk: list[Any] = [{"role": "system", "content": "Be kind."}, user("ECHO one")]
    talk.append(chat.chat.completions.create(model=agent.id, messages=talk).choices[0].message)
    talk += [user("a word before"), user("ECHO two")]
    assert chat.chat.completions.create(model=agent.id, messages=talk).choices[0].message.content == "two"
    assert said(client, agent.id) == [
        ("user_message", "ECHO one"),
        ("assistant_message", "one"),
        ("user_message", "a word before"),
        ("user_message", "ECHO two"),
        ("assistant_message", "two"),
    ]


def test_system_messages_come_behind_the_agents_own_instructions(
    chat: openai.OpenAI, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(system="You are Ada.")
    kind: list[Any] = [
        {"role": "system", "content": "Be kind."},
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
    ]
    talk = [*kind, user("ECHO one"), {"role": "assistant", "content": "one"}, user("ECHO two")]
    chat.chat.completions.create(model=agent.id, messages=talk)
    assert "You are Ada.\n\nBe kind.\n\nBe brief." in scripted_model.requests[-1]["messages"][0]["content"]
    chat.chat.completions.create(model=agent.id, messages=[user("ECHO three")])
    assert "Be kind." not in json.dumps(scripted_model.requests[-1]), "for that answer only"
    assert client.agents.retrieve(agent.id).system == "You are Ada."


def test_tools_run_behind_the_answer(chat: openai.OpenAI, new_agent: NewAgent) -> None:
    agent = new_agent()
    script = "CALL conversation_search {}\nTHEN ECHO found nothing"
    whole = chat.chat.completions.create(model=agent.id, messages=[user(script)])
    assert whole.choices[0].message.content == "found nothing"
    stream = chat.chat.completions.create(model=agent.id, messages=[user(script)], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "found nothing"


def test_words_before_a_tool_call_and_after_it_are_told_apart(
    chat: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    call = {"id": "call_1", "type": "function", "function": {"name": "conversation_search", "arguments": "{}"}}
    texts = []
    for stream in (False, True):
        scripted_model.reply_next({"content": "Let me look.", "tool_calls": [call]})
        answer: Any = chat.chat.completions.create(model=agent.id, messages=[user("ECHO Found.")], stream=stream)
        texts.append(
            "".join(chunk.choices[0].delta.content or "" for chunk in answer)
            if stream
            else answer.choices[0].message.content
        )
    assert texts == ["Let me look.\nFound."] * 2


@pytest.mark.parametrize("kind", ["memgpt_agent", "memgpt_v2_agent"])
def test_what_an_agent_of_an_older_kind_says_by_its_tool_is_its_answer(
    chat: openai.OpenAI, new_agent: NewAgent, kind: Any
) -> None:
    agent = new_agent(agent_type=kind)
    said = 'CALL send_message {"message": "Hello,  you."}'
    for script, words in ((said, "Hello,  you."), (f"CALL send_message {{}}\nTHEN {said}", "Hello,  you.")):
        whole = chat.chat.completions.create(model=agent.id, messages=[user(script)])
        assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (words, "stop")
        chunks = list(chat.chat.completions.create(model=agent.id, messages=[user(script)], stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == words
        assert chunks[0].choices[0].delta.role == "assistant"


def test_parts_and_pictures(
    chat: openai.OpenAI, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    pixel = base64.b64encode(b"\x89PNG\r\n").decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}},
        {"type": "text", "text": "ECHO a picture"},
    ]
    answer = chat.chat.completions.create(model=agent.id, messages=[user(content)])
    assert answer.choices[0].message.content == "a picture"
    sent = next(m for m in scripted_model.requests[0]["messages"] if m["role"] == "user")["content"]
    assert sent[0]["image_url"]["url"] == f"data:image/png;base64,{pixel}"


def test_a_tool_that_waits_for_approval(chat: openai.OpenAI, new_agent: NewAgent) -> None:
    agent = new_agent(tool_rules=[{"type": "requires_approval", "tool_name": "conversation_search"}])
    answer = chat.chat.completions.create(model=agent.id, messages=[user("CALL conversation_search {}")])
    assert answer.choices[0].finish_reason == "tool_calls"
    for stream in (False, True):
        with pytest.raises(openai.ConflictError):
            chat.chat.completions.create(model=agent.id, messages=[user("hello")], stream=stream)


def test_errors_are_openais_own_kinds(chat: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    agent = new_agent()
    unknown = "agent-123e4567-e89b-42d3-8456-426614174999"
    with pytest.raises(openai.NotFoundError):
        chat.chat.completions.create(model=unknown, messages=[user("hello")])
    with pytest.raises(openai.UnprocessableEntityError):
        chat.chat.completions.create(model="gpt-4o", messages=[user("hello")])
    for messages in ([], [{"role": "assistant", "content": "I said"}], [{"role": "system", "content": "Be kind."}]):
        with pytest.raises((openai.UnprocessableEntityError, openai.BadRequestError)):
            chat.chat.completions.create(model=agent.id, messages=messages)  # type: ignore[arg-type]
    scripted_model.fail_next(400, message="no such luck")
    with pytest.raises(openai.APIStatusError) as refused:
        chat.chat.completions.create(model=agent.id, messages=[user("hello")])
    assert refused.value.status_code == 502
    scripted_model.fail_next(400, message="no such luck")
    with pytest.raises(openai.APIError, match="no such luck"):
        list(chat.chat.completions.create(model=agent.id, messages=[user("hello")], stream=True))
    assert chat.chat.completions.create(model=agent.id, messages=[user("ECHO on")]).choices[0].message.content == "on"


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_says_why(
    chat: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel, stream: bool
) -> None:
    unknown = "agent-123e4567-e89b-42d3-8456-426614174999"
    with pytest.raises(openai.NotFoundError, match=unknown):
        chat.chat.completions.create(model=unknown, messages=[user("hello")], stream=stream)


def test_a_cut_off_answer_says_so(chat: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    agent = new_agent()
    scripted_model.reply_next({"content": "so far"}, finish_reason="length")
    answer = chat.chat.completions.create(model=agent.id, messages=[user("hello")])
    assert answer.choices[0].finish_reason == "length"


def test_settings_and_unknown_fields_do_no_harm(http: httpx.Client, new_agent: NewAgent) -> None:
    body = {
        "model": new_agent().id,
        "messages": [user("ECHO hi")],
        "temperature": 0.2,
        "max_tokens": 5,
        "tools": [{"type": "function", "function": {"name": "x", "parameters": {}}}],
        "tool_choice": "none",
        "stream": None,
        "user": "somebody",
        "n": 1,
    }
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "hi"


ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}},
    },
}


@pytest.mark.parametrize("stream", [False, True])
def test_functions_of_the_caller(
    chat: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel, stream: bool
) -> None:
    agent = new_agent()

    def ask(messages: list[Any]) -> Any:
        if not stream:
            return chat.chat.completions.create(model=agent.id, messages=messages, tools=[ADD]).choices[0]
        with chat.chat.completions.stream(model=agent.id, messages=messages, tools=[ADD]) as chunks:
            return chunks.get_final_completion().choices[0]

    talk = [user('CALLS [["add", {"a": 1, "b": 2}], ["add", {"a": 3, "b": 4}]]\nTHEN ECHO three and seven')]
    asked = ask(talk)
    assert (asked.finish_reason, asked.message.content, asked.message.role) == ("tool_calls", None, "assistant")
    calls = asked.message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert [call.function.name for call in calls] == ["add", "add"]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": sum_} for call, sum_ in zip(calls, ("3", "7"), strict=True)
    ]
    said_by_agent = {"role": "assistant", "content": None, "tool_calls": [call.model_dump() for call in calls]}
    talk += [said_by_agent, *results]
    answered = ask(talk)
    assert (answered.finish_reason, answered.message.content) == ("stop", "three and seven")
    returned = [message["content"] for message in scripted_model.requests[-1]["messages"] if message["role"] == "tool"]
    assert returned == ["3", "7"]
    more = ask([*talk, {"role": "assistant", "content": "three and seven"}, user("ECHO more")])
    assert more.message.content == "more"


def test_the_form_of_an_answer_and_what_has_to_be_called(
    chat: openai.OpenAI, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    create = chat.chat.completions.create
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    create(model=agent.id, messages=[user('ECHO {"x": 1}')], response_format=form)
    assert scripted_model.requests[-1]["response_format"]["json_schema"]["schema"]["properties"] == schema["properties"]
    create(model=agent.id, messages=[user("ECHO {}")], response_format={"type": "json_object"})
    assert scripted_model.requests[-1]["response_format"] == {"type": "json_object"}
    create(model=agent.id, messages=[user("ECHO hi")], response_format={"type": "text"})
    assert "response_format" not in scripted_model.requests[-1]
    wanted: Any = {"type": "function", "function": {"name": "add"}}
    create(model=agent.id, messages=[user("CALL add {}")], tools=[ADD], tool_choice=wanted)
    assert "add" in json.dumps(scripted_model.requests[-1]["tool_choice"])
    for refused in ({"tool_choice": wanted}, {"response_format": {"type": "json_schema"}}, {"tool_choice": "any"}):
        with pytest.raises(openai.UnprocessableEntityError, match=r"tool_choice|form of an answer"):
            create(model=agent.id, messages=[user("ECHO hi")], **refused)


def test_calls_that_a_caller_forgets_do_not_hold_up_what_it_says_next(
    chat: openai.OpenAI, client: Letta, new_agent: NewAgent
) -> None:
    agent = new_agent()
    create = chat.chat.completions.create
    asked = create(model=agent.id, messages=[user('CALL add {"a": 1}')], tools=[ADD]).choices[0].message
    assert asked.tool_calls is not None
    late = {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": "1"}
    assert create(model=agent.id, messages=[user("ECHO on")], tools=[ADD]).choices[0].message.content == "on"
    returned = next(m for m in client.agents.messages.list(agent.id) if m.message_type == "tool_return_message")
    assert "went on without" in str(returned.tool_return)
    with_words = [late, user("ECHO further")]  # what it returns comes too late, and the words do not
    assert create(model=agent.id, messages=with_words).choices[0].message.content == "further"  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="No tool call is currently awaiting"):
        create(model=agent.id, messages=[late])  # type: ignore[list-item]


def test_a_request_that_is_refused_begins_nothing(chat: openai.OpenAI, client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    late: Any = {"role": "tool", "tool_call_id": "call_1", "content": "1"}
    with pytest.raises(openai.BadRequestError, match="No tool call is currently awaiting"):
        chat.chat.completions.create(model=agent.id, messages=[late], extra_headers={"X-Session-Id": "first"})
    assert list(client.conversations.list(agent_id=agent.id)) == []


def test_a_call_of_another_program_is_not_given_up(chat: openai.OpenAI, client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    tool: Any = {"name": "add", "parameters": {"type": "object", "properties": {}}}
    client.agents.messages.create(agent.id, input="CALL add {}", client_tools=[tool])
    with pytest.raises(openai.ConflictError):
        chat.chat.completions.create(model=agent.id, messages=[user("hello")], tools=[ADD])


def test_functions_that_cannot_be_called_are_refused_by_name(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent().id
    refused: list[tuple[dict[str, Any], str]] = [
        ({"tools": [{"type": "web_search"}]}, "tools.0.type: 'web_search' is no tool of the caller"),
        ({"tools": [{"type": "function"}]}, "tools.0: function: say which"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name: "),
        ({"tools": [{"function": {"name": "a", "parameters": {"type": "array"}}}]}, "tools.0.function.parameters: "),
        ({"messages": [{"role": "tool", "content": "3"}]}, "messages.0: tool_call_id: "),
    ]
    for request, named in refused:
        answer = http.post("/v1/chat/completions", json={"model": agent, "messages": [user("hello")], **request})
        assert (answer.status_code, named in answer.json()["detail"]) == (422, True), answer.text


@one_store
def test_what_is_not_there_is_said_where_openais_clients_look(server: ServerProcess) -> None:
    with openai.OpenAI(base_url=f"{server.url}/openai/v1", api_key="unused", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.embeddings.create(model="any", input="hello")
        assert missing.value.body == {
            "message": "There is nothing at POST /openai/v1/embeddings.", "type": "NotFound"
        }  # fmt: skip
