"""Keys: what each may do, shown once, revoked at once and in every process; and whom a server lets in without one."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import PermissionDeniedError
from tenants import KEY, NewOrganization, bearer

from folkmoot.access import keys, organizations
from folkmoot.access.authentication import Authentication
from folkmoot.access.principals import ROLES, Policy, Role
from folkmoot.application import create_app
from folkmoot.errors import Conflict, StoreUnavailable
from folkmoot.server.authorization import role_for
from folkmoot.server.gate import is_open
from folkmoot.settings import Settings
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from support.clients import official_client, plain_client
from support.fixtures import StartServer
from support.polling import PATIENCE
from support.routes import walk
from support.server import ServerProcess

once = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def new_key(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = http.post("/v1/keys", json={"name": "somebody", **fields})
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def status(server: ServerProcess, key: str, path: str = "/v1/blocks", method: str = "GET", **options: Any) -> int:
    return httpx.request(method, server.url + path, headers=bearer(key), timeout=PATIENCE, **options).status_code


OF_THE_OPERATOR = ("/v1/organizations/{", "/v1/admin/", "/v1/backup", "/settings/backup")
"""How routes about other organisations than one's own begin."""


@once
@pytest.mark.parametrize("role", ROLES)
def test_every_route_is_open_to_the_roles_that_it_needs(
    guarded: ServerProcess, new_organization: NewOrganization, role: Role
) -> None:
    key = new_key(new_organization().http, role=role)["key"]
    refused = set()
    with plain_client(guarded.url, headers=bearer(key)) as client:
        for method, template in sorted(set(walk(create_app(Settings(), {}).routes))):
            path = re.sub(r"{(\w+)(:\w+)?}", "x", template)
            if path != "/events" and not is_open(path):
                response = client.request(method, path)
                assert response.status_code != 401, (method, path)
                if response.status_code == 403:
                    refused.add((method, template))
                may = role_for(method, path)
                expected = ROLES.index(role) < ROLES.index(may) or template.startswith(OF_THE_OPERATOR)
                assert (response.status_code == 403) is (expected or template == "/v1/organizations"), (method, path)
    reading = {("POST", "/v1/messages/search"), ("POST", "/v1/runs/{run_id}/stream"), ("POST", "/logout")}
    assert not refused & reading
    changing = {
        ("POST", "/v1/blocks"),
        ("POST", "/v1/agents/{agent_id}/messages"),
        ("POST", "/agents/{agent_id}/delete"),
    }
    administration = {("GET", "/v1/keys"), ("POST", "/v1/keys"), ("POST", "/v1/client-side-access-tokens")}
    assert changing <= refused if role == "reader" else not changing & refused
    assert administration <= refused if role != "admin" else not administration & refused


def test_a_key_is_shown_once_and_named_in_the_history(guarded: ServerProcess, admin: httpx.Client) -> None:
    made = new_key(admin, name="ada")
    assert re.fullmatch(r"fm-[\w-]{43}", made["key"])
    listed = next(each for each in admin.get("/v1/keys").json() if each["id"] == made["id"])
    assert {**listed, "key": made["key"]} == made
    assert made["key"].startswith(listed["prefix"])
    assert made["key"] not in admin.get("/v1/keys").text
    with official_client(guarded.url, api_key=made["key"]) as client:
        block = client.blocks.create(label="human", value="")
        author = client.blocks.retrieve(block.id).updated_by  # type: ignore[attr-defined]
    assert (author["type"], author["name"], author["id"]) == ("api", "ada", made["id"])
    listed = next(each for each in admin.get("/v1/keys").json() if each["id"] == made["id"])
    assert listed["last_used_at"] is not None
    assert listed["created_by"] == "admin"
    assert made["key"] not in guarded.log()


async def test_a_keys_last_use_is_written_once_a_minute(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = await opened.write(lambda transaction: keys.create_key(transaction, "ada", "member", None, "admin"))

    async def used_at(now: int) -> int | None:
        monkeypatch.setattr(clock, "now", lambda: now)
        await opened.write(lambda transaction: keys.note_use(transaction, key.id))
        return (await opened.read(lambda transaction: keys.find_key(transaction, key.id))).last_used_at

    start = clock.now()
    assert await used_at(start) == start
    assert await used_at(start + keys.USE_NOTED_EVERY - 1) == start
    assert await used_at(start + keys.USE_NOTED_EVERY) == start + keys.USE_NOTED_EVERY


async def test_a_key_opens_a_database_that_takes_no_writes(
    opened: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key, secret = await opened.write(lambda transaction: keys.create_key(transaction, "ada", "member", None, "admin"))

    async def refuse(*_: Any) -> None:
        raise StoreUnavailable("It is read-only.")

    monkeypatch.setattr(opened.engine, "write", refuse)
    found = await Authentication(None, insecure=False).identify_secret(secret, opened)
    assert (found and found.id, found and found.name) == (key.id, "ada")
    assert f"The last use of key {key.id} could not be written: It is read-only." in caplog.text


async def test_only_hashes_are_stored(opened: Store) -> None:
    _, secret = await opened.write(lambda transaction: keys.create_key(transaction, "ada", "member", None, "admin"))
    found = await opened.everywhere.read(lambda transaction: keys.find_by_secret(transaction, secret))
    assert found is not None
    rows = await opened.read(lambda transaction: transaction.all(keys._keys))
    assert secret not in str([tuple(row) for row in rows])  # type: ignore[arg-type]
    assert await opened.read(lambda transaction: keys.find_by_secret(transaction, rows[0]["hash"])) is None


def test_a_key_ends_with_its_time(admin: httpx.Client, guarded: ServerProcess) -> None:
    late = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    refused = admin.post("/v1/keys", json={"name": "late", "expires_at": late})
    assert (refused.status_code, "expires_at" in refused.json()["detail"]) == (422, True)
    soon = (datetime.now(UTC) + timedelta(days=90)).isoformat()
    assert status(guarded, new_key(admin, expires_at=soon)["key"]) == 200


async def test_a_key_opens_nothing_after_its_time(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    end = clock.now() + 1_000_000
    _, secret = await opened.write(lambda transaction: keys.create_key(transaction, "ada", "member", end, "admin"))
    monkeypatch.setattr(clock, "now", lambda: end - 1)
    assert await opened.everywhere.read(lambda transaction: keys.find_by_secret(transaction, secret)) is not None
    monkeypatch.setattr(clock, "now", lambda: end)
    assert await opened.everywhere.read(lambda transaction: keys.find_by_secret(transaction, secret)) is None


def test_revoking_counts_from_the_next_request_on_in_every_process(
    start_server: StartServer, store: str, database_url: str
) -> None:
    first = start_server(env={"FOLKMOOT_API_KEY": KEY})
    servers = [first, start_server(env={"FOLKMOOT_API_KEY": KEY})] if store == "postgres" else [first]
    with plain_client(first.url, headers=bearer(KEY)) as admin:
        made = new_key(admin)
        streams = [Stream(server, made["key"]) for server in servers]
        for server in servers:
            assert status(server, made["key"]) == 200
        assert admin.delete(f"/v1/keys/{made['id']}").json()["revoked_at"] is not None
        for server in servers:
            assert status(server, made["key"]) == 401
        for stream in streams:
            assert stream.ended.wait(PATIENCE), "an open stream goes on"
        assert admin.delete("/v1/keys/key-unknown").status_code == 404


class Stream:
    """An open stream of a server's news."""

    def __init__(self, server: ServerProcess, key: str) -> None:
        self.begun, self.ended = threading.Event(), threading.Event()
        threading.Thread(target=self._read, args=(server, key), daemon=True).start()
        assert self.begun.wait(PATIENCE)

    def _read(self, server: ServerProcess, key: str) -> None:
        with httpx.stream("GET", f"{server.url}/events", headers=bearer(key), timeout=PATIENCE) as stream:
            assert stream.status_code == 200
            for _ in stream.iter_bytes():
                self.begun.set()
        self.ended.set()


@once
def test_the_first_key_closes_a_server_that_needed_none(start_server: StartServer) -> None:
    server = start_server()
    with plain_client(server.url) as local:
        assert local.get("/v1/blocks", headers=bearer("not-needed")).status_code == 200
        assert local.get("/v1/blocks", headers=bearer("fm-made-up")).status_code == 401, (
            "who shows a key is known by it"
        )
        made = new_key(local, role="admin")
        assert local.get("/v1/blocks").status_code == 401
        assert local.get("/v1/blocks", headers=bearer("not-needed")).status_code == 401
        assert local.delete(f"/v1/keys/{made['id']}", headers=bearer(made["key"])).status_code == 200
        assert local.get("/v1/blocks").status_code == 401, "nobody gains by a revocation"
        server.restart()
        assert local.get("/v1/blocks").status_code == 401


@once
def test_an_insecure_server_stays_open_and_knows_keys(start_server: StartServer) -> None:
    server = start_server(args=["--insecure"])
    with plain_client(server.url) as local:
        reader = new_key(local, role="reader")["key"]
        assert local.get("/v1/blocks").status_code == 200
        fields = {"label": "a", "value": "b"}
        assert local.post("/v1/blocks", json=fields, headers=bearer(reader)).status_code == 403


@once
def test_a_stored_key_signs_in_and_its_session_has_its_role(guarded: ServerProcess, admin: httpx.Client) -> None:
    made = new_key(admin, name="reading-ada", role="reader")
    with plain_client(guarded.url) as browser:
        assert browser.post("/login", data={"key": made["key"]}).status_code == 303
        assert browser.get("/agents").status_code == 200
        refused = browser.post("/v1/blocks", json={"label": "a", "value": "b"}, headers={"origin": guarded.url})
        assert refused.status_code == 403
        assert "reading-ada" in refused.json()["detail"]
        admin.delete(f"/v1/keys/{made['id']}")
        assert browser.get("/agents").status_code == 401


@once
def test_a_key_is_revoked_once_and_a_scoped_token_is_none_of_the_keys(
    guarded: ServerProcess, new_organization: NewOrganization
) -> None:
    owner = new_organization()
    key = new_key(owner.http)["id"]
    ended = owner.ask("DELETE", f"/v1/keys/{key}")["revoked_at"]
    assert owner.ask("DELETE", f"/v1/keys/{key}")["revoked_at"] == ended is not None
    agent = owner.ask("POST", "/v1/agents", json={"name": "a", "model": "openai/gpt-4o-mini"})["id"]
    path, policy = "/v1/client-side-access-tokens", [{"type": "agent", "id": agent, "access": ["read_agent"]}]
    for hostname in ("app", "ftp://app.example", "http://[", "https://ada:secret@app.example", "https://app.example:x"):
        refused = owner.http.post(path, json={"hostname": hostname, "policy": policy})
        assert (refused.status_code, "is no page's address" in refused.text) == (422, True), hostname
    made = owner.ask("POST", path, json={"hostname": "https://app.example", "policy": policy})
    (token,) = owner.ask("GET", path)["tokens"]
    assert owner.http.delete(f"/v1/keys/{token['token']}").status_code == 404
    for origin, answer in (("https://app.example", 200), ("http://[", 403), ("https://app.example:x", 403)):
        headers = {**bearer(made["token"]), "origin": origin}
        assert httpx.get(f"{guarded.url}/v1/agents/{agent}", headers=headers).status_code == answer, origin


@once
async def test_keys_tokens_and_organisations_have_a_bound(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def key(transaction: Transaction) -> str:
        return (await keys.create_key(transaction, "ada", "member", None, "admin"))[0].id

    async def token(transaction: Transaction) -> str:
        policy = Policy({"agent-1": frozenset()}, "https://app.example")
        return (await keys.create_token(transaction, policy, clock.now() + 60_000_000, "admin"))[0].id

    async def organization(transaction: Transaction) -> str:
        return (await organizations.create_organization(transaction, f"o-{uuid4()}")).id

    monkeypatch.setattr(keys, "MOST_KEYS", 1)
    monkeypatch.setattr(keys, "MOST_TOKENS", 1)
    monkeypatch.setattr(organizations, "MOST", 1)
    for store, make in ((opened, key), (opened, token), (opened.everywhere, organization)):
        await store.write(make)
        with pytest.raises(Conflict, match=r"has 1 |There are 1 "):
            await store.write(make)
    for each in await opened.read(keys.list_keys):
        await opened.write(lambda transaction, each=each: keys.revoke_key(transaction, each.id))
    await opened.write(key)


@once
def test_keys_of_another_organisation_are_the_default_ones_admins(new_organization: NewOrganization) -> None:
    one, two = new_organization(), new_organization()
    refused = one.http.post("/v1/keys", json={"name": "x", "organization": two.id})
    assert refused.status_code == 403
    assert one.http.get("/v1/keys", params={"organization": two.name}).status_code == 403
    assert one.http.post("/v1/organizations", json={"name": "third"}).status_code == 403
    assert [key["id"] for key in one.http.get("/v1/keys").json()] == [one.key_id]


def test_a_deleted_organisation_leaves_nothing(admin: httpx.Client, new_organization: NewOrganization) -> None:
    owner, other = new_organization(), new_organization()
    owner.fill()
    other.fill()
    assert admin.delete("/v1/organizations/default").status_code == 409
    gone = admin.delete(f"/v1/organizations/{owner.name}").json()
    assert gone["deleted_rows"]["messages"] >= 2
    assert {"agents", "blocks", "runs", "steps", "api_keys", "organizations"} <= gone["deleted_rows"].keys() | {
        "api_keys"
    }
    assert owner.http.get("/v1/agents").status_code == 401
    assert owner.id not in admin.get("/v1/organizations").text
    assert admin.delete(f"/v1/organizations/{owner.id}").status_code == 404
    assert other.ask("GET", f"/v1/blocks/{other.ids['block_id']}")["value"] == f"{other.word} keeps"


@once
def test_the_official_clients_scoped_tokens(guarded: ServerProcess, new_organization: NewOrganization) -> None:
    owner = new_organization()
    owner.fill()
    agent_id = owner.ids["agent_id"]
    with official_client(guarded.url, api_key=owner.key) as client:
        made = client.access_tokens.create(
            hostname="https://app.example.org/start",
            policy=[{"type": "agent", "id": agent_id, "access": ["read_messages", "write_agent"]}],
        )
        ends = datetime.fromisoformat(made.expires_at) - datetime.now(UTC)
        assert timedelta(minutes=4) < ends <= timedelta(minutes=5)
        listed = client.access_tokens.list(agent_id=agent_id)
        assert [each.hostname for each in listed.tokens] == ["https://app.example.org"] * 2
        assert not listed.has_next_page
        assert client.access_tokens.list(agent_id=agent_id, limit=1).has_next_page
        with official_client(guarded.url, api_key=made.token) as page:
            assert page.agents.messages.list(agent_id).items
            with pytest.raises(PermissionDeniedError, match="policy"):
                page.agents.messages.create(agent_id, messages=[{"role": "user", "content": "hello"}])
            with pytest.raises(PermissionDeniedError, match="block_ids: a scoped token does not change"):
                page.agents.update(agent_id, block_ids=[])
            with pytest.raises(PermissionDeniedError, match="enable_sleeptime: a scoped token makes no agents"):
                page.patch(f"/v1/agents/{agent_id}", body={"enable_sleeptime": True}, cast_to=object)
            with pytest.raises(PermissionDeniedError, match="tool_rules: a scoped token does not change"):
                page.agents.update(agent_id, tool_rules=[])
            with pytest.raises(PermissionDeniedError, match="secrets: a scoped token does not change"):
                page.agents.update(agent_id, secrets={"TOKEN": "mine"})
            assert page.agents.update(agent_id, description="by the page").description == "by the page"
            path = f"/v1/agents/{agent_id}/messages"
            for origin, answer in (("https://app.example.org", 200), ("https://evil.example", 403)):
                headers = {**bearer(made.token), "origin": origin}
                assert httpx.get(guarded.url + path, headers=headers).status_code == answer
            assert httpx.post(f"{guarded.url}/login", data={"key": made.token}).status_code == 401
            client.access_tokens.delete(made.token)
            assert status(guarded, made.token, path) == 401
        client.access_tokens.delete(listed.tokens[1].token)
        assert client.access_tokens.list().tokens == []


@once
def test_secrets_are_shown_to_who_may_set_them(guarded: ServerProcess, new_organization: NewOrganization) -> None:
    owner = new_organization()
    agent = owner.ask(
        "POST", "/v1/agents", json={"name": "a", "model": "openai/gpt-4o-mini", "secrets": {"K": "the-secret"}}
    )
    reader = new_key(owner.http, role="reader")["key"]
    path = f"/v1/agents/{agent['id']}"
    with httpx.Client(base_url=guarded.url, headers=bearer(reader)) as other:
        for shown, status_for_reader in ((f"{path}?include=agent.secrets", 200), (f"{path}/secrets", 403)):
            assert "the-secret" in owner.http.get(shown).text
            answer = other.get(shown)
            assert (answer.status_code, "the-secret" in answer.text) == (status_for_reader, False)
