from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from fake_provider import DROP, HANG, Answer, Asked, FakeProvider, Step

from folkmoot.models.catalogue import Catalogue
from folkmoot.models.providers import EXTRAS, resolve
from folkmoot.models.windows import family_window
from folkmoot.settings import Settings

SETTINGS = Settings(_env_file=None, context_window=50_000)
OPENAI_LIST = Answer(
    {"data": [{"id": name} for name in ("gpt-4o-mini", "whisper-1", "dall-e-3", "text-embedding-3-small")]}
)


async def test_lists_models_and_embedding_models() -> None:
    async with FakeProvider([OPENAI_LIST]) as provider:
        catalogue = Catalogue(SETTINGS, {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{provider.address}/v1"})
        models, embeddings = await catalogue.models(), await catalogue.embedding_models()
    assert [model.handle for model in models] == ["openai/gpt-4o-mini", "offline/notetaker"]
    assert (models[0].context_window, models[0].endpoint_type, models[0].kind) == (128_000, "openai", "llm")
    assert [(model.handle, model.embedding_dimensions) for model in embeddings] == [
        ("openai/text-embedding-3-small", 1536),
        ("offline/wordllama", 256),
    ]
    assert [asked.path for asked in provider.asked] == ["/v1/models"]
    assert provider.asked[0].headers["authorization"] == "Bearer k"


async def test_only_offline_without_any_key() -> None:
    assert [model.handle for model in await Catalogue(SETTINGS, {}).models()] == ["offline/notetaker"]


async def test_a_provider_without_its_package_is_left_out_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(EXTRAS, "anthropic", "no_such_package")
    async with FakeProvider([OPENAI_LIST]) as provider:
        base = f"{provider.address}/v1"
        environ = {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": base}
        models = await Catalogue(SETTINGS, environ).models()
    assert [model.handle for model in models] == ["openai/gpt-4o-mini", "offline/notetaker"]
    assert "pip install 'folkmoot[anthropic]'" in caplog.text


async def test_anthropic_google_and_compatible_lists() -> None:
    def script(asked: Asked) -> Step:
        if "x-api-key" in asked.headers:
            return Answer({"data": [{"id": "claude-haiku-4-5", "type": "model", "display_name": "Haiku"}]})
        if "x-goog-api-key" in asked.headers:
            gemini = {
                "name": "models/gemini-2.5-flash",
                "inputTokenLimit": 1048576,
                "outputTokenLimit": 65536,
            }
            embedding = {
                "name": "models/gemini-embedding-001",
                "supportedGenerationMethods": ["embedContent"],
            }
            return Answer({"models": [{**gemini, "supportedGenerationMethods": ["generateContent"]}, embedding]})
        return Answer({"data": [{"id": "qwen/qwen3", "max_model_len": 40960}]})

    async with FakeProvider(script) as provider:
        environ = {
            "ANTHROPIC_API_KEY": "k",
            "ANTHROPIC_BASE_URL": provider.address,
            "GEMINI_API_KEY": "k",
            "GEMINI_BASE_URL": provider.address,
            "VLLM_BASE_URL": provider.address,
        }
        models = {model.handle: model for model in await Catalogue(SETTINGS, environ).models()}
    assert models["anthropic/claude-haiku-4-5"].context_window == 200_000
    assert models["google_ai/gemini-2.5-flash"].context_window == 1_048_576
    assert models["google_ai/gemini-2.5-flash"].max_output_tokens == 65_536
    assert models["vllm/qwen/qwen3"].context_window == 40_960
    assert "google_ai/gemini-embedding-001" not in models


async def test_an_address_may_stand_in_any_of_its_providers_variables() -> None:
    async with FakeProvider(lambda _: Answer({"data": [{"id": "qwen/qwen3"}]})) as provider:
        for variable in ("VLLM_BASE_URL", "VLLM_API_BASE"):
            models = await Catalogue(SETTINGS, {variable: provider.address}).models()
            assert "vllm/qwen/qwen3" in [model.handle for model in models]


async def test_ollama_tells_windows_one_by_one() -> None:
    def script(asked: Asked) -> Step:
        if asked.path == "/api/tags":
            names = ("qwen3:8b", "small:1b", "hf.co/some/model:Q4", "nomic-embed-text:latest")
            return Answer({"models": [{"name": name} for name in names]})
        if asked.path == "/api/ps":
            return Answer({"models": [{"name": "hf.co/some/model:Q4", "context_length": 4096}]})
        model = asked.body["model"]
        if model == "small:1b":
            return Answer({"parameters": "stop x\nnum_ctx 9000", "model_info": {"llama.context_length": 131072}})
        about = {"qwen3.context_length": 40960, "nomic.embedding_length": 768}
        return Answer({"model_info": about, "capabilities": ["embedding"] if "embed" in model else ["completion"]})

    async with FakeProvider(script) as provider:
        catalogue = Catalogue(SETTINGS, {"OLLAMA_BASE_URL": provider.address})
        models, embeddings = await catalogue.models(), await catalogue.embedding_models()
        assert await catalogue.default_model() == "ollama/qwen3:8b"
    assert [(model.name, model.context_window) for model in models[:-1]] == [
        ("qwen3:8b", 40960),
        ("small:1b", 9000),
        ("hf.co/some/model:Q4", 4096),
    ]
    assert [(model.name, model.embedding_dimensions) for model in embeddings] == [
        ("nomic-embed-text:latest", 768),
        ("wordllama", 256),
    ]


async def test_lm_studio_tells_the_loaded_window() -> None:
    listed = {"id": "phi", "type": "llm", "max_context_length": 131072, "loaded_context_length": 8192}
    async with FakeProvider([Answer({"data": [listed]})]) as provider:
        catalogue = Catalogue(SETTINGS, {"LMSTUDIO_BASE_URL": f"{provider.address}/v1"})
        assert (await catalogue.models())[0].context_window == 8192
    assert provider.asked[0].path == "/api/v0/models"


async def test_llama_cpp_tells_its_window_among_what_else_it_knows() -> None:
    files = [("running", {"n_ctx": 8192, "n_ctx_train": 40960}), ("older", {"n_ctx_train": 40960})]
    listed = [{"id": f"/models/{name}.gguf", "object": "model", "meta": meta} for name, meta in files]
    async with FakeProvider([Answer({"models": [], "data": [*listed, "only-a-name"]})]) as provider:
        models = await Catalogue(SETTINGS, {"OPENAI_BASE_URL": f"{provider.address}/v1"}).models()
    assert [(model.handle, model.context_window) for model in models[:-1]] == [
        ("openai//models/running.gguf", 8192),
        ("openai//models/older.gguf", 40960),
        ("openai/only-a-name", SETTINGS.context_window),
    ]


@pytest.mark.parametrize(
    "fault",
    [
        HANG,
        DROP,
        Answer("<html>"),
        Answer({}),
        Answer({"data": 3}),
        Answer({"data": [1, {}, None]}),
        Answer("", 500),
    ],
)
async def test_one_sick_provider_does_not_hide_the_others(fault: Step, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    async with FakeProvider([fault]) as sick, FakeProvider([OPENAI_LIST]) as well:
        environ = {
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": f"{well.address}/v1",
            "VLLM_BASE_URL": sick.address,
        }
        patience = 5.0 if fault is HANG else 60.0  # only the one that hangs is ever waited for that long
        catalogue = Catalogue(SETTINGS, environ, clock=lambda: now[0], patience=patience)
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                handles = [model.handle for model in await catalogue.models()]
                assert handles == ["openai/gpt-4o-mini", "offline/notetaker"]
                now[0] += 1000
        await catalogue.aclose()
    assert len([record for record in caplog.records if "vLLM" in record.getMessage()]) <= 1


async def test_list_is_kept_and_asked_for_once_by_many() -> None:
    now = [0.0]
    async with FakeProvider([OPENAI_LIST]) as provider:
        environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{provider.address}/v1"}
        catalogue = Catalogue(SETTINGS, environ, clock=lambda: now[0])
        await asyncio.gather(*(catalogue.models() for _ in range(5)))
        assert len(provider.asked) == 1
        now[0] = 301
        await catalogue.models()
        assert len(provider.asked) == 2


async def test_context_window_does_not_wait_and_gets_better() -> None:
    listed = Answer({"data": [{"id": "gpt-4o-mini", "context_length": 16_000}]})
    async with FakeProvider([listed]) as provider:
        environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{provider.address}/v1"}
        catalogue = Catalogue(SETTINGS, environ)
        resolved = resolve("openai/gpt-4o-mini", environ)
        assert catalogue.known_context_window(resolved) == 128_000
        assert await catalogue.context_window(resolved) == 16_000
        assert catalogue.known_context_window(resolved) == 16_000
        unknown = resolve("openai/mystery", environ)
        assert catalogue.description(unknown).context_window == 50_000


async def test_default_model_of_a_compatible_server_is_one_it_has() -> None:
    async with FakeProvider([Answer({"data": [{"id": "local-model"}]})]) as provider:
        environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{provider.address}/v1"}
        assert await Catalogue(SETTINGS, environ).default_model() == "openai/local-model"
    assert await Catalogue(SETTINGS, environ).default_model() == "openai/gpt-4o-mini"
    assert await Catalogue(SETTINGS, {}).default_model() == "offline/notetaker"


@pytest.mark.parametrize(
    ("model", "window"),
    [
        ("gpt-4o-mini", 128_000),
        ("gpt-4.1-nano", 1_047_576),
        ("gpt-5-mini", 400_000),
        ("o3-mini", 200_000),
        ("claude-sonnet-4-5", 200_000),
        ("anthropic/claude-3-haiku", 200_000),
        ("gemini-2.5-pro", 1_048_576),
        ("gpt-4", 8_192),
        ("mystery", None),
    ],
)
def test_family_window(model: str, window: Any) -> None:
    assert family_window(model) == window
