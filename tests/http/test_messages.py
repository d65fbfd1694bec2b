"""A turn over HTTP: what is said, what comes back, why it stops, what it takes."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from letta_client import Letta, NotFoundError
from letta_client.types import AgentState
from letta_client.types.agents import LettaResponse

from support.fixtures import NewAgent, NewBlock
from support.scripted_model import ScriptedModel

PIXEL = base64.b64encode(b"not really a picture").decode()


def say(client: Letta, agent: AgentState, text: str, **more: Any) -> LettaResponse:
    return client.agents.messages.create(agent.id, messages=[{"role": "user", "content": text}], **more)


def types(response: LettaResponse) -> list[str | None]:
    return [message.message_type for message in response.messages]


def history(client: Letta, agent: AgentState) -> list[Any]:
    return list(client.agents.messages.list(agent.id, order="asc"))


def test_a_text_is_answered_with_one_assistant_message(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    response = say(client, agent, "ECHO hello there")
    (message,) = response.messages
    assert (message.message_type, message.content) == ("assistant_message", "hello there")
    assert message.id.startswith("message-")
    assert message.run_id is not None
    assert message.step_id is not None
    assert message.run_id.startswith("run-")
    assert message.step_id.startswith("step-")
    assert response.stop_reason.stop_reason == "end_turn"
    usage = response.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (100, 10, 110)
    assert (usage.step_count, usage.context_tokens) == (1, 110)


def test_what_was_said_is_kept_with_its_run_and_step(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    answer = say(client, agent, "ECHO hello").messages[0]
    system, user, assistant = history(client, agent)
    assert system.message_type == "system_message"
    assert system.content.startswith(agent.system)
    assert agent.id in system.content.removeprefix(agent.system), "it names whose conversation it is"
    assert (user.message_type, user.content) == ("user_message", "ECHO hello")
    assert (user.run_id, user.step_id) == (answer.run_id, answer.step_id)
    assert (assistant.id, assistant.content, assistant.date) == (answer.id, answer.content, answer.date)


def test_the_input_shorthand_is_one_user_message(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    response = client.agents.messages.create(agent.id, input="ECHO from input")
    assert [message.content for message in response.messages] == ["from input"]
    parts = client.agents.messages.create(agent.id, input=[{"type": "text", "text": "ECHO from a part"}])
    assert [message.content for message in parts.messages] == ["from a part"]
    kept = [
        message.content for message in client.agents.messages.list(agent.id) if message.message_type == "user_message"
    ]
    assert "ECHO from a part" in kept, "one text is shown as a text, in whatever form it came"
    assert [message.message_type for message in history(client, agent)[1:]] == ["user_message", "assistant_message"] * 2


def test_a_tool_call_its_return_and_the_last_words_come_in_order(
    client: Letta, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    response = say(
        client, agent, f'CALL memory_insert {{"label": "{block.label}", "new_string": "a"}}\nTHEN ECHO finished'
    )
    assert types(response) == ["tool_call_message", "tool_return_message", "assistant_message"]
    call, returned, last = response.messages
    assert call.tool_call.name == returned.name == "memory_insert"
    assert call.tool_call.tool_call_id == returned.tool_call_id
    assert returned.status == "success"
    assert last.content == "finished"
    assert call.step_id == returned.step_id != last.step_id
    assert len({message.run_id for message in response.messages}) == 1
    assert response.stop_reason.stop_reason == "end_turn"
    assert client.blocks.retrieve(block.id).value == "a"
    assert [m.id for m in history(client, agent)[2:]] == [m.id for m in response.messages]


def test_usage_is_the_sum_over_the_steps(client: Letta, new_agent: NewAgent) -> None:
    usage = say(client, new_agent(), "CALL conversation_search {}\nTHEN CALL conversation_search {}").usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (300, 30, 330)
    assert (usage.step_count, usage.context_tokens) == (3, 110)


@pytest.mark.parametrize("most", [1, 2])
def test_max_steps_stops_a_turn_between_whole_steps(client: Letta, new_agent: NewAgent, most: int) -> None:
    agent = new_agent()
    response = say(client, agent, "CALL conversation_search {}\nTHEN CALL conversation_search {}", max_steps=most)
    assert types(response) == ["tool_call_message", "tool_return_message"] * most
    assert response.stop_reason.stop_reason == "max_steps"
    assert response.usage.step_count == most
    assert say(client, agent, "ECHO and on").messages[0].content == "and on"


def test_a_turn_that_ends_in_its_last_allowed_step_ends_well(client: Letta, new_agent: NewAgent) -> None:
    response = say(client, new_agent(), "CALL conversation_search {}", max_steps=2)
    assert response.stop_reason.stop_reason == "end_turn"


def test_an_endless_loop_of_tool_calls_ends_with_max_steps(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    script = "\n".join(['CALL conversation_search {"limit": 1}'] * 100)
    response = say(client, agent, script)
    assert response.stop_reason.stop_reason == "max_steps"
    assert response.usage.step_count == len(scripted_model.requests) == 50
    assert say(client, agent, "ECHO awake").messages[0].content == "awake"


def test_an_empty_reply_is_an_empty_assistant_message(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    for content in ("", None):
        scripted_model.reply_next({"content": content})
        response = say(client, agent, "hello")
        assert [(m.message_type, m.content) for m in response.messages] == [("assistant_message", "")]
        assert response.stop_reason.stop_reason == "end_turn"
    assert say(client, agent, "ECHO still here").messages[0].content == "still here"


def test_a_reply_with_text_and_a_tool_call_shows_both(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    function = {"name": "conversation_search", "arguments": "{}"}
    scripted_model.reply_next(
        {"content": "Let me look.", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    )
    response = say(client, new_agent(), "CALL conversation_search {}\nTHEN ECHO found")
    assert types(response) == ["assistant_message", "tool_call_message", "tool_return_message", "assistant_message"]
    assert response.messages[0].content == "Let me look."
    sent = next(m for m in scripted_model.requests[1]["messages"] if m["role"] == "assistant")
    assert sent["content"] == "Let me look."
    assert [call["id"] for call in sent["tool_calls"]] == ["call_1"]


def test_a_reply_that_was_cut_off_says_so(client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    scripted_model.reply_next({"content": "I was about to"}, finish_reason="length")
    response = say(client, new_agent(), "hello")
    assert response.messages[0].content == "I was about to"
    assert response.stop_reason.stop_reason == "max_tokens_exceeded"


# -- what the request can change -----------------------------------------------------------------------------


def test_override_model_and_system_hold_for_one_turn(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(system="Be yourself.")
    say(client, agent, "hello", override_model="openai/gpt-4.1", override_system="Be somebody else.")
    say(client, agent, "hello")
    told = [(request["model"], request["messages"][0]["content"]) for request in scripted_model.requests]
    assert told == [("gpt-4.1", "Be somebody else."), ("gpt-4o-mini", "Be yourself.")]
    kept = client.agents.retrieve(agent.id)
    assert (kept.model, kept.system) == ("openai/gpt-4o-mini", "Be yourself.")


def test_a_client_s_skills_are_told_behind_the_instructions_for_one_turn(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(system="Be yourself.")
    skills = [{"name": "release", "description": "How a version\nis cut.", "location": "skills/release/SKILL.md"}]
    say(client, agent, "hello", client_skills=skills)
    say(client, agent, "hello", client_skills=[])
    told = [request["messages"][0]["content"] for request in scripted_model.requests]
    assert told[0].startswith("Be yourself.\n\n<available_skills>\n")
    assert "\n- `release` (skills/release/SKILL.md): How a version is cut.\n</available_skills>" in told[0]
    assert told[1] == "Be yourself."


def test_an_override_model_nobody_has_is_refused_and_changes_nothing(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with pytest.raises(NotFoundError, match="nobody"):
        say(client, agent, "hello", override_model="nobody/nothing")
    assert scripted_model.requests == []
    assert len(history(client, agent)) == 1


def test_only_the_message_types_asked_for_are_returned(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    response = say(client, agent, "CALL conversation_search {}", include_return_message_types=["assistant_message"])
    assert types(response) == ["assistant_message"]
    assert response.usage.step_count == 2
    assert len(history(client, agent)) == 5


# -- what a message can hold ---------------------------------------------------------------------------------


def test_otid_name_and_sender_come_back(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    message = {
        "role": "user",
        "content": "hello",
        "otid": "4ea0c4a4-0d1b-4a0a-9a3b-3f8f0b7d9a11",
        "name": "Ada",
        "sender_id": "agent-11111111-1111-4111-8111-111111111111",
    }
    client.agents.messages.create(agent.id, messages=[message])  # type: ignore[list-item]
    kept = history(client, agent)[1]
    assert (kept.otid, kept.name, kept.sender_id) == (message["otid"], "Ada", message["sender_id"])


def test_a_turns_messages_are_shown_alike_in_the_answer_and_in_the_list(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    response = say(client, agent, "CALL conversation_search {}")
    assert all(message.otid for message in response.messages)
    assert history(client, agent)[2:] == response.messages


def test_image_parts_reach_the_model_and_are_kept(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    parts: list[Any] = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "text", "text": "ECHO two pictures"},
    ]
    response = client.agents.messages.create(agent.id, messages=[{"role": "user", "content": parts}])
    assert response.messages[0].content == "two pictures"
    sent = next(m for m in scripted_model.requests[0]["messages"] if m["role"] == "user")["content"]
    assert [part["type"] for part in sent] == ["image_url", "image_url", "text"]
    assert sent[0]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    assert sent[1]["image_url"]["url"] == "https://example.org/a.png"
    kept = history(client, agent)[1].content
    assert [part.type for part in kept] == ["image", "image", "text"]
    assert kept[0].source.data == PIXEL


def test_several_messages_of_all_roles_reach_the_model_in_order(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(system="Be kind.")
    response = client.agents.messages.create(
        agent.id,
        messages=[
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "I said"},
            {"role": "system", "content": "a notice"},
            {"role": "user", "content": "ECHO last"},
        ],
    )
    assert response.messages[0].content == "last"
    sent = [(m["role"], m["content"]) for m in scripted_model.requests[0]["messages"]]
    expected = [("user", "first"), ("assistant", "I said"), ("system", "a notice"), ("user", "ECHO last")]
    assert sent[1:5] == expected
    kept = [(m.message_type, m.content) for m in history(client, agent)[1:5]]
    assert kept == [(f"{role}_message", content) for role, content in expected]


def test_a_message_in_the_agents_name_is_not_run_together_with_its_answer(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    client.agents.messages.create(
        agent.id,
        messages=[{"role": "user", "content": "ECHO and on."}, {"role": "assistant", "content": "I was saying"}],
    )
    say(client, agent, "hello")
    said = [m["content"] for m in scripted_model.requests[1]["messages"] if m["role"] == "assistant"]
    assert said == ["I was saying", "and on."]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 1_000_000, id="one word"),
        pytest.param("".join(f"w{number} " for number in range(140_000))[:1_000_000], id="many words"),
        pytest.param("😀 " * 125_000, id="outside the basic plane"),
    ],
)
def test_a_megabyte_of_text_is_taken_whole(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, text: str
) -> None:
    agent = new_agent()
    assert say(client, agent, text).messages[0].content == "ok"
    assert history(client, agent)[1].content == text
    assert text in [m["content"] for m in scripted_model.requests[0]["messages"]]


def test_odd_characters_come_back_as_they_went(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    text = "ECHO \u202eabc\u200b \U0001f9d1\u200d\U0001f680 '; DROP TABLE messages; -- \\ \" %s {0} \x01 \x7f \ufffd"
    assert say(client, agent, text).messages[0].content == text.removeprefix("ECHO ")
    assert history(client, agent)[1].content == text


# -- agents of the older kind --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memgpt_agent", "memgpt_v2_agent"])
def test_send_message_is_shown_as_what_the_agent_says(client: Letta, new_agent: NewAgent, kind: Any) -> None:
    agent = new_agent(agent_type=kind)
    response = say(client, agent, 'CALL send_message {"message": "Hello, you."}')
    assert [(m.message_type, m.content) for m in response.messages] == [("assistant_message", "Hello, you.")]
    assert (response.stop_reason.stop_reason, response.usage.step_count) == ("tool_rule", 1)
    assert [m.message_type for m in history(client, agent)[1:]] == ["user_message", "assistant_message"]


def test_send_message_is_shown_as_a_tool_call_when_asked(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(agent_type="memgpt_agent")
    script = 'CALL send_message {"message": "Hello."}'
    response = say(client, agent, script, use_assistant_message=False)
    assert types(response) == ["tool_call_message", "tool_return_message"]
    assert response.messages[0].tool_call.name == "send_message"
    listed = client.agents.messages.list(agent.id, order="asc", use_assistant_message=False)
    assert [m.message_type for m in listed] == [
        "system_message",
        "user_message",
        "tool_call_message",
        "tool_return_message",
    ]


def test_a_send_message_that_failed_does_not_end_the_turn(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(agent_type="memgpt_agent")
    response = say(client, agent, 'CALL send_message {}\nTHEN CALL send_message {"message": "Now."}')
    assert response.usage.step_count == 2
    assert response.stop_reason.stop_reason == "tool_rule"
    assert response.messages[-1].content == "Now."
    failed = [m for m in response.messages if m.message_type == "tool_return_message"]
    assert [m.status for m in failed] == ["error"]


def test_another_tool_can_be_named_as_the_one_that_speaks(client: Letta, new_agent: NewAgent) -> None:
    response = say(
        client,
        new_agent(),
        'CALL conversation_search {"query": "what I say"}',
        assistant_message_tool_name="conversation_search",
        assistant_message_tool_kwarg="query",
    )
    assert [m.content for m in response.messages] == ["what I say", "done"]
