"""Models over HTTP: what the providers list, when they answer, when they do not, when there are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from letta_client import Letta

from support.clients import official_client
from support.fixtures import StartServer
from support.polling import PATIENCE
from support.ports import free_port
from support.server import ServerProcess

OFFLINE = "offline/notetaker"
OFFLINE_EMBEDDING = "offline/wordllama"

LISTED = {"openai/gpt-4o-mini", "openai/gpt-4o", "openai/gpt-4.1", "openai/gpt-4.1-mini"}


@contextmanager
def client_of(server: ServerProcess) -> Iterator[Letta]:
    with official_client(server.url) as client:
        yield client


def handles(client: Letta, **wanted: Any) -> set[str | None]:
    return {model.handle for model in client.models.list(**wanted)}


def test_the_providers_models_and_the_offline_one_are_listed(client: Letta) -> None:
    assert handles(client) == LISTED | {OFFLINE}


def test_a_model_is_described_in_both_forms(client: Letta) -> None:
    model = next(model for model in client.models.list() if model.handle == "openai/gpt-4o-mini")
    assert (model.name, model.model, model.provider_name) == ("gpt-4o-mini", "gpt-4o-mini", "openai")
    assert (model.provider_type, model.model_endpoint_type, model.api_model_type) == ("openai", "openai", "llm")
    assert model.context_window == model.max_context_window == 128_000


def test_embedding_models_are_listed_apart(client: Letta) -> None:
    model, offline = client.models.embeddings.list()
    assert (model.handle, model.embedding_dim) == ("openai/text-embedding-3-small", 1536)
    assert (offline.handle, offline.embedding_dim) == (OFFLINE_EMBEDDING, 256)
    assert model.handle not in handles(client)


def test_models_of_one_provider(client: Letta) -> None:
    assert handles(client, provider_name="openai") == LISTED
    assert handles(client, provider_name="offline") == {OFFLINE}
    assert handles(client, provider_name="nobody") == set()
    assert handles(client, provider_type="anthropic") == set()
    assert handles(client, provider_category=["base"]) == LISTED | {OFFLINE}
    assert handles(client, provider_category=["byok"]) == set()


def test_every_listed_model_can_be_given_to_an_agent(client: Letta) -> None:
    for handle in handles(client):
        assert client.agents.create(model=handle).model == handle


def test_a_model_that_no_list_names_can_be_given_to_an_agent(client: Letta) -> None:
    assert client.agents.create(model="openai/brand-new").llm_config.model == "brand-new"


def test_the_retired_servers_name_for_openai_is_taken_and_kept(client: Letta) -> None:
    agent = client.agents.create(model="openai-proxy/gpt-4o-mini", embedding="openai-proxy/text-embedding-3-small")
    assert (agent.model, agent.llm_config.handle) == ("openai-proxy/gpt-4o-mini", "openai-proxy/gpt-4o-mini")
    assert client.agents.retrieve(agent.id).embedding == "openai-proxy/text-embedding-3-small"
    assert client.agents.update(agent.id, model="openai-proxy/gpt-4o").model == "openai-proxy/gpt-4o"
    said = client.agents.messages.create(agent.id, input="ECHO by that name")
    assert [m.content for m in said.messages if m.message_type == "assistant_message"] == ["by that name"]
    client.agents.passages.create(agent.id, text="The kettle is blue.")
    assert client.agents.passages.search(agent.id, query="kettle").count == 1
    assert {listed.partition("/")[0] for listed in handles(client)} == {"openai", "offline"}


def test_a_provider_that_is_down_leaves_the_others(start_server: StartServer) -> None:
    server = start_server(env={"OPENAI_BASE_URL": f"http://127.0.0.1:{free_port()}/v1"})
    with client_of(server) as client:
        assert handles(client) == {OFFLINE}
        assert [model.handle for model in client.models.embeddings.list()] == [OFFLINE_EMBEDDING]
        assert client.agents.create(model="openai/gpt-4o-mini").model == "openai/gpt-4o-mini"


def test_a_provider_that_answers_nonsense_leaves_the_others(start_server: StartServer, scripted_model: Any) -> None:
    nowhere = scripted_model.base_url.removesuffix("/v1") + "/no-such-path"
    with client_of(start_server(env={"OPENAI_BASE_URL": nowhere})) as client:
        assert handles(client) == {OFFLINE}


@pytest.fixture
def keyless(start_server: StartServer) -> ServerProcess:
    """A server of which nobody said which models it may use."""
    return start_server(env={"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""})


def test_without_a_provider_there_is_the_offline_model_and_its_name_says_so(keyless: ServerProcess) -> None:
    with client_of(keyless) as client:
        (model,) = client.models.list()
        assert model.handle == OFFLINE
        assert "offline" in (model.display_name or "").lower()
        assert "not a language model" in (model.display_name or "")
        assert [model.handle for model in client.models.embeddings.list()] == [OFFLINE_EMBEDDING]
        assert client.agents.create().model == OFFLINE


def test_without_a_provider_a_named_model_is_404_that_says_what_to_set(keyless: ServerProcess) -> None:
    answer = httpx.post(f"{keyless.url}/v1/agents/", json={"model": "openai/gpt-4o-mini"}, timeout=PATIENCE)
    assert answer.status_code == 404
    assert "OPENAI_API_KEY" in answer.json()["detail"]


def test_an_agent_stays_readable_when_its_provider_is_gone(start_server: StartServer, database_url: str) -> None:
    first = start_server()
    with client_of(first) as client:
        agent = client.agents.create(model="openai/gpt-4o-mini")
    first.stop()
    with client_of(start_server(env={"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""})) as client:
        assert client.agents.retrieve(agent.id).model == "openai/gpt-4o-mini"
        assert [listed.id for listed in client.agents.list()] == [agent.id]
