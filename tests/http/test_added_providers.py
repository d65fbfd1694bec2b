"""Providers that are added through the API: their models at once and everywhere, their keys nowhere."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from assertions import UNKNOWN, assert_error

from support.clients import plain_client
from support.fixtures import StartServer, one_store
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

SECRET = "sk-a-key-of-ones-own-0123456789"
OTHER = "sk-another-key-9876543210"
ACCOUNT = {
    "OPENAI_ORG_ID": "org-of-the-server",
    "OPENAI_PROJECT_ID": "project-of-the-server",
    "OPENAI_CUSTOM_HEADERS": "x-server: openai",
    "ANTHROPIC_AUTH_TOKEN": "token-of-the-server",
    "ANTHROPIC_CUSTOM_HEADERS": "x-server: anthropic",
}
"""What the environment says of the server's own account at providers."""


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """One that lets a provider be on this machine, as the scripted model is."""
    return start_server(env={"FOLKMOOT_PRIVATE_PROVIDERS": "true", "FOLKMOOT_SECRET_KEY": "the same", **ACCOUNT})


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with plain_client(server.url) as client:
        yield client


def add(http: httpx.Client, model: ScriptedModel, **fields: Any) -> dict[str, Any]:
    name = f"mine-{uuid4().hex[:8]}"
    body = {"name": name, "provider_type": "openai", "api_key": SECRET, "base_url": model.base_url, **fields}
    response = http.post("/v1/providers/", json=body)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def say(http: httpx.Client, handle: str) -> httpx.Response:
    agent = http.post("/v1/agents", json={"model": handle})
    assert agent.status_code == 200, agent.text
    path = f"/v1/agents/{agent.json()['id']}/messages"
    return http.post(path, json={"messages": [{"role": "user", "content": "ECHO by my own key"}]})


def handles(http: httpx.Client) -> set[str]:
    return {model["handle"] for model in http.get("/v1/models").json()}


def test_its_models_are_listed_and_asked_in_every_process(
    http: httpx.Client, start_server: StartServer, scripted_model: ScriptedModel, store: str
) -> None:
    made = add(http, scripted_model)
    handle = f"{made['name']}/gpt-4o-mini"
    listed = http.get("/v1/models", params={"provider_name": made["name"]}).json()
    assert handle in {model["handle"] for model in listed}
    assert {(model["provider_category"], model["provider_type"]) for model in listed} == {("byok", "openai")}
    assert "by my own key" in say(http, handle).text
    assert scripted_model.received[-1].headers["authorization"] == f"Bearer {SECRET}"
    assert not {"openai-organization", "openai-project", "x-server"} & set(scripted_model.received[-1].headers)
    if store != "postgres":
        return
    other = start_server(env={"FOLKMOOT_PRIVATE_PROVIDERS": "true", "FOLKMOOT_SECRET_KEY": "the same"})
    with plain_client(other.url) as elsewhere:
        second = add(http, scripted_model)
        assert f"{second['name']}/gpt-4o-mini" in handles(elsewhere)
        assert "by my own key" in say(elsewhere, f"{second['name']}/gpt-4o-mini").text
        http.delete(f"/v1/providers/{second['id']}").raise_for_status()
        assert f"{second['name']}/gpt-4o-mini" not in handles(elsewhere)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_another_process_knows_one_at_once_before_it_has_heard_of_it(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    env = {"FOLKMOOT_PRIVATE_PROVIDERS": "true", "FOLKMOOT_SECRET_KEY": "the same", **ACCOUNT}
    servers = [start_server(env=env), start_server(env=env)]
    with plain_client(servers[0].url) as one, plain_client(servers[1].url) as other:
        agent = other.post("/v1/agents", json={"model": "offline/notetaker"}).json()["id"]
        thread = other.post(f"/v1/conversations?agent_id={agent}", json={}).json()["id"]
        said = {"messages": [{"role": "user", "content": "ECHO at once"}]}
        for method, path, body, name in (
            ("POST", "/v1/agents", {}, "model"),
            ("PATCH", f"/v1/agents/{agent}", {}, "model"),
            ("PATCH", f"/v1/conversations/{thread}", {}, "model"),
            ("POST", f"/v1/agents/{agent}/messages", said, "override_model"),
            ("POST", f"/v1/agents/{agent}/messages/stream", said, "override_model"),
            ("POST", f"/v1/agents/{agent}/messages/async", said, "override_model"),
        ) * 3:  # the signal takes some milliseconds, as long as the request
            handle = f"{add(one, scripted_model)['name']}/gpt-4o-mini"
            answer = other.request(method, path, json={**body, name: handle})
            assert answer.status_code == 200, (path, answer.text)
        archive = other.post("/v1/archives", json={"name": "a"}).json()["id"]
        for method, path, body in (
            ("POST", "/v1/archives", {"name": "b"}),
            ("PATCH", f"/v1/archives/{archive}", {}),
        ) * 3:
            handle = f"{add(one, scripted_model)['name']}/text-embedding-3-small"
            answer = other.request(method, path, json={**body, "embedding": handle})
            assert answer.status_code == 200, (path, answer.text)


@one_store
def test_a_key_is_answered_and_kept_in_no_readable_form(
    http: httpx.Client, server: ServerProcess, scripted_model: ScriptedModel
) -> None:
    made = add(http, scripted_model, access_key=OTHER)
    path = f"/v1/providers/{made['id']}"
    changed = http.patch(path, json={"api_key": OTHER})
    refused = http.post("/v1/providers", json={"name": "x y", "provider_type": "openai", "api_key": SECRET})
    malformed = http.post("/v1/providers", json={"name": "n", "provider_type": "nobody", "api_key": SECRET})
    assert [refused.status_code, malformed.status_code] == [422, 422]
    shown = [http.get(path), http.get("/v1/providers"), http.patch(f"{path}/refresh"), changed, refused, malformed]
    assert not [each.text for each in shown if SECRET in each.text or OTHER in each.text]
    assert not {name for name, value in made.items() if "key" in name and value is not None}
    database = Path(server.database.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(database)) as connection:
        (sealed,) = connection.execute("SELECT sealed FROM model_providers WHERE id = ?", [made["id"]]).fetchone()
    assert sealed
    assert SECRET not in sealed
    assert not [each for each in database.parent.glob("folkmoot.sqlite3*") if SECRET.encode() in each.read_bytes()]
    assert SECRET not in server.log()


@one_store
def test_a_changed_key_is_used_from_the_next_turn_on(http: httpx.Client, scripted_model: ScriptedModel) -> None:
    made = add(http, scripted_model)
    say(http, f"{made['name']}/gpt-4o-mini").raise_for_status()
    http.patch(f"/v1/providers/{made['id']}", json={"api_key": OTHER}).raise_for_status()
    say(http, f"{made['name']}/gpt-4o-mini").raise_for_status()
    assert scripted_model.received[-1].headers["authorization"] == f"Bearer {OTHER}"


@one_store
def test_a_kept_key_is_sent_to_no_other_address(http: httpx.Client, scripted_model: ScriptedModel) -> None:
    made = add(http, scripted_model)
    path, elsewhere = f"/v1/providers/{made['id']}", scripted_model.base_url.replace("127.0.0.1", "localhost")
    assert_error(http.patch(path, json={"base_url": elsewhere}), 422, "base_url: another one would be sent the key")
    assert http.get(path).json()["base_url"] == scripted_model.base_url
    assert http.patch(path, json={"base_url": scripted_model.base_url}).status_code == 200, "it is where it was"
    assert http.patch(path, json={"base_url": elsewhere, "api_key": OTHER}).status_code == 200


@one_store
def test_anthropics_api_is_spoken_with_nothing_of_the_servers_own_account(
    http: httpx.Client, scripted_model: ScriptedModel
) -> None:
    made = add(http, scripted_model, provider_type="anthropic")
    assert "by my own key" in say(http, f"{made['name']}/claude-haiku-4-5").text
    sent = " ".join(f"{name}: {value}" for name, value in scripted_model.received[-1].headers.items())
    assert SECRET in sent
    assert "of-the-server" not in sent
    assert "x-server" not in sent


@one_store
def test_a_turn_says_that_its_provider_was_deleted(http: httpx.Client, scripted_model: ScriptedModel) -> None:
    made = add(http, scripted_model)
    handle = f"{made['name']}/gpt-4o-mini"
    agent = http.post("/v1/agents", json={"model": handle}).json()
    path = f"/v1/providers/{made['id']}"
    assert http.delete(path).json() == {"message": f"Provider id={made['id']} successfully deleted"}
    assert handle not in handles(http)
    said = http.post(f"/v1/agents/{agent['id']}/messages", json={"messages": [{"role": "user", "content": "hello?"}]})
    assert_error(said, 404, made["name"], "deleted")
    assert http.get(f"/v1/agents/{agent['id']}").json()["llm_config"]["handle"] == handle
    assert_error(http.get(path), 404, made["id"])
    assert_error(http.delete(path), 404, made["id"])


@one_store
def test_a_check_says_what_is_wrong(http: httpx.Client, scripted_model: ScriptedModel) -> None:
    body = {"provider_type": "openai", "api_key": SECRET, "base_url": scripted_model.base_url}
    valid = {"message": "Valid api key for provider_type=openai"}
    assert http.post("/v1/providers/check", json=body).json() == valid
    made = add(http, scripted_model)
    assert http.post(f"/v1/providers/{made['id']}/check").json() == valid
    assert_error(
        http.post("/v1/providers/check", json={**body, "base_url": "http://127.0.0.1:1/v1"}), 502, "127.0.0.1:1"
    )
    odd = body | {"base_url": scripted_model.base_url + "/nothing"}
    assert_error(http.post("/v1/providers/check", json=odd), 502, "404")
    assert_error(http.post("/v1/providers/check", json={**body, "provider_type": "letta"}), 422, "provider_type")
    assert_error(
        http.post("/v1/providers/check", json={**body, "provider_type": "vllm", "base_url": None}), 422, "base_url"
    )


@one_store
def test_what_is_sent_is_looked_at(http: httpx.Client, scripted_model: ScriptedModel) -> None:
    made = add(http, scripted_model)
    same = {"name": made["name"], "provider_type": "openai", "api_key": SECRET}
    assert_error(http.post("/v1/providers", json=same), 409, made["name"])
    assert_error(http.post("/v1/providers", json={**same, "name": "openai"}), 422, "name", "my-openai")
    assert_error(http.post("/v1/providers", json={**same, "name": "a/b"}), 422, "name")
    assert_error(http.post("/v1/providers", json={"name": "n", "provider_type": "openai"}), 422, "api_key")
    assert_error(http.post("/v1/providers", json={**same, "name": "n", "region": "evil.example/x"}), 422, "region")
    assert_error(http.get(f"/v1/providers/provider-{UNKNOWN}"), 404)
    assert [each["id"] for each in http.get("/v1/providers", params={"name": made["name"]}).json()] == [made["id"]]
    assert http.get("/v1/providers", params={"provider_type": "anthropic"}).json() == []


@one_store
def test_addresses_of_the_servers_own_network_are_refused(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    with plain_client(start_server().url) as http:
        body = {"name": "inside", "provider_type": "openai", "api_key": SECRET, "base_url": scripted_model.base_url}
        assert_error(http.post("/v1/providers", json=body), 422, "base_url", "FOLKMOOT_PRIVATE_PROVIDERS")
        assert_error(http.post("/v1/providers/check", json=body), 422, "base_url")
        made = http.post("/v1/providers", json={**body, "base_url": "https://example.org/v1"}).json()
        changed = http.patch(f"/v1/providers/{made['id']}", json={"base_url": "http://169.254.169.254/latest"})
        assert_error(changed, 422, "base_url")
    assert scripted_model.received == []


@one_store
def test_addresses_are_judged_when_they_are_dialled(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    """An address that got in while it was allowed: its text is not looked at again, the connection is."""
    allowed = start_server(env={"FOLKMOOT_PRIVATE_PROVIDERS": "true", "FOLKMOOT_SECRET_KEY": "the same"})
    with plain_client(allowed.url) as http:
        handle = f"{add(http, scripted_model, name='inside')['name']}/gpt-4o-mini"
        say(http, handle).raise_for_status()
    allowed.stop()
    scripted_model.reset()
    strict = start_server(env={"FOLKMOOT_SECRET_KEY": "the same", "FOLKMOOT_MODEL_RETRIES": "0", "OPENAI_API_KEY": ""})
    with plain_client(strict.url) as http:
        assert_error(say(http, handle), 502, "inside")
        assert handle not in handles(http)
        refused = http.post(f"/v1/providers/{http.get('/v1/providers').json()[0]['id']}/check")
        assert_error(refused, 422, "base_url")
    assert not [each for each in scripted_model.received if each.headers.get("authorization") == f"Bearer {SECRET}"]


@one_store
def test_texts_are_embedded_by_the_models_of_ones_own(http: httpx.Client, scripted_model: ScriptedModel) -> None:
    made = add(http, scripted_model)
    embedding = f"{made['name']}/text-embedding-3-small"
    listed = {each["handle"] for each in http.get("/v1/models/embedding").json()}
    archive = http.post("/v1/archives", json={"name": "library", "embedding": embedding}).raise_for_status().json()
    path = f"/v1/archives/{archive['id']}"
    http.post(f"{path}/passages", json={"text": "The heron stands still."}).raise_for_status()
    while http.get(path).json()["embedded_count"] == 0:
        assert not http.get(f"{path}/passages").json()[0]["embedding_error"]
        time.sleep(0.02)
    asked = [each for each in scripted_model.received if each.path.endswith("/embeddings")]
    assert {each.headers["authorization"] for each in asked} == {f"Bearer {SECRET}"}
    assert not {"openai-organization", "x-server"} & set(asked[0].headers)
    assert embedding in listed or not listed, "the scripted model's list may have none"
    http.delete(f"/v1/providers/{made['id']}").raise_for_status()
    assert_error(http.post("/v1/archives", json={"name": "x", "embedding": embedding}), 400, made["name"])


@one_store
def test_nobody_elses_agents_use_them(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    server = start_server(env={"FOLKMOOT_PRIVATE_PROVIDERS": "true", "FOLKMOOT_API_KEY": "first"})
    with plain_client(server.url, headers={"authorization": "Bearer first"}) as http:
        handle = f"{add(http, scripted_model, name='mine')['name']}/gpt-4o-mini"
        organization = http.post("/v1/organizations", json={"name": "others"}).json()["id"]
        key = http.post("/v1/keys", json={"name": "x", "role": "admin", "organization": organization}).json()["key"]
        with plain_client(server.url, headers={"authorization": f"Bearer {key}"}) as others:
            assert handle in handles(http)
            assert handle not in handles(others)
            assert_error(others.post("/v1/agents", json={"model": handle}), 404, "mine")
            theirs = add(others, scripted_model, name="mine", api_key=OTHER)
            say(others, handle).raise_for_status()
            assert scripted_model.received[-1].headers["authorization"] == f"Bearer {OTHER}"
            say(http, handle).raise_for_status()
            assert scripted_model.received[-1].headers["authorization"] == f"Bearer {SECRET}"
            others.delete(f"/v1/providers/{theirs['id']}").raise_for_status()
            assert handle in handles(http)


def test_one_called_as_the_retired_server_called_openai_is_asked_itself(
    http: httpx.Client, scripted_model: ScriptedModel
) -> None:
    add(http, scripted_model, name="openai-proxy")
    assert say(http, "openai-proxy/gpt-4o-mini").status_code == 200
    assert scripted_model.received[-1].headers["authorization"] == f"Bearer {SECRET}"
