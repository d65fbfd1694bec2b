"""What answers took is read as the library's own data read it, which are loaded here and by no server."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from genai_prices.data_snapshot import set_custom_snapshot
from pydantic_ai.usage import RequestUsage

from folkmoot.models.usage_rules import read_usage_by_rules

CHAT = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "cached_tokens": 7,
    "cache_read_input_tokens": 6,
    "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
READ = {**CHAT, "prompt_tokens_details": {"cached_tokens": 40}}
"""What is said by those of whom the library does not read how much was written into a cache."""

RESPONSES = {
    "input_tokens": 100,
    "output_tokens": 20,
    "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 5},
    "output_tokens_details": {"reasoning_tokens": 3},
}
MESSAGES = {
    "input_tokens": 100,
    "output_tokens": 20,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 40,
    "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 0},
}
CONVERSE = {"inputTokens": 100, "outputTokens": 20, "cacheReadInputTokens": 30, "cacheWriteInputTokens": 40}
GENERATE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 20,
    "cachedContentTokenCount": 40,
    "thoughtsTokenCount": 3,
    "toolUsePromptTokenCount": 4,
}
ANSWERS: list[tuple[str, str, str, str, dict[str, Any]]] = [
    ("openai", "https://api.openai.com/v1/", "openai", "chat", {"usage": CHAT}),
    ("openai", "https://api.openai.com/v1/", "openai", "responses", {"usage": RESPONSES}),
    ("openai", "http://127.0.0.1:8000/v1/", "openai", "chat", {"usage": CHAT}),
    ("openai", "http://127.0.0.1:8000/v1/", "openai", "chat", {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}),
    ("azure", "https://one.openai.azure.com/openai/", "openai", "chat", {"usage": CHAT}),
    ("deepseek", "https://api.deepseek.com", "openai", "chat", {"usage": READ}),
    ("openrouter", "https://openrouter.ai/api/v1", "openai", "chat", {"usage": CHAT}),
    ("mistral", "https://api.mistral.ai/v1", "openai", "chat", {"usage": CHAT}),
    ("xai", "https://api.x.ai/v1", "openai", "chat", {"usage": READ}),
    ("openai", "https://one.cloud.databricks.com/serving-endpoints/", "openai", "chat", {"usage": READ}),
    ("anthropic", "https://api.anthropic.com/v1", "openai", "chat", {"usage": READ}),
    ("anthropic", "https://api.anthropic.com", "anthropic", "default", {"usage": MESSAGES}),
    ("anthropic", "http://127.0.0.1:8000", "anthropic", "default", {"usage": MESSAGES}),
    ("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com", "bedrock", "default", {"usage": CONVERSE}),
    ("google-gla", "https://generativelanguage.googleapis.com", "google", "default", {"usageMetadata": GENERATE}),
    ("google-gla", "http://127.0.0.1:8000", "google", "default", {"usageMetadata": GENERATE}),
]


def figures(provider: str, address: str, fallback: str, flavour: str, answer: dict[str, Any]) -> tuple[int, ...]:
    usage = RequestUsage.extract(
        {"model": "a-model", **answer},
        provider=provider,
        provider_url=address,
        provider_fallback=fallback,
        api_flavor=flavour,
    )
    return usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens


@pytest.mark.parametrize(("provider", "address", "fallback", "flavour", "answer"), ANSWERS)
def test_figures_are_those_of_the_library(
    provider: str, address: str, fallback: str, flavour: str, answer: dict[str, Any]
) -> None:
    try:
        set_custom_snapshot(None)
        known = figures(provider, address, fallback, flavour, answer)
        assert known[0] > 0
        read_usage_by_rules.cache_clear()
        read_usage_by_rules()
        found = figures(provider, address, fallback, flavour, answer)
    finally:
        read_usage_by_rules.cache_clear()
        read_usage_by_rules()
    assert found == known


def test_no_connection_loads_prices() -> None:
    code = """
import asyncio, sys
from folkmoot.models.connections import Connections
from folkmoot.models.directory import Directory

async def connect():
    await Connections(60.0).open(Directory({"OPENAI_API_KEY": "x"}).resolve("openai/gpt-4o-mini"))

asyncio.run(connect())
print([name for name in sys.modules if name == "genai_prices.data"])
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
