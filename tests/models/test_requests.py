"""What is sent to a provider and what is made of its answers and failures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from fake_provider import DROP, HANG, Answer, FakeProvider, chat, chat_stream, claude, failure, gemini

from folkmoot.errors import (
    ContextOverflow,
    InvalidInput,
    NotFound,
    ProviderAuthentication,
    ProviderError,
    ProviderRateLimit,
    ProviderRejected,
    ProviderTimeout,
)
from folkmoot.models.prompt import (
    AssistantMessage,
    Image,
    ModelOptions,
    Prompt,
    PromptMessage,
    Reasoning,
    ReasoningDelta,
    Reply,
    SystemMessage,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolReturn,
    ToolSchema,
    UserMessage,
)
from folkmoot.models.requests import ModelClient

OPENAI, ANTHROPIC, GOOGLE = "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "google_ai/gemini-2.5-flash"
TOOL = ToolSchema("look", "Look something up.", {"type": "object", "properties": {"q": {"type": "string"}}})
STEPS = [
    UserMessage("What is on?"),
    AssistantMessage("Let me see.", tool_calls=[ToolCall("call_1", "look", '{"q": "today"}')]),
    ToolReturn("call_1", "look", "a play"),
]
ANSWER_FOR = {
    OPENAI: chat("Hello."),
    ANTHROPIC: claude({"type": "text", "text": "Hello."}),
    GOOGLE: gemini({"text": "Hello."}),
}
ClientFor = Callable[..., ModelClient]

each_provider = pytest.mark.parametrize("handle", [OPENAI, ANTHROPIC, GOOGLE])


def prompt(*turns: Any, memory: str = "<memory/>", **rest: Any) -> Prompt:
    return Prompt("Be brief.", turns or (UserMessage("Hello?"),), memory, **rest)


# --- what is sent


@each_provider
async def test_text_answer(handle: str, client_for: ClientFor) -> None:
    async with FakeProvider([ANSWER_FOR[handle]]) as provider:
        reply = await client_for(provider.address).ask(handle, prompt())
    assert (reply.text, reply.finish_reason, reply.tool_calls) == ("Hello.", "stop", ())
    assert (reply.usage.completion_tokens, len(provider.asked)) == (5, 1)
    assert reply.usage.prompt_tokens >= 20


async def test_openai_order_and_trailing_memory(client_for: ClientFor) -> None:
    async with FakeProvider([chat()]) as provider:
        await client_for(provider.address).ask(OPENAI, prompt(*STEPS, tools=[TOOL]))
    body = provider.asked[0].body
    assert [message["role"] for message in body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "system",
    ]
    assert body["messages"][0]["content"] == "Be brief."
    assert body["messages"][-1]["content"] == "<memory/>"
    assert body["messages"][3] == {"role": "tool", "tool_call_id": "call_1", "content": "a play"}
    assert body["tools"][0]["function"]["parameters"] == TOOL.parameters
    assert provider.asked[0].headers["authorization"] == "Bearer house-of-cards"


@each_provider
async def test_prefix_is_the_same_bytes_in_the_next_step(handle: str, client_for: ClientFor) -> None:
    async with FakeProvider([ANSWER_FOR[handle]]) as provider:
        client = client_for(provider.address)
        await client.ask(handle, prompt(*STEPS[:1], memory="one", tools=[TOOL]))
        await client.ask(handle, prompt(*STEPS, memory="two", tools=[TOOL]))
        await client.ask(handle, prompt(*STEPS, AssistantMessage("A play."), UserMessage("Thanks"), tools=[TOOL]))
    sent = [_units(handle, asked.raw) for asked in provider.asked]
    for earlier, later in pairwise(sent):
        assert earlier[:-1] == later[: len(earlier) - 1]
    assert [units[-1].count(word) for units, word in zip(sent, ("one", "two", "<memory/>"), strict=True)] == [
        1,
        1,
        1,
    ]


def _units(handle: str, raw: bytes) -> list[str]:
    """Return the request as JSON texts in the order in which a model reads them, the memory last."""
    body = json.loads(raw)
    if handle == OPENAI:
        units = [body["tools"], *body["messages"]]
    elif handle == ANTHROPIC:
        units = [body["tools"], body["system"], *(b for m in body["messages"] for b in m["content"])]
        for unit in units:
            if isinstance(unit, dict):
                unit.pop("cache_control", None)
    else:
        units = [body["tools"], body["systemInstruction"], *(p for c in body["contents"] for p in c["parts"])]
    return [json.dumps(unit) for unit in units]


async def test_anthropic_memory_follows_the_tool_result_behind_a_cache_point(client_for: ClientFor) -> None:
    async with FakeProvider([ANSWER_FOR[ANTHROPIC]]) as provider:
        failed = ToolReturn("call_1", "look", "no light", failed=True)
        await client_for(provider.address).ask(ANTHROPIC, prompt(*STEPS[:2], failed, tools=[TOOL]))
    body = provider.asked[0].body
    last = body["messages"][-1]
    assert [block["type"] for block in last["content"]] == ["tool_result", "text"]
    assert last["content"][0]["is_error"] is True
    assert "cache_control" in last["content"][0]
    assert "cache_control" not in last["content"][1]
    assert "cache_control" in body["system"][0]
    assert "cache_control" in body["tools"][0]
    assert body["messages"][1]["content"][1]["input"] == {"q": "today"}


async def test_google_memory_follows_the_tool_result(client_for: ClientFor) -> None:
    async with FakeProvider([ANSWER_FOR[GOOGLE]]) as provider:
        await client_for(provider.address).ask(GOOGLE, prompt(*STEPS, tools=[TOOL]))
    contents = provider.asked[0].body["contents"]
    assert contents[-1]["parts"][-1] == {"text": "<memory/>"}
    assert contents[-1]["role"] == "user"
    assert any("functionResponse" in part for content in contents for part in content["parts"])


@each_provider
@pytest.mark.parametrize("arguments", ["{broken", "", "[1]", '{"q": "\\ud800"}', "\ud800"])
async def test_broken_arguments_in_history_do_not_break_the_request(
    handle: str, arguments: str, client_for: ClientFor
) -> None:
    turns = [
        UserMessage("?"),
        AssistantMessage(tool_calls=[ToolCall("c", "look", arguments)]),
        ToolReturn("c", "look", "no"),
    ]
    async with FakeProvider([ANSWER_FOR[handle]]) as provider:
        await client_for(provider.address).ask(handle, prompt(*turns, tools=[TOOL]))
    body = provider.asked[0].body
    if handle == OPENAI:
        assert isinstance(json.loads(body["messages"][2]["tool_calls"][0]["function"]["arguments"]), dict)
    elif handle == ANTHROPIC:
        assert isinstance(body["messages"][1]["content"][0]["input"], dict)


@each_provider
async def test_odd_characters_are_sent(handle: str, client_for: ClientFor) -> None:
    odd = "nul \x00, lone \ud83d, whole \U0001f600"
    turns = [UserMessage(odd), SystemMessage(odd), AssistantMessage(odd), UserMessage([odd, ""])]
    tool = ToolSchema("look", odd, {"type": "object", "description": odd})
    async with FakeProvider([ANSWER_FOR[handle]]) as provider:
        await client_for(provider.address).ask(handle, Prompt(odd, turns, odd, [tool]))
    text = json.dumps(provider.asked[0].body, ensure_ascii=False)
    assert "lone \ufffd, whole \U0001f600" in text


@each_provider
async def test_unanswered_call_and_orphan_answer_are_paired(handle: str, client_for: ClientFor) -> None:
    turns = [ToolReturn("gone", "look", "orphan"), *STEPS[:2], UserMessage("Are you there?")]
    async with FakeProvider([ANSWER_FOR[handle]]) as provider:
        await client_for(provider.address).ask(handle, prompt(*turns, tools=[TOOL]))
    text = json.dumps(provider.asked[0].body)
    assert "orphan" not in text
    assert "interrupted" in text


async def test_options(client_for: ClientFor) -> None:
    options = ModelOptions(0.2, 77, False, None, "look")
    async with FakeProvider([chat()]) as provider:
        client = client_for(provider.address)
        await client.ask(OPENAI, prompt(tools=[TOOL, ToolSchema("other", "", {"type": "object"})], options=options))
        await client.ask(
            "openai/gpt-5-mini", prompt(options=ModelOptions(max_output_tokens=77, reasoning_effort="low"))
        )
    plain, reasoning = (asked.body for asked in provider.asked)
    assert (plain["temperature"], plain["max_tokens"], plain["parallel_tool_calls"]) == (0.2, 77, False)
    assert plain["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert (reasoning["max_completion_tokens"], reasoning["reasoning_effort"]) == (77, "low")


async def test_unknown_effort_is_refused(client_for: ClientFor) -> None:
    async with FakeProvider([chat()]) as provider:
        with pytest.raises(InvalidInput, match="reasoning effort"):
            await client_for(provider.address).ask(OPENAI, prompt(options=ModelOptions(reasoning_effort="mild")))


async def test_images(client_for: ClientFor) -> None:
    images = [Image(url="http://pictures/1.png"), Image(data="AAAA", media_type="image/png")]
    async with FakeProvider([chat(), chat()]) as provider:
        client = client_for(provider.address)
        await client.ask(OPENAI, prompt(UserMessage(["See:", *images])))
        unreadable = [Image(data="***"), Image(data=""), Image(data="AAAA", media_type="text/plain")]
        await client.ask(OPENAI, prompt(UserMessage(unreadable)))
    content = provider.asked[0].body["messages"][1]["content"]
    assert [part.get("image_url", {}).get("url") for part in content[1:]] == [
        "http://pictures/1.png",
        "data:image/png;base64,AAAA",
    ]
    content = provider.asked[1].body["messages"][1]["content"]
    assert [part.get("text") for part in content] == ["(a picture that cannot be read)"] * 3


DRAWN = [
    UserMessage("Draw."),
    AssistantMessage(tool_calls=[ToolCall("call_1", "look", "{}"), ToolCall("call_2", "look", "{}")]),
    ToolReturn("call_1", "look", "(picture 1)", pictures=[Image(data="AAAA", media_type="image/png")]),
    ToolReturn("call_2", "look", "nothing"),
]


async def test_pictures_of_tools_follow_the_returns_where_those_are_text(client_for: ClientFor) -> None:
    async with FakeProvider([chat()]) as provider:
        await client_for(provider.address).ask(OPENAI, prompt(*DRAWN, tools=[TOOL]))
    messages = provider.asked[0].body["messages"]
    assert [message["role"] for message in messages[3:]] == ["tool", "tool", "user", "system"]
    assert messages[3]["content"] == "(picture 1)"
    assert messages[5]["content"][1]["image_url"]["url"] == "data:image/png;base64,AAAA"


async def test_a_long_conversation_with_pictures_of_tools_is_sent_the_same_again(client_for: ClientFor) -> None:
    talk = [turn for _ in range(30) for turn in (UserMessage("Well?"), AssistantMessage("Well."))]
    turns = [*talk, *DRAWN, AssistantMessage("There."), UserMessage("And?"), AssistantMessage("No."), UserMessage("?")]
    async with FakeProvider([chat()]) as provider:
        client = client_for(provider.address)
        for count in (64, 66, 68):
            await client.ask(OPENAI, prompt(*turns[:count], conversation_id="c"))
        await client_for(provider.address).ask(OPENAI, prompt(*turns, conversation_id="d"))
    assert provider.asked[2].body["messages"] == provider.asked[3].body["messages"]


@pytest.mark.parametrize(
    "refusal",
    [
        failure(400, "Invalid content type. image_url is only supported by certain models."),
        failure(404, "No endpoints found that support image input"),
        failure(500, "image input is not supported - hint: you may need to provide the mmproj"),
    ],
)
async def test_a_model_that_sees_nothing_is_asked_without_the_pictures_of_tools(
    refusal: Any, client_for: ClientFor
) -> None:
    async with FakeProvider([refusal, chat("Hello.")]) as provider:
        reply = await client_for(provider.address).ask(OPENAI, prompt(*DRAWN, tools=[TOOL]))
    assert reply.text == "Hello."
    assert "image_url" in json.dumps(provider.asked[0].body)
    assert "image_url" not in json.dumps(provider.asked[1].body)
    assert provider.asked[1].body["messages"][3]["content"] == "(picture 1)"
    async with FakeProvider([refusal, chat()]) as provider:  # who sends a picture is told
        with pytest.raises(ProviderError):
            await client_for(provider.address, model_retries=0).ask(
                OPENAI, prompt(UserMessage(["?", *DRAWN[2].pictures]))
            )


async def test_foreign_call_ids_are_made_to_fit(client_for: ClientFor) -> None:
    turns = [
        UserMessage("?"),
        AssistantMessage(tool_calls=[ToolCall("functions.look:0", "look", "{}")]),
        ToolReturn("functions.look:0", "look", "x"),
    ]
    async with FakeProvider([ANSWER_FOR[ANTHROPIC]]) as provider:
        await client_for(provider.address).ask(ANTHROPIC, prompt(*turns, tools=[TOOL]))
    call, result = provider.asked[0].body["messages"][1]["content"][0], provider.asked[0].body["messages"][2]
    assert call["id"] == result["content"][0]["tool_use_id"]
    assert call["id"].isalnum()
    async with FakeProvider([chat()]) as provider:
        client = client_for(provider.address)
        await client.ask("vllm/kimi", prompt(*turns, tools=[TOOL]))
        await client.ask("mistral/small", prompt(*turns, tools=[TOOL]))
    ids = [asked.body["messages"][2]["tool_calls"][0]["id"] for asked in provider.asked]
    assert ids[0] == "functions.look:0"
    assert len(ids[1]) == 9


async def test_server_that_wants_system_messages_first_gets_memory_as_user_text(
    client_for: ClientFor,
) -> None:
    def strict(asked: Any) -> Answer:
        roles = [message["role"] for message in asked.body["messages"]]
        return failure(400, "System message must be at the beginning.") if "system" in roles[1:] else chat()

    async with FakeProvider(strict) as provider:
        client = client_for(provider.address)
        for _ in range(2):
            assert (await client.ask("vllm/qwen", prompt())).text == "Hello."
    assert len(provider.asked) == 3
    last = provider.asked[-1].body["messages"]
    assert [message["role"] for message in last] == ["system", "user"]
    assert last[1]["content"] == "Hello?\n\n<memory/>"


def in_mistrals_order(asked: Any) -> Answer:
    """Refuse what Mistral refuses: after what a tool returned only the model may speak."""
    follows = {"tool": ("assistant", "tool"), "assistant": ("assistant", "user", "tool")}
    roles = [message["role"] for message in asked.body["messages"]]
    for before, role in pairwise(roles):
        if role not in follows.get(before, ("assistant", "system", "user")):
            return failure(400, f"Unexpected role '{role}' after role '{before}'", "3230")
    return chat()


def in_turns(asked: Any) -> Answer:
    """Refuse what many chat templates do: users and model have to take turns; calls and returns do not count."""
    first, *rest = asked.body["messages"]
    said = [message["role"] for message in rest if message["role"] != "tool" and not message.get("tool_calls")]
    if first["role"] != "system" or said != (["user", "assistant"] * len(said))[: len(said)]:
        return failure(500, "After the optional system message, conversation roles must alternate user/assistant")
    return chat()


CALLED = (AssistantMessage("", tool_calls=(ToolCall("abcdefghi", "look", "{}"),)), ToolReturn("abcdefghi", "look", "x"))
IN_TURNS = [
    # the turns of a conversation, then what is sent of them behind the instructions
    ((UserMessage("q"), *CALLED), ["q", None, "x\n\n<memory/>"]),
    (
        (UserMessage("q"), *CALLED, UserMessage("a"), UserMessage("b")),
        ["q", None, "x", "(the conversation continues)", "a\n\nb\n\n<memory/>"],
    ),
    (
        (UserMessage("q"), AssistantMessage("a"), AssistantMessage("b"), SystemMessage("s")),
        ["q", "a", "(the conversation continues)", "b", "<system>\ns\n</system>\n\n<memory/>"],
    ),
]


@pytest.mark.parametrize("server", [in_mistrals_order, in_turns])
@pytest.mark.parametrize(("turns", "sent"), IN_TURNS)
async def test_server_that_wants_roles_to_take_turns(
    server: Any, turns: Sequence[PromptMessage], sent: list[str], client_for: ClientFor
) -> None:
    async with FakeProvider(server) as provider:
        client = client_for(provider.address)
        for _ in range(2):
            assert (await client.ask("mistral/small", prompt(*turns, tools=[TOOL]))).text == "Hello."
    assert len(provider.asked) == 3, "it is known from the first refusal on"
    assert [message["content"] for message in provider.asked[-1].body["messages"][1:]] == sent


# --- what comes back


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(
            {
                "detail": [
                    {
                        "loc": ["body", "messages", 2, "assistant", "reasoning_content"],
                        "msg": "Extra inputs are not permitted",
                    }
                ]
            },
            422,
        ),
        failure(400, "'messages.2' : for 'role:assistant' ... property 'reasoning_content' is unsupported"),
        failure(500, "Cannot pass both content and thinking in an assistant message with tool calls!"),
    ],
)
async def test_server_that_does_not_take_thoughts_back_is_asked_without_them(
    refusal: Answer, client_for: ClientFor
) -> None:
    def strict(asked: Any) -> Answer:
        return refusal if b"reasoning_content" in asked.raw else chat("Done.", reasoning_content="Hm.")

    async with FakeProvider(strict) as provider:
        client = client_for(provider.address)
        thought = await client.ask("mistral/magistral", prompt())
        assert thought.reasoning
        for _ in range(2):
            turns = (UserMessage("a"), thought, UserMessage("b"))
            assert (await client.ask("mistral/magistral", prompt(*turns))).text == "Done."
    assert len(provider.asked) == 4, "it is known from the first refusal on"


@pytest.mark.parametrize(
    "refusal",
    [
        Answer({"detail": [{"loc": ["body", "messages", 2, "content"], "msg": "none is not an allowed value"}]}, 422),
        Answer({"error": "Error rendering prompt with jinja template: Cannot perform operation on null values"}, 400),
        failure(500, "Value is not callable: null at row 1, column 7"),
    ],
)
async def test_server_that_wants_a_text_in_every_message(refusal: Answer, client_for: ClientFor) -> None:
    def strict(asked: Any) -> Answer:
        return refusal if None in [message["content"] for message in asked.body["messages"]] else chat()

    async with FakeProvider(strict) as provider:
        client = client_for(provider.address)
        for _ in range(2):
            assert (await client.ask("vllm/any", prompt(UserMessage("q"), *CALLED, tools=[TOOL]))).text == "Hello."
    assert len(provider.asked) == 3, "it is known from the first refusal on"


async def test_server_that_lets_its_model_choose_is_not_told_to_force_a_call(client_for: ClientFor) -> None:
    def strict(asked: Any) -> Answer:
        fault = {"loc": ["body", "tool_choice"], "msg": "Input should be 'none' or 'auto'"}
        return Answer({"detail": [fault]}, 422) if asked.body.get("tool_choice") == "required" else chat()

    async with FakeProvider(strict) as provider:
        asked = prompt(tools=[TOOL], options=ModelOptions(tool_choice="required"))
        assert (await client_for(provider.address).ask("vllm/any", asked)).text == "Hello."


async def test_tool_calls_come_back_as_written(client_for: ClientFor) -> None:
    async with FakeProvider([chat(None, [("a", "look", '{"q": "x"'), ("b", "look", "{}")])]) as provider:
        reply = await client_for(provider.address).ask(OPENAI, prompt(tools=[TOOL]))
    assert reply.tool_calls == (ToolCall("a", "look", '{"q": "x"'), ToolCall("b", "look", "{}"))
    assert reply.finish_reason == "tool_call"
    assert (reply.usage.cached_input_tokens, reply.usage.reasoning_tokens) == (8, 3)


async def test_empty_answer_is_an_answer(client_for: ClientFor) -> None:
    for empty in (chat(""), chat(None)):
        async with FakeProvider([empty]) as provider:
            assert (await client_for(provider.address).ask(OPENAI, prompt())).text == ""
    async with FakeProvider([claude()]) as provider:
        assert (await client_for(provider.address).ask(ANTHROPIC, prompt())).text == ""


async def test_anthropic_reasoning_goes_back_with_its_signature(client_for: ClientFor) -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "signed"}
    hidden = {"type": "redacted_thinking", "data": "sealed"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": "ü"}}
    async with FakeProvider([claude(thought, hidden, use, stop="tool_use")]) as provider:
        client = client_for(provider.address)
        reply = await client.ask(ANTHROPIC, prompt(tools=[TOOL]))
        stored = json.loads(json.dumps([[r.text, r.signature, r.provider] for r in reply.reasoning]))
        assistant = AssistantMessage(reply.text, [Reasoning(*row) for row in stored], reply.tool_calls)
        turns = [UserMessage("Hello?"), assistant, ToolReturn("toolu_1", "look", "x")]
        await client.ask(ANTHROPIC, prompt(*turns, tools=[TOOL]))
    assert provider.asked[1].body["messages"][1]["content"] == [thought, hidden, use]
    async with FakeProvider([chat()]) as other:
        await client_for(other.address).ask(OPENAI, prompt(*turns, tools=[TOOL]))
    assert "Hm." not in other.asked[0].raw.decode()


async def test_gemini_thought_signature_goes_back_with_its_call(client_for: ClientFor) -> None:
    call = {"functionCall": {"name": "look", "args": {"q": "x"}, "id": "f1"}, "thoughtSignature": "c2lnbmVk"}
    async with FakeProvider([gemini(call)]) as provider:
        client = client_for(provider.address)
        reply = await client.ask(GOOGLE, prompt(tools=[TOOL]))
        turns = [
            UserMessage("Hello?"),
            AssistantMessage(reply.text, reply.reasoning, reply.tool_calls),
            ToolReturn(reply.tool_calls[0].id, "look", "x"),
        ]
        await client.ask(GOOGLE, prompt(*turns, tools=[TOOL]))
    sent = provider.asked[1].body["contents"][1]["parts"][0]
    assert (sent["functionCall"]["args"], sent["thoughtSignature"]) == ({"q": "x"}, "c2lnbmVk")


async def test_reasoning_of_compatible_servers(client_for: ClientFor) -> None:
    async with FakeProvider([chat("Yes.", reasoning_content="Because.")]) as provider:
        reply = await client_for(provider.address).ask("vllm/any", prompt())
    assert [thought.text for thought in reply.reasoning] == ["Because."]
    assert reply.text == "Yes."


# --- streams


async def _all(client: ModelClient, handle: str, asked: Prompt) -> list[Any]:
    return [item async for item in client.stream(handle, asked)]


async def test_stream_of_text_and_calls(client_for: ClientFor) -> None:
    def piece(arguments: str, **rest: Any) -> dict[str, Any]:
        return {
            "tool_calls": [
                {
                    "index": 0,
                    **rest,
                    "function": {"arguments": arguments, **({"name": "look"} if rest else {})},
                }
            ]
        }

    stream = chat_stream(
        {"role": "assistant", "reasoning_content": "Hm."},
        {"content": "One "},
        {"content": "two."},
        piece("", id="a", type="function"),
        piece('{"q": '),
        piece('"x"}'),
        finish="tool_calls",
    )
    async with FakeProvider([stream]) as provider:
        *deltas, reply = await _all(client_for(provider.address), OPENAI, prompt(tools=[TOOL]))
    assert deltas[0] == ReasoningDelta("Hm.")
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == "One two."
    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert (calls[0].id, calls[0].name) == ("a", "look")
    assert "".join(delta.arguments for delta in calls) == '{"q": "x"}'
    assert isinstance(reply, Reply)
    assert (reply.text, reply.tool_calls) == ("One two.", (ToolCall("a", "look", '{"q": "x"}'),))
    assert reply.usage.prompt_tokens == 20
    assert provider.asked[0].body["stream"] is True


async def test_stream_of_anthropic(client_for: ClientFor) -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "signed"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": "x"}}
    async with FakeProvider([claude(thought, {"type": "text", "text": "Hi."}, use, stop="tool_use")]) as provider:
        *deltas, reply = await _all(client_for(provider.address), ANTHROPIC, prompt(tools=[TOOL]))
    assert deltas[:2] == [ReasoningDelta("Hm."), TextDelta("Hi.")]
    assert (reply.text, reply.reasoning[0].signature, reply.finish_reason) == ("Hi.", "signed", "tool_call")
    assert "".join(delta.arguments for delta in deltas[2:]) == reply.tool_calls[0].arguments
    assert (reply.usage.cached_input_tokens, reply.usage.cache_write_tokens) == (8, 2)


async def test_stream_that_breaks_off_is_an_error_and_not_asked_again(client_for: ClientFor) -> None:
    async with FakeProvider([chat_stream({"content": "One "}, cut=True)]) as provider:
        heard = []
        with pytest.raises(ProviderError, match="OpenAI"):
            async for item in client_for(provider.address).stream(OPENAI, prompt()):
                heard.append(item)
    assert heard == [TextDelta("One ")]
    assert len(provider.asked) == 1


async def test_stream_is_retried_before_its_first_piece(client_for: ClientFor) -> None:
    async with FakeProvider([failure(500, "oops"), DROP, chat_stream({"content": "Hi"})]) as provider:
        items = await _all(client_for(provider.address), OPENAI, prompt())
    assert items[0] == TextDelta("Hi")
    assert len(provider.asked) == 3


async def test_silent_stream_times_out(client_for: ClientFor) -> None:
    async with FakeProvider([HANG]) as provider:
        with pytest.raises(ProviderTimeout):
            await _all(client_for(provider.address, model_timeout=0.05), OPENAI, prompt())


# --- failures


@each_provider
async def test_refused_key(handle: str, client_for: ClientFor) -> None:
    async with FakeProvider([failure(401, "Incorrect API key provided: house-of-cards")]) as provider:
        with pytest.raises(ProviderAuthentication, match="API_KEY") as caught:
            await client_for(provider.address).ask(handle, prompt())
    assert "cards" not in caught.value.message
    assert len(provider.asked) == 1


@each_provider
@pytest.mark.parametrize("fault", [failure(500, "oops"), failure(503, "overloaded"), failure(429, "slow down"), DROP])
async def test_passing_faults_are_retried(handle: str, fault: Any, client_for: ClientFor, pauses: Any) -> None:
    async with FakeProvider([fault, ANSWER_FOR[handle]]) as provider:
        assert (await client_for(provider.address).ask(handle, prompt())).text == "Hello."
    assert len(provider.asked) == 2
    assert len(pauses.seconds) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [({"retry_after": "7"}, 7.0), ({"retry_after": "7.5"}, 7.5), ({"retry_after_ms": "7500"}, 7.5)],
)
async def test_retry_after_is_honoured(
    header: dict[str, str], seconds: float, client_for: ClientFor, pauses: Any
) -> None:
    async with FakeProvider([failure(429, "slow down", **header), chat()]) as provider:
        await client_for(provider.address).ask(OPENAI, prompt())
    assert pauses.seconds == [seconds]


async def test_retry_after_too_long_to_wait_for(client_for: ClientFor, pauses: Any) -> None:
    async with FakeProvider([failure(429, "slow down", retry_after="3600"), chat()]) as provider:
        with pytest.raises(ProviderRateLimit, match="3600 s"):
            await client_for(provider.address).ask(OPENAI, prompt())
    assert pauses.seconds == []


async def test_used_up_credit_is_not_retried(client_for: ClientFor) -> None:
    async with FakeProvider([failure(429, "You exceeded your quota", "insufficient_quota")]) as provider:
        with pytest.raises(ProviderRateLimit, match="credit"):
            await client_for(provider.address).ask(OPENAI, prompt())
    assert len(provider.asked) == 1


async def test_lasting_fault_ends_after_the_retries_that_are_set(client_for: ClientFor, pauses: Any) -> None:
    async with FakeProvider([failure(500, "oops")]) as provider:
        with pytest.raises(ProviderError, match="OpenAI failed") as caught:
            await client_for(provider.address, model_retries=3).ask(OPENAI, prompt())
    assert len(provider.asked) == 4
    assert pauses.seconds == sorted(pauses.seconds)
    assert caught.value.__cause__ is not None


async def test_hanging_provider_times_out_once(client_for: ClientFor) -> None:
    async with FakeProvider([HANG]) as provider:
        with pytest.raises(ProviderTimeout, match="FOLKMOOT_MODEL_TIMEOUT"):
            await client_for(provider.address, model_timeout=0.05).ask(OPENAI, prompt())
    assert len(provider.asked) <= 1


async def test_nobody_there(client_for: ClientFor) -> None:
    async with FakeProvider([chat()]) as provider:
        address = provider.address
    with pytest.raises(ProviderError, match="cannot be reached"):
        await client_for(address).ask(OPENAI, prompt())


@each_provider
@pytest.mark.parametrize(
    "nonsense",
    [
        Answer("<html>hello</html>", headers={"content-type": "text/html"}),
        Answer("{not json"),
        Answer({}),
        Answer([]),
        Answer({"choices": [], "content": 3, "candidates": "x"}),
        Answer(""),
    ],
)
async def test_nonsense_is_a_provider_error(handle: str, nonsense: Answer, client_for: ClientFor) -> None:
    async with FakeProvider([nonsense]) as provider:
        try:
            reply = await client_for(provider.address).ask(handle, prompt())
        except ProviderError as exc:
            assert exc.status == 502
        else:
            assert (reply.text, reply.tool_calls) == ("", ())


@pytest.mark.parametrize(
    ("handle", "fault"),
    [
        (OPENAI, failure(400, "Too long.", "context_length_exceeded")),
        (OPENAI, failure(400, "This model's maximum context length is 8192 tokens.")),
        (OPENAI, failure(400, "the request exceeds the available context size (4096 tokens)")),
        (
            ANTHROPIC,
            failure(400, "prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
        ),
        (
            GOOGLE,
            failure(400, "The input token count (1200000) exceeds the maximum number of tokens allowed"),
        ),
        (
            "vllm/any",
            failure(400, "You passed 9000 input tokens; the model's context length is only 8192 tokens."),
        ),
    ],
)
async def test_context_overflow(handle: str, fault: Answer, client_for: ClientFor) -> None:
    async with FakeProvider([fault]) as provider:
        with pytest.raises(ContextOverflow):
            await client_for(provider.address).ask(handle, prompt())
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    "words",
    [
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "Input length (265330 tokens) exceeds the maximum allowed length (262138 tokens). Use a shorter input.",
        "Input length 877338 exceeds the maximum allowed input length of 639968 tokens",
        "Prompt exceeds max length",
        "Prompt length 5000 is greater than max_seq_len 4096",
        "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)",
        "tokens in request more than max tokens allowed",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
        "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000",
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 98304]",
    ],
)
def test_words_for_a_prompt_that_is_too_long(words: str) -> None:
    from pydantic_ai.exceptions import ModelHTTPError

    from folkmoot.models.failures import is_overflow

    refused = ModelHTTPError(400, "m", {"message": words})
    assert is_overflow(refused, 400, words)
    assert not is_overflow(ModelHTTPError(429, "m", {"message": words}), 429, words)


@pytest.mark.parametrize(
    "body", ["", "<html>413 Request Entity Too Large</html>", {"error": "Request too large (TPM)"}]
)
async def test_a_request_that_is_too_large_is_too_long(body: Any, client_for: ClientFor) -> None:
    async with FakeProvider([Answer(body, 413)]) as provider:
        with pytest.raises(ContextOverflow):
            await client_for(provider.address).ask(OPENAI, prompt())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"detail": "no such thing"}, "no such thing"),
        ({"detail": [{"loc": ["body", "messages", 1], "msg": "not allowed"}]}, "body.messages.1: not allowed"),
        ([{"error": {"code": 400, "message": "no such thing"}}], "no such thing"),
        ({"errors": [{"message": "no such thing"}]}, "no such thing"),
    ],
)
async def test_errors_are_told_in_their_words_whatever_their_form(body: Any, words: str, client_for: ClientFor) -> None:
    async with FakeProvider([Answer(body, 400)]) as provider:
        with pytest.raises(ProviderRejected) as caught:
            await client_for(provider.address).ask(OPENAI, prompt())
    assert caught.value.message.endswith(f"It said: {words}")


async def test_what_is_forbidden_is_told_without_the_key(client_for: ClientFor) -> None:
    async with FakeProvider([failure(403, "Your country is not served; key house-of-cards.")]) as provider:
        with pytest.raises(ProviderAuthentication, match="Your country is not served; key \\*\\*\\*"):
            await client_for(provider.address).ask(OPENAI, prompt())


async def test_refused_request_says_why_without_the_key(client_for: ClientFor) -> None:
    async with FakeProvider(
        [failure(400, "Bad field; keys house-of-cards and sk-other-0123456789 were used.")]
    ) as provider:
        with pytest.raises(ProviderRejected, match="Bad field") as caught:
            await client_for(provider.address).ask(OPENAI, prompt())
    assert "cards" not in caught.value.message
    assert "0123" not in caught.value.message


async def test_unconfigured_provider(client_for: ClientFor) -> None:
    client = client_for("http://127.0.0.1:9")
    with pytest.raises(NotFound, match=r"groq/llama.*GROQ_API_KEY"):
        await client.ask("groq/llama", prompt())
    with pytest.raises(NotFound, match=r"groq/llama"):
        await _all(client, "groq/llama", prompt())
