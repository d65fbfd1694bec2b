"""OpenAI's reasoning models, asked by the Responses API: what they thought goes back to them as it came."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_provider import (
    Answer,
    Asked,
    FakeProvider,
    called,
    chat,
    claude,
    failure,
    responses,
    said,
    thought,
)

from folkmoot.errors import ContextOverflow, InvalidInput
from folkmoot.models.prompt import (
    AssistantMessage,
    Image,
    Prompt,
    PromptMessage,
    Reasoning,
    ReasoningDelta,
    Reply,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolReturn,
    ToolSchema,
    UserMessage,
)
from folkmoot.models.providers import resolve
from folkmoot.models.requests import ModelClient

MODEL = "openai/gpt-5-mini"
TOOL = ToolSchema("look", "Look something up.", {"type": "object", "properties": {"q": {"type": "string"}}})
BY_RESPONSES = {"OPENAI_API": "responses"}
ClientFor = Callable[..., ModelClient]

whole_and_streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def prompt(*turns: PromptMessage) -> Prompt:
    return Prompt("Be brief.", turns or (UserMessage("Hello?"),), "<memory/>", [TOOL])


async def answer(client: ModelClient, streamed: bool, *turns: PromptMessage) -> Reply:
    if not streamed:
        return await client.ask(MODEL, prompt(*turns))
    items = [item async for item in client.stream(MODEL, prompt(*turns))]
    assert isinstance(items[-1], Reply)
    return items[-1]


def as_stored(reply: Reply) -> AssistantMessage:
    """Return the reply as it comes back from the store, where its reasoning is JSON."""
    rows = json.loads(json.dumps([[each.text, each.signature, each.provider] for each in reply.reasoning]))
    return AssistantMessage(reply.text, [Reasoning(*row) for row in rows], reply.tool_calls)


async def sent_back(client_for: ClientFor, items: list[dict[str, Any]], *, streamed: bool = False) -> list[Any]:
    """Return what a reply of these items becomes in the next request, without what is around it."""
    async with FakeProvider([responses(*items)]) as provider:
        client = client_for(provider.address, BY_RESPONSES)
        reply = await answer(client, streamed)
        returns = [ToolReturn(call.id, call.name, "x") for call in reply.tool_calls]
        await client.ask(MODEL, prompt(UserMessage("Hello?"), as_stored(reply), *returns, UserMessage("And?")))
    body = provider.asked[1].body["input"]
    return body[1 : len(body) - 2 - len(returns)]


def bare(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item without what the API does not want back."""
    return {name: value for name, value in item.items() if name != "status" or item["type"] == "message"}


async def test_request_is_stateless_and_ends_with_the_memory(client_for: ClientFor) -> None:
    turns = [
        UserMessage(["What is on?", Image(data="AAAA", media_type="image/png")]),
        AssistantMessage("Let me see.", tool_calls=[ToolCall("call_1", "look", '{"q": "today"}')]),
        ToolReturn("call_1", "look", "a play", failed=True),
    ]
    async with FakeProvider([responses(said("msg_1", "Hello."))]) as provider:
        reply = await client_for(provider.address, BY_RESPONSES).ask(MODEL, prompt(*turns))
    asked = provider.asked[0]
    assert (asked.path, asked.headers["authorization"]) == ("/v1/responses", "Bearer house-of-cards")
    body = asked.body
    assert (body["store"], body["include"], body["instructions"]) == (
        False,
        ["reasoning.encrypted_content"],
        "Be brief.",
    )
    assert "previous_response_id" not in body
    assert body["tools"][0]["parameters"] == TOOL.parameters
    assert body["input"][-1] == {"role": "system", "content": "<memory/>"}
    assert body["input"][-2] == {"type": "function_call_output", "call_id": "call_1", "output": "a play"}
    assert reply.text == "Hello."
    assert (reply.usage.prompt_tokens, reply.usage.cached_input_tokens, reply.usage.reasoning_tokens) == (20, 8, 3)


@whole_and_streamed
@pytest.mark.parametrize(
    "items",
    [
        pytest.param([thought("rs_1"), said("msg_1", "Yes.")], id="before a text"),
        pytest.param([thought("rs_1", summary="Hm."), called("fc_1", "call_1")], id="before a call"),
        pytest.param([thought("rs_1"), called("fc_1", "call_1"), called("fc_2", "call_2")], id="before two calls"),
        pytest.param(
            [
                thought("rs_1"),
                said("msg_1", "I look."),
                thought("rs_2"),
                called("fc_1", "call_1", "look", '{"q":"ü"}'),
            ],
            id="twice",
        ),
        pytest.param(
            [thought("rs_1"), said("msg_1", "I look."), said("msg_2", "There it is.")], id="before two messages"
        ),
        pytest.param(
            [called("fc_1", "call_1"), thought("rs_1"), called("fc_2", "call_2"), said("msg_1", "Wait.")], id="amid"
        ),
    ],
)
async def test_reasoning_goes_back_as_it_came(
    items: list[dict[str, Any]], streamed: bool, client_for: ClientFor
) -> None:
    assert await sent_back(client_for, items, streamed=streamed) == [bare(item) for item in items]


async def test_several_summaries_are_one_item_again(client_for: ClientFor) -> None:
    item = thought("rs_1", summary="One.")
    item["summary"].append({"type": "summary_text", "text": "Two."})
    items = [item, said("msg_1", "Yes.")]
    assert await sent_back(client_for, items) == items


async def test_reasoning_that_nothing_followed_stays_behind(client_for: ClientFor) -> None:
    async with FakeProvider([responses(thought("rs_1"), status="incomplete")]) as provider:
        client = client_for(provider.address, BY_RESPONSES)
        reply = await client.ask(MODEL, prompt())
        assert reply.finish_reason == "length"
        await client.ask(MODEL, prompt(UserMessage("Hello?"), as_stored(reply), UserMessage("And?")))
    assert [item["role"] for item in provider.asked[1].body["input"]] == ["user", "user", "system"]


async def test_reasoning_without_its_content_stays_behind(client_for: ClientFor) -> None:
    sent = await sent_back(client_for, [thought("rs_1", sealed=None, summary="Hm."), said("msg_1", "Yes.")])
    assert sent == [{"role": "assistant", "content": "Yes."}]


@pytest.mark.parametrize("lost", ["text", "call", "reasoning"])
async def test_what_is_left_of_a_reply_goes_without_reasoning(lost: str, client_for: ClientFor) -> None:
    items = [thought("rs_1"), said("msg_1", "I look."), thought("rs_2"), called("fc_1", "call_1")]
    async with FakeProvider([responses(*items)]) as provider:
        client = client_for(provider.address, BY_RESPONSES)
        whole = as_stored(await client.ask(MODEL, prompt()))
        left = {
            "text": AssistantMessage("I lo…", whole.reasoning, whole.tool_calls),
            "call": AssistantMessage(whole.text, whole.reasoning),
            "reasoning": AssistantMessage(whole.text, whole.reasoning[1:], whole.tool_calls),
        }[lost]
        await client.ask(MODEL, prompt(UserMessage("Hello?"), left, UserMessage("And?")))
    text = json.dumps(provider.asked[1].body)
    assert not any(name in text for name in ("rs_1", "rs_2", "msg_1", "fc_1", "sealed"))
    assert left.text[:4] in text


async def test_reasoning_goes_to_its_own_provider_and_api_alone(client_for: ClientFor) -> None:
    theirs = claude({"type": "thinking", "thinking": "Hm.", "signature": "signed"}, {"type": "text", "text": "One."})

    def script(asked: Asked) -> Answer:
        if asked.path.endswith("/responses"):
            return responses(thought("rs_1", summary="Sealed thought."), said("msg_1", "Two."))
        return theirs if asked.path.endswith("/messages") else chat("Three.", reasoning_content="Open thought.")

    async with FakeProvider(script) as provider:
        by_chat, by_responses = client_for(provider.address), client_for(provider.address, BY_RESPONSES)
        replies = [
            as_stored(await by_chat.ask("anthropic/claude-haiku-4-5", prompt())),
            as_stored(await by_responses.ask(MODEL, prompt())),
            as_stored(await by_chat.ask(MODEL, prompt())),
        ]
        for client, handle in ((by_responses, MODEL), (by_chat, MODEL), (by_chat, "anthropic/claude-haiku-4-5")):
            await client.ask(handle, prompt(UserMessage("Hello?"), *replies, UserMessage("And?")))
    thoughts = ("Hm.", "Sealed thought.", "Open thought.")
    for asked, own in zip(provider.asked[3:], ("Sealed thought.", "Open thought.", "Hm."), strict=True):
        text = asked.raw.decode()
        assert [each in text for each in thoughts] == [each == own for each in thoughts]
        assert all(said_then in text for said_then in ("One.", "Two.", "Three."))


@pytest.mark.parametrize(
    "refusal",
    [
        failure(400, "The encrypted content for item rs_1 could not be verified.", "invalid_encrypted_content"),
        failure(400, "Item 'rs_1' of type 'reasoning' was provided without its required following item."),
        failure(400, "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'."),
        failure(404, "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."),
    ],
)
async def test_reasoning_that_is_refused_is_left_out(refusal: Answer, client_for: ClientFor) -> None:
    def script(asked: Asked) -> Answer:
        kept = any(item.get("type") == "reasoning" for item in asked.body["input"])
        return refusal if kept else responses(thought("rs_1"), said("msg_1", "Yes."))

    async with FakeProvider(script) as provider:
        client = client_for(provider.address, BY_RESPONSES)
        turn = as_stored(await client.ask(MODEL, prompt()))
        again = await client.ask(MODEL, prompt(UserMessage("Hello?"), turn, UserMessage("And?")))
    assert (again.text, len(provider.asked)) == ("Yes.", 3)


async def test_stream(client_for: ClientFor) -> None:
    items = [thought("rs_1", summary="Hm."), said("msg_1", "Hi."), called("fc_1", "call_1", "look", '{"q": "x"}')]
    async with FakeProvider([responses(*items)]) as provider:
        client = client_for(provider.address, BY_RESPONSES)
        *deltas, reply = [item async for item in client.stream(MODEL, prompt())]
    assert deltas[0] == ReasoningDelta("Hm.")
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == "Hi."
    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert {delta.id for delta in calls} == {"call_1"}
    assert "".join(delta.arguments for delta in calls) == '{"q": "x"}'
    assert isinstance(reply, Reply)
    assert (reply.text, reply.tool_calls, reply.usage.prompt_tokens) == (
        "Hi.",
        (ToolCall("call_1", "look", '{"q": "x"}'),),
        20,
    )


async def test_failures_are_told_as_those_of_chat_completions(client_for: ClientFor) -> None:
    async with FakeProvider([failure(400, "Too long.", "context_length_exceeded")]) as provider:
        with pytest.raises(ContextOverflow):
            await client_for(provider.address, BY_RESPONSES).ask(MODEL, prompt())
    async with FakeProvider([failure(503, "overloaded"), responses(said("m", "Yes."))]) as provider:
        assert (await client_for(provider.address, BY_RESPONSES).ask(MODEL, prompt())).text == "Yes."


@pytest.mark.parametrize(
    ("handle", "environ", "dialect"),
    [
        ("openai/gpt-5-mini", {"OPENAI_API_KEY": "k"}, "responses"),
        ("openai/o3", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://eu.api.openai.com/v1"}, "responses"),
        ("openai/o4-mini", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": ""}, "responses"),
        ("openai/gpt-4o", {"OPENAI_API_KEY": "k"}, "openai"),
        ("openai/gpt-5-chat-latest", {"OPENAI_API_KEY": "k"}, "openai"),
        ("openai/o1-mini", {"OPENAI_API_KEY": "k"}, "openai"),
        ("openai/gpt-5-mini", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://x/v1"}, "openai"),
        ("openai/gpt-5-mini", {"OPENAI_API_KEY": "k", "OPENAI_API": "chat"}, "openai"),
        ("openai/any", {"OPENAI_BASE_URL": "http://x/v1", "OPENAI_API": " Responses "}, "responses"),
        ("openrouter/openai/gpt-5", {"OPENROUTER_API_KEY": "k", "OPENAI_API": "responses"}, "openai"),
        ("anthropic/c", {"ANTHROPIC_API_KEY": "k", "OPENAI_API": "responses"}, "anthropic"),
    ],
)
def test_which_api_is_asked(handle: str, environ: dict[str, str], dialect: str) -> None:
    assert resolve(handle, environ).dialect == dialect


def test_unknown_api_is_refused() -> None:
    with pytest.raises(InvalidInput, match="OPENAI_API is 'grpc'"):
        resolve("openai/gpt-5", {"OPENAI_API_KEY": "k", "OPENAI_API": "grpc"})
