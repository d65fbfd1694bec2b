from __future__ import annotations

import subprocess
import sys

import pytest

from folkmoot.errors import InvalidInput, NotFound
from folkmoot.models.providers import EXTRAS, PROVIDERS, configured, default_model, resolve
from folkmoot.settings import Settings

SETTINGS = Settings(_env_file=None)


@pytest.mark.parametrize(
    ("handle", "environ", "address", "model"),
    [
        ("openai/gpt-4o-mini", {"OPENAI_API_KEY": "k"}, "https://api.openai.com/v1", "gpt-4o-mini"),
        ("openai/any/thing", {"OPENAI_BASE_URL": "http://x/v1/"}, "http://x/v1", "any/thing"),
        ("openai-proxy/any/thing", {"OPENAI_BASE_URL": "http://x/v1/"}, "http://x/v1", "any/thing"),
        ("lmstudio_openai/qwen3", {"LMSTUDIO_BASE_URL": "http://x:1234"}, "http://x:1234/v1", "qwen3"),
        ("google/gemini-x", {"GOOGLE_API_KEY": "k"}, "https://generativelanguage.googleapis.com", "gemini-x"),
        (
            "google_ai/gemini-x",
            {"GEMINI_API_KEY": "k"},
            "https://generativelanguage.googleapis.com",
            "gemini-x",
        ),
        ("anthropic/c", {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://x/v1"}, "http://x", "c"),
        ("ollama/qwen3:8b", {"OLLAMA_BASE_URL": "http://x:11434"}, "http://x:11434/v1", "qwen3:8b"),
        ("ollama/qwen3:8b", {"OLLAMA_BASE_URL": "x:11434/v1/"}, "http://x:11434/v1", "qwen3:8b"),
        (
            "openrouter/openai/gpt-4o",
            {"OPENROUTER_API_KEY": "k"},
            "https://openrouter.ai/api/v1",
            "openai/gpt-4o",
        ),
        (
            "azure/d",
            {"AZURE_API_KEY": "k", "AZURE_BASE_URL": "https://r.openai.azure.com/"},
            "https://r.openai.azure.com",
            "d",
        ),
        ("offline/notetaker", {}, "", "notetaker"),
    ],
)
def test_resolve(handle: str, environ: dict[str, str], address: str, model: str) -> None:
    resolved = resolve(handle, environ)
    assert (resolved.handle, resolved.address, resolved.model) == (handle, address, model)


@pytest.mark.parametrize("handle", ["gpt-4o", "", "/", "openai/", "/gpt", "openai/ "])
def test_malformed_handle_shows_the_form(handle: str) -> None:
    with pytest.raises(InvalidInput, match="provider/model"):
        resolve(handle, {})


@pytest.mark.parametrize(
    ("handle", "says"),
    [
        ("openai/gpt-4o", "openai/gpt-4o.*OPENAI_API_KEY"),
        ("google/x", "GEMINI_API_KEY or GOOGLE_API_KEY"),
        ("ollama/x", "OLLAMA_BASE_URL"),
        ("azure/x", "AZURE_OPENAI_ENDPOINT"),
        ("letta/letta-free", "letta/letta-free.*unknown"),
        ("offline/gpt", "offline/notetaker"),
    ],
)
def test_unknown_or_unconfigured(handle: str, says: str) -> None:
    with pytest.raises(NotFound, match=says):
        resolve(handle, {"OPENAI_API_KEY": "  "})


@pytest.mark.parametrize(
    ("handle", "dialect"), [("anthropic/claude-haiku-4-5", "anthropic"), ("google/gemini-2.5-flash", "google")]
)
@pytest.mark.parametrize("package", ["no_such_package", "no_such_package.part"])
def test_a_package_that_is_not_installed_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch, handle: str, dialect: str, package: str
) -> None:
    environ = {"ANTHROPIC_API_KEY": "k", "GEMINI_API_KEY": "k"}
    assert resolve(handle, environ).dialect == dialect
    monkeypatch.setitem(EXTRAS, dialect, package)
    with pytest.raises(NotFound, match=rf"not installed. Run pip install 'folkmoot\[{dialect}\]'"):
        resolve(handle, environ)


def test_no_key_in_what_is_printed() -> None:
    assert "sekret" not in repr(resolve("openai/x", {"OPENAI_API_KEY": "sekret"}))


@pytest.mark.parametrize(
    ("environ", "handle"),
    [
        ({}, "offline/notetaker"),
        ({"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}, "openai/gpt-4o-mini"),
        ({"GEMINI_API_KEY": "k"}, "google_ai/gemini-2.5-flash"),
        ({"OLLAMA_BASE_URL": "http://x", "GROQ_API_KEY": "k"}, "groq/openai/gpt-oss-20b"),
        ({"OLLAMA_BASE_URL": "http://x"}, None),
    ],
)
def test_default_model(environ: dict[str, str], handle: str | None) -> None:
    assert default_model(SETTINGS, environ) == handle


def test_default_model_of_the_settings_comes_first() -> None:
    settings = Settings(_env_file=None, default_model="vllm/x")
    assert default_model(settings, {"OPENAI_API_KEY": "k"}) == "vllm/x"


def test_offline_is_always_there() -> None:
    assert [provider.name for provider in configured({})] == ["offline"]
    assert [provider.name for provider in configured({"XAI_API_KEY": "k"})] == ["xai", "offline"]
    assert len({provider.name for provider in PROVIDERS}) == len(PROVIDERS)


def test_nothing_heavy_is_imported_at_start_or_for_the_offline_model() -> None:
    code = """
import asyncio, sys
import folkmoot.models, folkmoot.models.providers, folkmoot.models.prompt, folkmoot.models.catalogue
from folkmoot.models.requests import ModelClient
from folkmoot.models.prompt import Prompt, UserMessage
from folkmoot.settings import Settings
asyncio.run(ModelClient(Settings(), {}).ask("offline/notetaker", Prompt("", [UserMessage("Hello")])))
heavy = {"pydantic_ai", "openai", "anthropic", "google", "httpx", "httpx2"} & set(sys.modules)
sys.exit(", ".join(heavy) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
