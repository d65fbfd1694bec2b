"""`folkmoot keys` and `folkmoot organizations`, with a server and without."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import httpx
import pytest

from support.fixtures import StartServer

Folkmoot = Callable[..., subprocess.CompletedProcess[str]]

once = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@once
def test_keys_are_made_in_the_database_and_by_the_running_server(
    folkmoot: Folkmoot, start_server: StartServer, database_url: str
) -> None:
    made = folkmoot("keys", "create", "ada", "--role", "admin", "--expires", "90d", FOLKMOOT_DATABASE=database_url)
    assert made.returncode == 0, made.stderr
    assert "asking the database itself" in made.stderr
    key = made.stdout.splitlines()[-1]
    assert key.startswith("fm-")

    server = start_server()
    asked = {"FOLKMOOT_URL": server.url, "FOLKMOOT_API_KEY": key}
    refused = folkmoot("keys", "list", FOLKMOOT_URL=server.url)
    assert (refused.returncode, "FOLKMOOT_API_KEY" in refused.stderr) == (1, True)
    assert folkmoot("keys", "create", "bob", "--organization", "second", **asked).returncode == 1
    organization = folkmoot("organizations", "create", "second", **asked).stdout.splitlines()[-1]
    bob = folkmoot("keys", "create", "bob", "--organization", "second", **asked).stdout.splitlines()[-1]
    assert httpx.get(f"{server.url}/v1/agents", headers={"authorization": f"Bearer {bob}"}).json() == []
    listed = folkmoot("keys", "list", "--organization", organization, **asked).stdout.splitlines()
    assert "bob" in listed[1]
    assert bob not in listed[1]
    assert folkmoot("keys", "revoke", listed[1].split()[0], "--organization", organization, **asked).returncode == 0
    assert httpx.get(f"{server.url}/v1/agents", headers={"authorization": f"Bearer {bob}"}).status_code == 401
    assert "second" in folkmoot("organizations", "list", **asked).stdout
    assert "is deleted" in folkmoot("organizations", "delete", "second", **asked).stdout

    server_elsewhere = folkmoot("keys", "list", FOLKMOOT_DATABASE=database_url)
    assert server_elsewhere.returncode == 1
    assert "FOLKMOOT_URL" in server_elsewhere.stderr


@once
def test_a_members_key_names_its_blocks(folkmoot: Folkmoot, start_server: StartServer) -> None:
    server = start_server()
    block = httpx.post(f"{server.url}/v1/blocks", json={"label": "organization", "value": ""}).json()
    asked = {"FOLKMOOT_URL": server.url}
    made = folkmoot("keys", "create", "claude-code", "--block", "organization:append", **asked)
    assert "It reaches: organization:append." in made.stdout
    reads = {"authorization": f"Bearer {made.stdout.splitlines()[-1]}"}
    assert httpx.get(f"{server.url}/v1/blocks/{block['id']}", headers=reads).status_code == 200
    assert "organization:append" in folkmoot("keys", "list", **asked).stdout
    unknown = folkmoot("keys", "create", "x", "--block", "nowhere:read", **asked)
    assert (unknown.returncode, "nowhere" in unknown.stderr) == (1, True)


@once
@pytest.mark.parametrize("role", ["member", "admin"])
def test_the_key_that_closes_a_server_is_told(folkmoot: Folkmoot, start_server: StartServer, role: str) -> None:
    server = start_server()
    asked = {"FOLKMOOT_URL": server.url}
    httpx.post(f"{server.url}/v1/blocks", json={"label": "notes", "value": ""}).raise_for_status()
    outsider = folkmoot("keys", "create", "claude-code", "--block", "notes", **asked)
    assert (outsider.returncode, "asks everybody" in outsider.stderr) == (0, False)
    first = folkmoot("keys", "create", "ada", "--role", role, **asked)
    assert first.returncode == 0
    assert "From now on this server asks everybody for a key." in first.stderr
    assert ("no admin's" in first.stderr) == (role == "member")
    assert folkmoot("keys", "list", **asked).returncode == 1
    assert first.stdout.splitlines()[-1].startswith("fm-")


def test_what_cannot_be_done_is_said(folkmoot: Folkmoot) -> None:
    nobody = folkmoot("keys", "list", FOLKMOOT_URL="http://127.0.0.1:9")
    assert (nobody.returncode, "No server answers at http://127.0.0.1:9" in nobody.stderr) == (1, True)
    never = folkmoot("keys", "create", "ada", "--expires", "soon")
    assert (never.returncode, "such as 90d" in never.stderr) == (1, True)
    assert folkmoot("keys", "create", "ada", "--role", "king").returncode == 2
