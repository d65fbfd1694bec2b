"""A provider's requests and responses as they went over the wire, for traces."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_provider import FakeProvider, chat, claude, failure, gemini, responses, said

from folkmoot.errors import NotFound
from folkmoot.models.prompt import ModelOptions, Prompt, Reply, UserMessage
from folkmoot.models.requests import ModelClient

OPENAI, ANTHROPIC, GOOGLE = "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "google_ai/gemini-2.5-flash"
PROMPT = Prompt("Be brief.", [UserMessage("Hello?")], "<memory/>", options=ModelOptions(max_output_tokens=500))
ClientFor = Callable[..., ModelClient]

each_provider = pytest.mark.parametrize(
    ("handle", "api", "answer"),
    [
        pytest.param(OPENAI, "chat", chat("Hello."), id="chat"),
        pytest.param(OPENAI, "responses", responses(said("msg_1", "Hello.")), id="responses"),
        pytest.param(ANTHROPIC, "chat", claude({"type": "text", "text": "Hello."}), id="anthropic"),
        pytest.param(GOOGLE, "chat", gemini({"text": "Hello."}), id="google"),
    ],
)


@each_provider
async def test_a_reply_is_traced_in_the_providers_json(
    handle: str, api: str, answer: Any, client_for: ClientFor
) -> None:
    async with FakeProvider([answer]) as provider:
        client = client_for(provider.address, {"OPENAI_API": api}, trace=True)
        reply = await client.ask(handle, PROMPT)
    assert reply.trace is not None
    kept = {name: json.loads(text) for name, text in reply.trace.items()}
    assert kept == {"request": provider.asked[0].body, "response": answer.body}
    assert "house-of-cards" not in str(reply.trace)


@each_provider
async def test_nothing_is_kept_unless_it_is_wanted(handle: str, api: str, answer: Any, client_for: ClientFor) -> None:
    async with FakeProvider([answer]) as provider:
        client = client_for(provider.address, {"OPENAI_API": api}, trace="off")
        assert (await client.ask(handle, PROMPT)).trace is None


async def test_of_a_stream_the_request_is_kept(client_for: ClientFor) -> None:
    async with FakeProvider([responses(said("msg_1", "Hello."))]) as provider:
        client = client_for(provider.address, {"OPENAI_API": "responses"}, trace=True)
        *_, reply = [item async for item in client.stream(OPENAI, PROMPT)]
    assert isinstance(reply, Reply)
    assert reply.trace is not None
    assert {name: json.loads(text) for name, text in reply.trace.items()} == {"request": provider.asked[0].body}


async def test_the_last_attempt_is_kept(client_for: ClientFor) -> None:
    async with FakeProvider([failure(500, "oops"), chat("Hello.")]) as provider:
        reply = await client_for(provider.address, trace=True).ask(OPENAI, PROMPT)
    assert reply.trace is not None
    assert json.loads(reply.trace["response"])["choices"][0]["message"]["content"] == "Hello."


@each_provider
async def test_a_preview_is_what_is_sent(handle: str, api: str, answer: Any, client_for: ClientFor) -> None:
    async with FakeProvider([answer]) as provider:
        client = client_for(provider.address, {"OPENAI_API": api})
        seen = await client.preview(handle, PROMPT)
        assert provider.asked == []
        await client.ask(handle, PROMPT)
    assert provider.asked[0].body == seen


async def test_a_preview_needs_a_configured_provider(client_for: ClientFor) -> None:
    with pytest.raises(NotFound, match="GROQ_API_KEY"):
        await client_for("http://127.0.0.1:9").preview("groq/llama", PROMPT)
    assert "messages" in await client_for("http://127.0.0.1:9").preview("offline/notetaker", PROMPT)
