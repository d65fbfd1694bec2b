"""The protocol's published conformance suite, both ways: Folkmoot as a server, and as a client of servers of tools."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from installs import HERE, node_modules

from support.fixtures import one_store
from support.server import ServerProcess

SERVES = {
    *("server-initialize", "ping", "tools-list", "resources-list", "prompts-list", "sep-2164-resource-not-found"),
    *("dns-rebinding-protection", "caching", "http-header-validation", "server-sse-multiple-streams"),
    *("server-session-lifecycle", "server-stateless", "input-required-result-unsupported-methods"),
}
"""Scenarios that ask for nothing but what every server has."""

OF_ITS_OWN_SERVER = re.compile(
    r"There is no (tool|prompt) 'test_|Not testable: server (does not list|exposes no)|Mutated the (tool|prompt) list"
)
"""What a check says that wants a tool of the server that the suite is made with."""

ASKS = ("tools_call", "request-metadata", "http-standard-headers", "http-custom-headers")
SCHEMAS = ("http-invalid-tool-headers", "json-schema-2020-12-preservation", "json-schema-ref-no-deref")


def run(folder: Path, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """Run the suite and return its checks by scenario."""
    suite = node_modules() / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    node = ["node", "--import", str(HERE / "conformance" / "register.mjs"), str(suite)]
    subprocess.run([*node, *arguments, "-o", str(folder)], cwd=HERE, capture_output=True, timeout=300, check=False)
    found = {}
    for file in folder.glob("*/checks.json"):
        scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*$", "", file.parent.name)
        found["server-" + scenario if "server-" + scenario in SERVES else scenario] = json.loads(file.read_text())
    return found


@one_store
def test_the_door_serves_as_the_protocol_says(server: ServerProcess, tmp_path: Path) -> None:
    found = run(tmp_path, "server", "--url", f"{server.url}/mcp", "--suite", "all")
    assert found.keys() >= SERVES
    failed = [
        f"{scenario}: {check['id']}: {check.get('errorMessage')}"
        for scenario in sorted(SERVES)
        for check in found[scenario]
        if check["status"] in ("FAILURE", "WARNING") and not OF_ITS_OWN_SERVER.search(check.get("errorMessage") or "")
    ]
    assert failed == []
    passed = [check for scenario in SERVES for check in found[scenario] if check["status"] == "SUCCESS"]
    assert len(passed) > 60
    invalid = [
        checks
        for checks in found.values()
        for each in checks
        if each["id"] == "wire-schema-valid" and each["status"] != "SUCCESS"
    ]
    assert invalid == [], "whatever was asked, each message is one of the protocol's"


@pytest.mark.parametrize("scenario", [*ASKS, *SCHEMAS])
def test_servers_of_tools_are_asked_as_the_protocol_says(scenario: str, tmp_path: Path) -> None:
    client = f"{sys.executable} {HERE / 'conformance' / 'client.py'}"
    (checks,) = run(tmp_path, "client", "--command", client, "--scenario", scenario).values()
    assert [check for check in checks if check["status"] in ("FAILURE", "WARNING")] == []
    assert any(check["status"] == "SUCCESS" for check in checks)
