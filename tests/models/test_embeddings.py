"""Texts are embedded through each kind of provider's own wire, and what it answers is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fake_provider import HANG, Answer, Asked, FakeProvider, Step

from folkmoot.errors import ProviderError, ProviderRejected, ProviderTimeout
from folkmoot.models import embeddings
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.embeddings import EmbeddingClient, Purpose
from folkmoot.settings import Settings

SETTINGS = Settings(_env_file=None)
TEXTS = ["a feline sleeps", "the hound runs"]
VECTORS = [[3.0, 4.0], [0.0, 2.0]]
UNIT = [[0.6, 0.8], [0.0, 1.0]]


@dataclass(frozen=True)
class Wire:
    """How one provider is asked, and how it answers."""

    handle: str
    environ: Callable[[str], dict[str, str]]
    path: str
    key: tuple[str, str]
    asked_of: Callable[[Any], list[str]]
    answer: Callable[[list[list[float]]], Any]
    models: Any
    """Its list of models, one of which embeds."""


def _of_openai(vectors: list[list[float]]) -> Any:
    data = [{"object": "embedding", "index": number, "embedding": each} for number, each in enumerate(vectors)]
    return {"object": "list", "data": data[::-1], "model": "m", "usage": {"prompt_tokens": 2, "total_tokens": 2}}


WIRES = {
    "mistral": Wire(
        handle="mistral/mistral-embed",
        environ=lambda address: {"MISTRAL_API_KEY": "k", "MISTRAL_BASE_URL": f"{address}/v1"},
        path="/v1/embeddings",
        key=("authorization", "Bearer k"),
        asked_of=lambda body: body["input"],
        answer=_of_openai,
        models={
            "data": [
                {"id": "mistral-small-latest", "capabilities": {"completion_chat": True}, "max_context_length": 32768},
                {"id": "mistral-embed", "capabilities": {"completion_chat": False}, "max_context_length": 8192},
            ]
        },
    ),
    "azure": Wire(
        handle="azure/meanings",
        environ=lambda address: {"AZURE_API_KEY": "k", "AZURE_BASE_URL": address},
        path="/openai/deployments/meanings/embeddings",
        key=("api-key", "k"),
        asked_of=lambda body: body["input"],
        answer=_of_openai,
        models={
            "data": [
                {"id": "whisper", "capabilities": {"chat_completion": False, "embeddings": False}},
                {"id": "gpt-4o", "capabilities": {"chat_completion": True, "embeddings": False}},
                {"id": "meanings", "capabilities": {"chat_completion": False, "embeddings": True}},
            ]
        },
    ),
    "google": Wire(
        handle="google_ai/gemini-embedding-001",
        environ=lambda address: {"GEMINI_API_KEY": "k", "GEMINI_BASE_URL": address},
        path="/v1beta/models/gemini-embedding-001:batchEmbedContents",
        key=("x-goog-api-key", "k"),
        asked_of=lambda body: [each["content"]["parts"][0]["text"] for each in body["requests"]],
        answer=lambda vectors: {"embeddings": [{"values": each} for each in vectors]},
        models={
            "models": [
                {"name": "models/gemini-2.5-flash", "supportedGenerationMethods": ["generateContent"]},
                {"name": "models/gemini-embedding-001", "supportedGenerationMethods": ["embedContent"]},
            ]
        },
    ),
}
each_wire = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)


async def embedded(wire: Wire, answer: Step, purpose: Purpose = "document") -> tuple[list[list[float]], list[Asked]]:
    """Return the vectors of the texts, and what the provider was asked."""
    async with FakeProvider([answer]) as provider:
        client = EmbeddingClient(SETTINGS, wire.environ(provider.address))
        try:
            return await client.embed(wire.handle, TEXTS, purpose), provider.asked
        finally:
            await client.aclose()


@each_wire
async def test_texts_are_embedded(wire: Wire) -> None:
    vectors, (asked,) = await embedded(wire, Answer(wire.answer(VECTORS)))
    assert [pytest.approx(each) for each in UNIT] == vectors, "of length 1, in the order of their texts"
    assert (asked.method, asked.path.partition("?")[0]) == ("POST", wire.path)
    name, value = wire.key
    assert asked.headers[name] == value
    assert wire.asked_of(asked.body) == TEXTS


async def test_google_is_told_what_a_text_is_embedded_for() -> None:
    wire = WIRES["google"]
    kinds = []
    for purpose in ("document", "query"):
        _, (asked,) = await embedded(wire, Answer(wire.answer(VECTORS)), purpose)  # type: ignore[arg-type]
        kinds += [each["taskType"] for each in asked.body["requests"]]
    assert kinds == ["RETRIEVAL_DOCUMENT"] * 2 + ["RETRIEVAL_QUERY"] * 2


@each_wire
@pytest.mark.parametrize(
    "vectors",
    [VECTORS[:1], [[1.0, 2.0], [1.0]], [[0.0, 0.0], [1.0, 0.0]], [[], []]],
    ids=["too few", "of two lengths", "zeros", "empty"],
)
async def test_an_answer_that_holds_no_vectors_is_an_error(wire: Wire, vectors: list[list[float]]) -> None:
    with pytest.raises(ProviderError, match="vector"):
        await embedded(wire, Answer(wire.answer(vectors)))


@each_wire
async def test_a_text_that_is_refused_is_told_from_a_provider_that_is_away(wire: Wire) -> None:
    with pytest.raises(ProviderRejected):
        await embedded(wire, Answer({"error": {"message": "too long", "code": 400, "status": "INVALID"}}, 400))
    with pytest.raises(ProviderError) as away:
        await embedded(wire, Answer({"error": {"message": "later", "code": 503, "status": "UNAVAILABLE"}}, 503))
    assert not isinstance(away.value, ProviderRejected)


async def test_a_server_that_knows_no_encoding_format_is_asked_without_it() -> None:
    def strict(asked: Asked) -> Step:
        known = "encoding_format" not in asked.body
        return Answer(_of_openai(VECTORS)) if known else Answer({"detail": "encoding_format: Extra inputs"}, 422)

    async with FakeProvider(strict) as provider:
        client = EmbeddingClient(SETTINGS, {"OPENAI_BASE_URL": f"{provider.address}/v1"})
        for _ in range(2):
            assert await client.embed("openai/m", TEXTS) == UNIT
        await client.aclose()
    assert len(provider.asked) == 3, "it is known from the first refusal on"


async def test_an_error_in_the_place_of_vectors_is_told() -> None:
    with pytest.raises(ProviderError, match="the model is loading"):
        await embedded(WIRES["mistral"], Answer({"error": {"message": "the model is loading"}}))


async def test_a_query_waits_for_a_silent_provider_less_long_than_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "QUERY_SECONDS", 0.05)
    wire = WIRES["mistral"]
    async with FakeProvider([HANG]) as provider:
        client = EmbeddingClient(SETTINGS, wire.environ(provider.address))
        document = asyncio.create_task(client.embed(wire.handle, TEXTS))
        with pytest.raises(ProviderTimeout, match=r"within 0\.05 s"):
            await client.embed(wire.handle, TEXTS[:1], "query")
        assert not document.done()
        document.cancel()
        await client.aclose()


@each_wire
async def test_models_that_embed_are_listed_and_no_others(wire: Wire) -> None:
    async with FakeProvider([Answer(wire.models)]) as provider:
        catalogue = Catalogue(SETTINGS, wire.environ(provider.address))
        embeddings, models = await catalogue.embedding_models(), await catalogue.models()
    assert [model.handle for model in embeddings] == [wire.handle, "offline/wordllama"]
    assert wire.handle not in [model.handle for model in models]
    assert len(models) == 2, "the one that talks, and the offline one"
