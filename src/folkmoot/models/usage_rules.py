"""Where answers say what they took: pydantic-ai asks genai-prices for it, whose own data we do without.

Those are also the prices of a thousand models, 9 MB that every process with a model would keep; what a call costs is
told by `prices.json`. Only the figures that `Usage` has are read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeAlias

from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
from genai_prices.types import ClauseContains, Provider, UsageExtractor, UsageExtractorMapping

Rules: TypeAlias = Mapping[str, Sequence[str]]
"""For each figure the places in an answer's usage, with dots between what is below one another, whose sum it is."""

_CHAT: Rules = {
    "input_tokens": ("prompt_tokens",),
    "cache_read_tokens": ("prompt_tokens_details.cached_tokens",),
    "cache_write_tokens": ("prompt_tokens_details.cache_write_tokens",),
    "output_tokens": ("completion_tokens",),
}
_RESPONSES: Rules = {
    "input_tokens": ("input_tokens",),
    "cache_read_tokens": ("input_tokens_details.cached_tokens",),
    "cache_write_tokens": ("input_tokens_details.cache_write_tokens",),
    "output_tokens": ("output_tokens",),
}
_MESSAGES: Rules = {
    "input_tokens": ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    "cache_read_tokens": ("cache_read_input_tokens",),
    "cache_write_tokens": ("cache_creation_input_tokens",),
    "output_tokens": ("output_tokens",),
}
_CONVERSE: Rules = {
    "input_tokens": ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
    "cache_read_tokens": ("cacheReadInputTokens",),
    "cache_write_tokens": ("cacheWriteInputTokens",),
    "output_tokens": ("outputTokens",),
}
_GENERATE: Rules = {
    "input_tokens": ("promptTokenCount", "toolUsePromptTokenCount"),
    "cache_read_tokens": ("cachedContentTokenCount",),
    "output_tokens": ("candidatesTokenCount", "thoughtsTokenCount"),
}
_GROK: Rules = {**_CHAT, "output_tokens": ("completion_tokens", "completion_tokens_details.reasoning_tokens")}
_CLAUDE_CHAT: Rules = {**_CHAT, "cache_read_tokens": ("cached_tokens",)}
_DATABRICKS: Rules = {**_CHAT, "cache_read_tokens": ("cache_read_input_tokens",)}


@cache
def read_usage_by_rules() -> None:
    """Let pydantic-ai read answers' usage by these rules; servers that speak OpenAI's API are read as OpenAI is."""
    providers = [
        _provider("openai", r"https://api\.openai\.com", {"chat": _CHAT, "responses": _RESPONSES}),
        _provider("anthropic", r"https://api\.anthropic\.com", {"default": _MESSAGES, "chat": _CLAUDE_CHAT}),
        _provider("google", r"https://(.*\.)?googleapis\.com", {"default": _GENERATE, "chat": _CHAT}, "usageMetadata"),
        _provider("bedrock", r"https://bedrock-runtime\.", {"default": _CONVERSE}),
        _provider("x-ai", r"https://api\.x\.ai", {"chat": _GROK, "responses": _RESPONSES}),
        _provider(
            "databricks",
            r"https://[^/]+\.(cloud\.databricks\.com|azuredatabricks\.net|gcp\.databricks\.com)/",
            {"chat": _DATABRICKS, "responses": _RESPONSES},
        ),
    ]
    set_custom_snapshot(DataSnapshot(providers=providers, from_auto_update=False))


def _provider(name: str, address: str, flavours: Mapping[str, Rules], root: str = "usage") -> Provider:
    extractors = [
        UsageExtractor(root if flavour == "default" else "usage", _mappings(rules), flavour)
        for flavour, rules in flavours.items()
    ]
    return Provider(name, name, address, provider_match=ClauseContains(name), extractors=extractors)


def _mappings(rules: Rules) -> list[UsageExtractorMapping]:
    return [
        UsageExtractorMapping(list(place.split(".")), figure, required=False)
        for figure, places in rules.items()
        for place in places
    ]
