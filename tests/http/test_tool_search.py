"""Tools found by what they mean, on a server with an embedding model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from assertions import assert_error

from support.clients import plain_client
from support.fixtures import StartServer, one_store
from support.scripted_model import ScriptedModel

TOOLS = {
    "meow": "Calls the feline.",
    "bark": "Calls the canine.",
    "sail": "Moves the vessel.",
    "pay_4711": "Pays an invoice.",
}
MEANINGS = {"feline.": "cat", "canine.": "dog", "vessel.": "ship", "kitty": "cat", "boat": "ship"}

pytestmark = one_store


@pytest.fixture
def http(start_server: StartServer, scripted_model: ScriptedModel) -> Iterator[httpx.Client]:
    """A server that embeds, with some tools."""
    server = start_server(env={"FOLKMOOT_DEFAULT_EMBEDDING": "openai/text-embedding-3-small"})
    scripted_model.embeddings.meanings = MEANINGS
    with plain_client(server.url) as client:
        for name, description in TOOLS.items():
            source = f'def {name}():\n    """{description}"""\n'
            client.post("/v1/tools", json={"source_code": source}).raise_for_status()
        yield client


def search(http: httpx.Client, query: str, **more: Any) -> list[dict[str, Any]]:
    body = {"query": query, "tool_types": ["custom"], **more}
    return list(http.post("/v1/tools/search", json=body).raise_for_status().json())


def names(found: list[dict[str, Any]]) -> list[str]:
    return [each["tool"]["name"] for each in found]


def test_tools_are_found_by_meaning_and_embedded_once(http: httpx.Client, scripted_model: ScriptedModel) -> None:
    assert search(http, "kitty", search_mode="fts") == []
    (first, *_) = search(http, "kitty", search_mode="vector")
    assert (first["tool"]["name"], first["vector_rank"], first["fts_rank"]) == ("meow", 1, None)
    assert 0 < first["combined_score"] <= 1
    asked = len(scripted_model.embeddings.texts)
    assert names(search(http, "boat"))[0] == "sail"
    assert len(scripted_model.embeddings.texts) == asked + 1, "only the query"
    (both, *_) = search(http, "4711 kitty")
    assert both["tool"]["name"] in ("pay_4711", "meow")
    assert names(search(http, "4711"))[0] == "pay_4711"
    http.post("/v1/tools", json={"source_code": 'def meow():\n    """Moves the vessel."""\n'}).raise_for_status()
    assert set(names(search(http, "boat", search_mode="vector", limit=2))) == {"sail", "meow"}


def test_without_a_provider_words_have_to_do(http: httpx.Client, scripted_model: ScriptedModel) -> None:
    scripted_model.embeddings.is_down = True
    (found,) = search(http, "4711")
    assert (found["tool"]["name"], found["fts_rank"], found["vector_rank"]) == ("pay_4711", 1, None)
    refused = http.post("/v1/tools/search", json={"query": "4711", "search_mode": "vector"})
    assert_error(refused, 502, "down")
