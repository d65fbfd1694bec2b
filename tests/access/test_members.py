"""Members: keys that reach named blocks only, whose holders are the authors of what they write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Protocol
from uuid import uuid4

import httpx
import pytest
from tenants import NewOrganization, Organization, bearer

from folkmoot.application import create_app
from folkmoot.server.gate import is_open
from folkmoot.settings import Settings
from support.clients import plain_client
from support.fixtures import StartServer
from support.polling import PATIENCE
from support.routes import walk
from support.server import ServerProcess

once = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

EDITS: dict[str, dict[str, str]] = {
    "insert": {"new_string": "new"},
    "append": {"content": "new"},
    "replace": {"old_string": "one", "new_string": "new"},
    "rethink": {"new_memory": "new"},
    "patch": {"patch": "-one\n+new"},
}
MEMBERS_ROUTES = {
    ("GET", "/v1/blocks/{block_id}"),
    ("GET", "/v1/blocks/{block_id}/history"),
    ("GET", "/v1/blocks/{block_id}/history/{version}"),
    ("GET", "/v1/blocks/{block_id}/blame"),
    ("GET", "/v1/blocks/{block_id}/watch"),
    ("POST", "/v1/blocks/{block_id}/edits"),
}


class NewMember(Protocol):
    def __call__(self, organization: Organization, **grants: Any) -> httpx.Client: ...


@pytest.fixture
def organization(new_organization: NewOrganization) -> Organization:
    return new_organization()


@pytest.fixture
def new_member(guarded: ServerProcess) -> Iterator[NewMember]:
    """Make a member and return a client with its key; the client knows the key's id as `key-id`."""
    with ExitStack() as clients:

        def make(organization: Organization, name: str = "claude-code", **grants: Any) -> httpx.Client:
            key = organization.ask("POST", "/v1/keys", json={"name": name, **grants})
            client = plain_client(guarded.url, headers=bearer(key["key"]))
            client.headers["user-agent"] = f"{name}/1"
            client.headers["x-key-id"] = key["id"]
            return clients.enter_context(client)

        yield make


def new_block(organization: Organization, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = organization.ask(
        "POST", "/v1/blocks", json={"label": f"b_{uuid4().hex[:8]}", "value": "one", **fields}
    )
    return made


def edit(client: httpx.Client, block: dict[str, Any], kind: str = "insert", **headers: str) -> httpx.Response:
    return client.post(f"/v1/blocks/{block['id']}/edits", json={"kind": kind, **EDITS[kind]}, headers=headers)


@pytest.mark.parametrize(("access", "may"), [("write", set(EDITS)), ("append", {"insert", "append"}), ("read", set())])
def test_a_member_edits_as_its_access_allows(
    organization: Organization, new_member: NewMember, access: str, may: set[str]
) -> None:
    for kind in EDITS:
        block = new_block(organization)
        member = new_member(organization, blocks=[{"block": block["label"], "access": access}])
        assert member.get(f"/v1/blocks/{block['id']}").json()["value"] == "one"
        answer = edit(member, block, kind)
        assert answer.status_code == (200 if kind in may else 403), (kind, answer.text)
        assert (organization.ask("GET", f"/v1/blocks/{block['id']}")["value"] == "one") is (kind not in may)


def test_a_member_is_the_author_of_what_it_writes(organization: Organization, new_member: NewMember) -> None:
    block = new_block(organization)
    member = new_member(organization, blocks=[{"block": block["id"], "access": "append"}])
    author = edit(member, block).json()["updated_by"]
    expected = {"type": "member", "id": member.headers["x-key-id"], "name": "claude-code", "client": "claude-code/1"}
    assert {name: author[name] for name in expected} == expected
    assert member.get(f"/v1/blocks/{block['id']}/blame").json()["lines"][1]["author"] == author
    assert member.get(f"/v1/blocks/{block['id']}/history").json()[0]["author"] == author


@once
def test_a_member_reaches_its_blocks_and_nothing_else(organization: Organization, new_member: NewMember) -> None:
    """Every route is asked for with the member's own block in the place of each parameter."""
    block = new_block(organization)
    member = new_member(organization, blocks=[{"block": block["id"]}])
    opened = set()
    for method, template in sorted(set(walk(create_app(Settings(), {}).routes))):
        path = re.sub(r"{(\w+)(:\w+)?}", block["id"], template)
        if is_open(path) or template.endswith("/watch") or template in ("/mcp", "/metrics"):  # told of elsewhere
            continue
        status = member.request(method, path).status_code
        assert status != 401, (method, path)
        if status != 403:
            opened.add((method, template))
    assert {each for each in opened if each[0] != "HEAD"} == {
        each for each in MEMBERS_ROUTES if not each[1].endswith("/watch")
    }


@once
def test_a_member_of_some_blocks_does_not_reach_others(
    organization: Organization, new_organization: NewOrganization, new_member: NewMember
) -> None:
    block, other, foreign = new_block(organization), new_block(organization), new_block(new_organization())
    member = new_member(organization, blocks=[{"block": block["id"]}])
    for each in (other, foreign):
        for path in ("", "/history", "/history/1", "/blame", "/watch"):
            assert member.get(f"/v1/blocks/{each['id']}{path}").status_code == 403
        assert edit(member, each).status_code == 403
    with member.stream("GET", f"/v1/blocks/{block['id']}/watch") as watch:
        assert watch.status_code == 200


@once
def test_what_a_member_reaches_is_changed_for_its_next_request(
    organization: Organization, new_member: NewMember
) -> None:
    block, other = new_block(organization), new_block(organization)
    member = new_member(organization, blocks=[{"block": block["id"]}], agents=[])
    path = f"/v1/keys/{member.headers['x-key-id']}"
    changed = organization.ask("PATCH", path, json={"blocks": [{"block": other["id"], "access": "read"}]})
    assert changed["blocks"] == [{"id": other["id"], "label": other["label"], "access": "read"}]
    assert edit(member, block).status_code == 403
    assert edit(member, other).status_code == 403
    assert member.get(f"/v1/blocks/{other['id']}").status_code == 200
    organization.ask("DELETE", path)
    assert member.get(f"/v1/blocks/{other['id']}").status_code == 401
    assert organization.http.patch(path, json={"blocks": []}).status_code == 409


def test_a_watch_ends_when_its_block_is_taken_from_the_member(
    organization: Organization, new_member: NewMember
) -> None:
    taken, kept = new_block(organization), new_block(organization)
    member = new_member(organization, blocks=[{"block": each["id"], "access": "read"} for each in (taken, kept)])
    with (
        member.stream("GET", f"/v1/blocks/{taken['id']}/watch", timeout=PATIENCE) as ending,
        member.stream("GET", f"/v1/blocks/{kept['id']}/watch", timeout=PATIENCE) as going_on,
        ThreadPoolExecutor(1) as thread,
    ):
        path = f"/v1/keys/{member.headers['x-key-id']}"
        organization.ask("PATCH", path, json={"blocks": [{"block": kept["id"], "access": "read"}]})
        try:
            thread.submit(ending.read).result(PATIENCE)
        finally:
            organization.ask("DELETE", f"/v1/blocks/{taken['id']}")  # which ends it in any case
        organization.ask("PATCH", f"/v1/blocks/{kept['id']}", json={"value": "two"})
        assert next(line for line in going_on.iter_lines() if "two" in line)


@once
def test_a_block_that_is_made_read_only_or_deleted_meanwhile_is_told(
    organization: Organization, new_member: NewMember
) -> None:
    block = new_block(organization)
    member = new_member(organization, blocks=[{"block": block["id"]}])
    organization.ask("PATCH", f"/v1/blocks/{block['id']}", json={"read_only": True})
    answer = edit(member, block)
    assert (answer.status_code, "read-only" in answer.json()["detail"]) == (403, True)
    organization.http.delete(f"/v1/blocks/{block['id']}")
    assert edit(member, block).status_code == 404
    shown = [key for key in organization.ask("GET", "/v1/keys") if key["id"] == member.headers["x-key-id"]]
    assert shown[0]["blocks"] == [{"id": block["id"], "label": None, "access": "write"}]


@once
def test_a_name_that_means_nothing_or_several_is_refused(organization: Organization) -> None:
    first, second = new_block(organization, label="twice"), new_block(organization, label="twice")
    for named, told in (("twice", (first["id"], second["id"])), ("nowhere", ("nowhere",))):
        answer = organization.http.post("/v1/keys", json={"name": "x", "blocks": [{"block": named}]})
        assert answer.status_code == 422
        assert all(each in answer.json()["detail"] for each in ("blocks.0.block", *told))
    for role in ("reader", "admin"):
        answer = organization.http.post("/v1/keys", json={"name": "x", "role": role, "blocks": []})
        assert (answer.status_code, "role" in answer.json()["detail"]) == (422, True)
    assert organization.http.post("/v1/keys", json={"name": "x", "agents": ["nobody"]}).status_code == 422
    many = [{"block": first["id"]}] * 101
    assert organization.http.post("/v1/keys", json={"name": "x", "blocks": many}).status_code == 422
    assert organization.http.patch(f"/v1/keys/{organization.key_id}", json={"blocks": []}).status_code == 409


@once
def test_a_members_key_does_not_close_an_open_server(start_server: StartServer) -> None:
    server = start_server()
    with plain_client(server.url) as stranger:
        block = stranger.post("/v1/blocks", json={"label": "open", "value": "one"}).json()
        key = stranger.post("/v1/keys", json={"name": "guest", "blocks": [{"block": "open", "access": "read"}]}).json()
        assert stranger.get("/v1/blocks").status_code == 200
        guest = bearer(key["key"])
        assert stranger.get(f"/v1/blocks/{block['id']}", headers=guest).status_code == 200
        assert stranger.get("/v1/blocks", headers=guest).status_code == 403
        stranger.post("/v1/keys", json={"name": "owner", "role": "admin"}).raise_for_status()
        assert stranger.get("/v1/blocks").status_code == 401


@once
def test_a_members_key_is_no_way_to_the_pages(
    organization: Organization, new_member: NewMember, guarded: ServerProcess
) -> None:
    member = new_member(organization, blocks=[])
    key = member.headers["authorization"].removeprefix("Bearer ")
    assert httpx.post(f"{guarded.url}/login", data={"key": key}).status_code == 401
    assert member.get("/blocks", headers={"accept": "text/html"}).status_code == 403


@once
def test_a_member_that_overwrites_must_name_the_version_where_the_block_demands_it(
    organization: Organization, new_member: NewMember
) -> None:
    block = new_block(organization, require_version=True)
    member = new_member(organization, blocks=[{"block": block["id"]}])
    assert edit(member, block, "rethink").status_code == 428
    assert edit(member, block, "rethink", **{"If-Match": '"1"'}).status_code == 200
