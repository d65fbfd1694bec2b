"""How a model shall answer: what agents' settings become, and what of them each provider is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_provider import FakeProvider, chat

from folkmoot.agents.context import model_options
from folkmoot.errors import InvalidInput
from folkmoot.models.prompt import ModelOptions, Prompt, ToolSchema, UserMessage
from folkmoot.models.requests import ModelClient

TOOL = ToolSchema("look", "Look something up.", {"type": "object", "properties": {"q": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
NAMED = {"type": "json_schema", "json_schema": {"name": "play", "schema": SCHEMA, "strict": True}}
BARE = {"type": "json_schema", "json_schema": SCHEMA}
ANY_JSON = {"type": "json_object"}
Told = Callable[..., Any]


@pytest.fixture
def told(client_for: Callable[..., ModelClient]) -> Told:
    """Return what a provider is told; nobody is asked."""

    async def tell(handle: str, *tools: ToolSchema, api: str = "chat", **options: Any) -> dict[str, Any]:
        async with FakeProvider([chat()]) as provider:
            client = client_for(provider.address, {"OPENAI_API": api})
            prompt = Prompt("Be brief.", [UserMessage("Hello?")], "<memory/>", tools, ModelOptions(**options))
            request: dict[str, Any] = await client.preview(handle, prompt)
            assert provider.asked == []
        return request

    return tell


@pytest.mark.parametrize(
    ("configuration", "options"),
    [
        ({}, ModelOptions()),
        (
            {"model_settings": {"thinking": {"type": "enabled", "budget_tokens": 2000}, "effort": "low"}},
            ModelOptions(reasoning=True, reasoning_budget=2000, effort="low"),
        ),
        ({"model_settings": {"thinking": {"type": "enabled"}}}, ModelOptions(reasoning=True)),
        (
            {"model_settings": {"thinking": {"type": "disabled", "budget_tokens": 2000}}},
            ModelOptions(reasoning=False),
        ),
        (
            {"model_settings": {"thinking_config": {"include_thoughts": True, "thinking_budget": 2000}}},
            ModelOptions(reasoning=True, reasoning_budget=2000, show_reasoning=True),
        ),
        ({"model_settings": {"thinking_config": {"thinking_budget": 0}}}, ModelOptions(reasoning=False)),
        (
            {"model_settings": {"thinking_config": {"thinking_budget": -1}}},
            ModelOptions(reasoning=True, reasoning_budget=-1),
        ),
        (
            {"model_settings": {"reasoning": {"reasoning_effort": "high"}, "verbosity": "low"}},
            ModelOptions(reasoning_effort="high", verbosity="low"),
        ),
        ({"model_settings": {"response_schema": NAMED}}, ModelOptions(response_format=NAMED)),
        ({"response_format": ANY_JSON}, ModelOptions(response_format=ANY_JSON)),
        (
            {"llm_config": {"enable_reasoner": True, "max_reasoning_tokens": 3000, "response_format": ANY_JSON}},
            ModelOptions(reasoning=True, reasoning_budget=3000, response_format=ANY_JSON),
        ),
        ({"llm_config": {"enable_reasoner": True, "max_reasoning_tokens": 0}}, ModelOptions(reasoning=True)),
        ({"llm_config": {"enable_reasoner": False, "max_reasoning_tokens": 3000}}, ModelOptions()),
        (
            {"llm_config": {"reasoning_effort": "low", "verbosity": "high", "effort": "max"}},
            ModelOptions(reasoning_effort="low", verbosity="high", effort="max"),
        ),
        (
            {"model_settings": {"thinking": "on", "thinking_config": 7, "reasoning": None, "response_format": "json"}},
            ModelOptions(),
        ),
        ({"model_settings": {"thinking": {"type": "enabled", "budget_tokens": "many"}}}, ModelOptions(reasoning=True)),
    ],
)
def test_options_of_an_agents_settings(configuration: dict[str, Any], options: ModelOptions) -> None:
    assert model_options(configuration) == options


# --- Anthropic


@pytest.mark.parametrize(
    ("handle", "options", "thinking"),
    [
        ("anthropic/claude-haiku-4-5", {"reasoning_budget": 2000}, {"type": "enabled", "budget_tokens": 2000}),
        ("anthropic/claude-haiku-4-5", {"reasoning_budget": 10}, {"type": "enabled", "budget_tokens": 1024}),
        ("anthropic/claude-haiku-4-5", {}, {"type": "enabled", "budget_tokens": 10_000}),
        (
            "anthropic/claude-haiku-4-5",
            {"reasoning_budget": 8000, "max_output_tokens": 4000},
            {"type": "enabled", "budget_tokens": 2000},
        ),
        ("anthropic/claude-haiku-4-5", {"reasoning_budget": 8000, "max_output_tokens": 1500}, None),
        (
            "anthropic/claude-haiku-4-5",
            {"reasoning_budget": 10**6},
            {"type": "enabled", "budget_tokens": 32_000},
        ),
        ("anthropic/claude-sonnet-4-6", {"reasoning_budget": 2000}, {"type": "enabled", "budget_tokens": 2000}),
        ("anthropic/claude-sonnet-4-6", {}, {"type": "adaptive"}),
        ("anthropic/claude-opus-4-7", {"reasoning_budget": 2000}, {"type": "adaptive"}),
        ("anthropic/claude-3-5-haiku-20241022", {"reasoning_budget": 2000}, None),
    ],
)
@pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")
async def test_claude_thinks(handle: str, options: dict[str, Any], thinking: Any, told: Told) -> None:
    body = await told(handle, reasoning=True, **options)
    assert body.get("thinking") == thinking
    if thinking and "budget_tokens" in thinking:
        assert body["max_tokens"] > thinking["budget_tokens"]


async def test_claude_is_told_nothing_that_it_refuses_while_it_thinks(told: Told) -> None:
    handle, options = "anthropic/claude-haiku-4-5", {"temperature": 0.2, "tool_choice": "required"}
    body = await told(handle, TOOL, reasoning=True, **options)
    assert ("temperature" in body, body["tool_choice"]["type"]) == (False, "auto")
    body = await told(handle, TOOL, **options)
    assert (body["temperature"], body["tool_choice"]["type"]) == (0.2, "any")
    body = await told(handle, TOOL, reasoning=False, **options)
    assert (body["temperature"], body["tool_choice"]["type"], "thinking" in body) == (0.2, "any", False)


async def test_claude_takes_no_temperature_above_one_and_its_newer_models_none(told: Told) -> None:
    assert (await told("anthropic/claude-haiku-4-5", temperature=1.5))["temperature"] == 1.0
    assert "temperature" not in await told("anthropic/claude-opus-4-7", temperature=0.5)


@pytest.mark.parametrize(
    ("handle", "given", "effort"),
    [
        ("anthropic/claude-opus-4-7", "xhigh", "xhigh"),
        ("anthropic/claude-opus-4-5", "max", "high"),
        ("anthropic/claude-opus-4-5", "low", "low"),
        ("anthropic/claude-haiku-4-5", "low", None),
    ],
)
@pytest.mark.filterwarnings("ignore:The model 'claude-opus-4-5' is deprecated:DeprecationWarning")
async def test_effort_of_claude(handle: str, given: str, effort: str | None, told: Told) -> None:
    body = await told(handle, effort=given)
    assert (body.get("output_config", {}).get("effort"), "thinking" in body) == (effort, False)


# --- OpenAI


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("given", [NAMED, BARE])
async def test_shape_of_an_answer_at_openai(api: str, given: dict[str, Any], told: Told) -> None:
    body = await told("openai/gpt-4o", TOOL, api=api, response_format=given)
    if given is NAMED:
        wanted: dict[str, Any] = {"name": "play", "schema": SCHEMA, "strict": True}
    else:
        wanted = {"name": "answer", "schema": SCHEMA}
    if api == "chat":
        assert body["response_format"] == {"type": "json_schema", "json_schema": wanted}
    else:
        assert body["text"] == {"format": {"type": "json_schema", **wanted}}


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_any_json_is_spoken_of_because_openai_demands_that(api: str, told: Told) -> None:
    body = await told("openai/gpt-4o", TOOL, api=api, response_format=ANY_JSON)
    assert (body["response_format"] if api == "chat" else body["text"]["format"]) == ANY_JSON
    assert "JSON" in body["messages" if api == "chat" else "input"][-1]["content"]


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_verbosity_is_told_to_models_that_know_it(api: str, told: Told) -> None:
    body = await told("openai/gpt-5-mini", api=api, verbosity="low", response_format=BARE)
    assert (body["verbosity"] if api == "chat" else body["text"]["verbosity"]) == "low"
    body = await told("openai/gpt-5-mini", api=api, verbosity="low")
    assert (body["verbosity"] if api == "chat" else body["text"]["verbosity"]) == "low"
    body = await told("openai/gpt-4o", api=api, verbosity="low")
    assert "verbosity" not in str(body)


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("handle", "options", "effort", "temperature"),
    [
        ("openai/gpt-5-mini", {"reasoning_effort": "low"}, "low", None),
        ("openai/o3", {}, None, None),
        ("openai/o3", {"reasoning": False}, "low", None),
        ("openai/gpt-5.1", {"reasoning_effort": "none"}, "none", 0.5),
        ("openai/gpt-5.1", {"reasoning_effort": "high"}, "high", None),
        ("openai/gpt-4o", {"reasoning_effort": "high", "reasoning": True}, None, 0.5),
    ],
)
async def test_reasoning_models_take_no_temperature_while_they_think(
    api: str, handle: str, options: dict[str, Any], effort: str | None, temperature: float | None, told: Told
) -> None:
    body = await told(handle, api=api, temperature=0.5, **options)
    told_effort = body.get("reasoning_effort") if api == "chat" else body.get("reasoning", {}).get("effort")
    assert (told_effort, body.get("temperature")) == (effort, temperature)


# --- Google


@pytest.mark.parametrize(
    ("handle", "options", "thinking"),
    [
        ("google_ai/gemini-2.5-flash", {"reasoning": True, "reasoning_budget": 2000}, (2000, True)),
        ("google_ai/gemini-2.5-flash", {"reasoning": True, "reasoning_budget": 10**6}, (24_576, True)),
        ("google_ai/gemini-2.5-pro", {"reasoning": True, "reasoning_budget": 10**6}, (32_768, True)),
        (
            "google_ai/gemini-2.5-flash",
            {"reasoning": True, "reasoning_budget": -1, "show_reasoning": False},
            (-1, False),
        ),
        ("google_ai/gemini-2.5-flash", {"reasoning": False}, (0, None)),
        ("google_ai/gemini-2.5-pro", {"reasoning": False}, (128, None)),
        ("google_ai/gemini-2.5-flash", {"show_reasoning": True}, (None, True)),
        ("google_ai/gemini-2.0-flash", {"reasoning": True, "reasoning_budget": 2000}, (None, None)),
    ],
)
async def test_gemini_thinks(handle: str, options: dict[str, Any], thinking: Any, told: Told) -> None:
    config = (await told(handle, **options)).get("generationConfig", {}).get("thinkingConfig", {})
    assert (config.get("thinking_budget"), config.get("include_thoughts")) == thinking


# --- the shape of an answer elsewhere


async def test_shape_of_an_answer_where_the_provider_has_it(told: Told) -> None:
    for given in (NAMED, BARE):
        form = (await told("anthropic/claude-haiku-4-5", TOOL, response_format=given))["output_config"]["format"]
        assert (form["type"], list(form["schema"]["properties"])) == ("json_schema", ["a"])
        config = (await told("google_ai/gemini-2.5-flash", response_format=given))["generationConfig"]
        assert config["responseMimeType"] == "application/json"
        assert config["responseJsonSchema"]["properties"] == SCHEMA["properties"]
    config = (await told("google_ai/gemini-2.5-flash", response_format=ANY_JSON))["generationConfig"]
    assert config["responseMimeType"] == "application/json"


@pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")
async def test_shape_of_an_answer_is_left_out_where_it_would_be_refused(told: Told) -> None:
    for handle, tools, given in (
        ("anthropic/claude-haiku-4-5", (), ANY_JSON),
        ("anthropic/claude-sonnet-4-0", (), NAMED),
        ("google_ai/gemini-2.5-flash", (TOOL,), NAMED),
        ("google_ai/gemini-2.5-flash", (TOOL,), ANY_JSON),
    ):
        body = str(await told(handle, *tools, response_format=given))
        assert not any(word in body for word in ("output_config", "responseMimeType", "responseJsonSchema"))


async def test_unknown_words_are_refused(told: Told) -> None:
    with pytest.raises(InvalidInput, match="verbosity 'chatty'"):
        await told("openai/gpt-5", verbosity="chatty")
    with pytest.raises(InvalidInput, match="effort 'mild'"):
        await told("anthropic/claude-opus-4-7", effort="mild")
