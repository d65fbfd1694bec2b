"""How a model shall answer, in the settings that pydantic-ai has for its dialect.

An option that a model does not know, or that its provider is certain to refuse beside another one, is left out: it
would make every turn of the agent fail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from pydantic_ai.messages import InstructionPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.profiles.anthropic import ANTHROPIC_THINKING_BUDGET_MAP, resolve_anthropic_effort
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from folkmoot.errors import InvalidInput
from folkmoot.models.connections import Connection
from folkmoot.models.prompt import ModelOptions, Prompt
from folkmoot.models.tool_call_ids import mended_name
from folkmoot.models.translation import clean, clean_json

SMALLEST_BUDGET = 1024
"""Tokens of thought; Anthropic refuses fewer."""

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_CANNOT_THINK = re.compile(r"claude-(2|instant|3-(?!7))")
_TELLS_LENGTH = re.compile(r"(.*/)?gpt-[5-9](?!.*-chat)")


def parameters_of(prompt: Prompt, connection: Connection) -> ModelRequestParameters:
    """Return the instructions, the tools and, where they belong here, the shape of the answer."""
    return ModelRequestParameters(
        function_tools=[
            ToolDefinition(
                name=tool.name,
                description=clean(tool.description),
                parameters_json_schema=clean_json(tool.parameters),
                strict=False,
            )
            for tool in prompt.tools
        ],
        instruction_parts=[InstructionPart(clean(prompt.instructions))] if prompt.instructions.strip() else None,
        **_shape(prompt, connection),
    )


def settings_of(prompt: Prompt, connection: Connection) -> ModelSettings | None:
    """Return the options in pydantic-ai's terms; None when there are none."""
    options = prompt.options
    own = {"anthropic": _anthropic, "bedrock": _bedrock, "google": _google}.get(connection.manner.dialect, _openai)
    settings = own(options, connection)
    if connection.manner.dialect == "anthropic":
        settings |= {"anthropic_cache_instructions": True, "anthropic_cache_tool_definitions": bool(prompt.tools)}
    temperature = _temperature(options, settings, connection)
    if temperature is not None:
        settings["temperature"] = temperature
    if options.max_output_tokens is not None:
        settings["max_tokens"] = options.max_output_tokens
    if options.parallel_tool_calls is not None and prompt.tools:
        settings["parallel_tool_calls"] = options.parallel_tool_calls
    choice = options.tool_choice
    if choice is not None and prompt.tools and (choice in ("auto", "none") or _can_force(settings, connection)):
        settings["tool_choice"] = choice if choice in ("auto", "none", "required") else [choice]
    return cast("ModelSettings", settings) if settings else None


def _openai(options: ModelOptions, connection: Connection) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    thinking = _thinking(options)
    if thinking is not None:
        settings["thinking"] = thinking
    verbosity = _one_of("verbosity", options.verbosity, ("low", "medium", "high"))
    if not _TELLS_LENGTH.match(connection.resolved.model):
        verbosity = None
    if verbosity:
        settings["openai_text_verbosity"] = verbosity
    shape = _openai_shape(options.response_format)
    if connection.manner.dialect != "responses":
        return {**settings, "extra_body": {"response_format": shape}} if shape else settings
    settings["openai_store"] = False
    if shape:
        form = {"type": shape["type"], **shape.get("json_schema", {})}
        settings["extra_body"] = {"text": {"format": form, **({"verbosity": verbosity} if verbosity else {})}}
    return settings


def _bedrock(options: ModelOptions, connection: Connection) -> dict[str, Any]:
    thinking = _thinking(options)
    return {} if thinking is None else {"thinking": thinking}


def _anthropic(options: ModelOptions, connection: Connection) -> dict[str, Any]:
    """Return Claude's thinking, by itself or with a budget below the longest answer, and its effort."""
    profile: Mapping[str, Any] = connection.model.profile
    settings: dict[str, Any] = {}
    thinking, effort = _thinking(options), _one_of("effort", options.effort, _EFFORTS[1:])
    if thinking is False:
        settings["thinking"] = False
    elif thinking is not None and not _CANNOT_THINK.match(connection.resolved.model):
        budget = options.reasoning_budget if (options.reasoning_budget or 0) > 0 else None
        by_itself = bool(profile.get("anthropic_supports_adaptive_thinking"))
        if by_itself and (budget is None or profile.get("anthropic_disallows_budget_thinking")):
            settings["thinking"] = True if effort else thinking
        else:
            limits = [options.max_output_tokens, profile.get("anthropic_max_output_tokens")]
            budget = _fitting(budget or ANTHROPIC_THINKING_BUDGET_MAP[thinking], limits)
            if budget is not None:
                settings["anthropic_thinking"] = {"type": "enabled", "budget_tokens": budget}
    if effort is not None and profile.get("anthropic_supports_effort"):
        capped = thinking is False and profile.get("anthropic_disallows_top_effort_when_thinking_disabled")
        level: Any = "high" if capped and effort in ("xhigh", "max") else effort
        settings["anthropic_effort"] = resolve_anthropic_effort(
            level,
            supports_xhigh=bool(profile.get("anthropic_supports_xhigh_effort")),
            supports_max=bool(profile.get("anthropic_supports_max_effort", True)),
        )
    return settings


def _fitting(budget: int, limits: list[int | None]) -> int | None:
    """Return the tokens of thought that leave room for the answer; None when there is no room for thoughts."""
    budget = max(budget, SMALLEST_BUDGET)
    limit = min((limit for limit in limits if limit), default=None)
    if limit is not None and budget >= limit:
        budget = limit // 2
    return budget if budget >= SMALLEST_BUDGET else None


def _google(options: ModelOptions, connection: Connection) -> dict[str, Any]:
    profile: Mapping[str, Any] = connection.model.profile
    thinking, budget, shown = _thinking(options), options.reasoning_budget, options.show_reasoning
    if not profile.get("supports_thinking"):
        return {}
    if thinking is not False and budget:
        # Tokens that the family takes: Flash-Lite no fewer than 512, Flash no more than 24,576, Pro 32,768.
        most = 32_768 if "pro" in connection.resolved.model else 24_576
        tokens = min(max(budget, 512), most) if budget > 0 else -1
        return {"google_thinking_config": {"thinking_budget": tokens, "include_thoughts": shown is not False}}
    if thinking is not None:
        return {"thinking": thinking}
    return {"google_thinking_config": {"include_thoughts": shown}} if shown is not None else {}


def _thinking(options: ModelOptions) -> Any:
    """Return whether, or how much, the model thinks; None leaves it to the model."""
    effort = _one_of("reasoning effort", options.reasoning_effort, _EFFORTS)
    if options.reasoning is False or effort == "none":
        return False
    return effort or options.reasoning


def _one_of(what: str, given: str | None, known: tuple[str, ...]) -> str | None:
    if given is not None and given not in known:
        raise InvalidInput(f"The {what} {given!r} is none of {', '.join(known)}.")
    return given


def _thinks(settings: Mapping[str, Any], profile: Mapping[str, Any]) -> bool:
    if profile.get("thinking_always_enabled") or "anthropic_thinking" in settings:
        return True
    chosen = settings.get("thinking")
    return bool(profile.get("thinking_enabled_by_default")) if chosen is None else chosen is not False


def _temperature(options: ModelOptions, settings: Mapping[str, Any], connection: Connection) -> float | None:
    """Return the temperature where the model takes one; models that think mostly do not."""
    profile: Mapping[str, Any] = connection.model.profile
    given, dialect = options.temperature, connection.manner.dialect
    if given is None or dialect == "google":
        return given
    thinks = _thinks(settings, profile)
    if dialect == "anthropic":
        return None if thinks or profile.get("anthropic_disallows_sampling_settings") else min(given, 1.0)
    efforts = profile.get("openai_reasoning_efforts")
    can_rest = "none" in efforts if efforts is not None else profile.get("openai_supports_reasoning_effort_none")
    return None if profile.get("openai_supports_reasoning") and (thinks or not can_rest) else given


def _can_force(settings: Mapping[str, Any], connection: Connection) -> bool:
    """Tell whether a tool call can be forced; Claude takes that not beside a budget of thoughts."""
    profile: Mapping[str, Any] = connection.model.profile
    while_thinking = profile.get("supports_forced_tool_choice_with_thinking", True) or not _thinks(settings, profile)
    return profile.get("supports_forced_tool_choice", True) and while_thinking and "anthropic_thinking" not in settings


def _shape(prompt: Prompt, connection: Connection) -> dict[str, Any]:
    """Return the shape of the answer for Anthropic and Google; OpenAI's APIs take it among the settings."""
    dialect, profile = connection.manner.dialect, connection.model.profile
    wanted = prompt.options.response_format or {}
    if dialect not in ("anthropic", "google") or not profile.get("supports_json_schema_output"):
        return {}
    if dialect == "google" and prompt.tools and not profile.get("google_supports_tool_combination"):
        return {}
    if described := _described(wanted):
        name, schema, _ = described
        return {"output_mode": "native", "output_object": OutputObjectDefinition(json_schema=schema, name=name)}
    if dialect == "google" and not prompt.tools and wanted.get("type") == "json_object":
        return {"output_mode": "prompted", "prompted_output_template": False}
    return {}


def _openai_shape(wanted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the shape of the answer as Chat Completions takes it."""
    if wanted and wanted.get("type") == "json_object":
        return {"type": "json_object"}
    described = _described(wanted or {})
    if described is None:
        return None
    name, schema, strict = described
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "schema": schema, **({"strict": strict} if strict is not None else {})},
    }


def _described(wanted: Mapping[str, Any]) -> tuple[str, dict[str, Any], bool | None] | None:
    """Return the name, the schema and the strictness of a JSON answer, given as OpenAI does or as a bare schema."""
    given = wanted.get("json_schema")
    if wanted.get("type") != "json_schema" or not isinstance(given, Mapping):
        return None
    inner = given.get("schema")
    schema = inner if isinstance(inner, Mapping) else given
    name = given.get("name") or schema.get("title") or "answer"
    return mended_name(str(name)), clean_json(dict(schema)), given.get("strict") if inner is schema else None
