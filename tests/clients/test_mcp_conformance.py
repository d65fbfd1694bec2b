"""The protocol's published conformance suite, both ways: Folkmoot as a server, and as a client of servers of tools."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from conformance.client import clients
from installs import HERE, node_modules

from folkmoot.store.sealing import Sealer
from support.fixtures import StartServer, one_store
from support.stores import open_default

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

NOT_PLAYED = {
    "auth/basic-cimd": "a client whose identifier is a document at a public address, which not every server has",
    "auth/pre-registration": "a client that was registered by hand: a server of tools has no field for it",
    "auth/client-credentials-basic": "an extension: a client that signs in without a person",
    "auth/client-credentials-jwt": "an extension: a client that signs in without a person",
    "auth/enterprise-managed-authorization": "an extension: signing in to a company, and by that to its servers",
    "auth/wif-jwt-bearer": "an extension: a workload that signs in by its platform's token",
    "auth/dpop": "an extension: tokens that are bound to a key",
    "auth/dpop-nonce": "an extension: tokens that are bound to a key",
    "elicitation-sep1034-client-defaults": "asks the person in front of the client, and there is none",
    "sep-2322-client-request-state": "asks the person in front of the client, and there is none",
    "sep-2640-client-no-prefetch": "an extension: files of skills",
    "sep-2640-client-verify-digest": "an extension: files of skills",
    "sep-2640-client-verify-size": "an extension: files of skills",
    "sep-2640-client-verify-frontmatter": "an extension: files of skills",
}
"""Scenarios of clients that are left out, and what each is about."""


async def run(folder: Path, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """Run the suite and return its checks by scenario."""
    suite = await asyncio.to_thread(node_modules) / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    node = ["node", "--import", str(HERE / "conformance" / "register.mjs"), str(suite)]
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *node, *arguments, "-o", str(folder), cwd=HERE, stdin=nothing, stdout=nothing, stderr=nothing
    )
    try:
        async with asyncio.timeout(600):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    found = {}
    for file in folder.rglob("checks.json"):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*$", "", str(file.parent.relative_to(folder)))
        found[scenario] = json.loads(file.read_text())
    return found


@one_store
async def test_the_door_serves_as_the_protocol_says(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()  # in whose lists nothing is by chance
    checked = await run(tmp_path, "server", "--url", f"{server.url}/mcp", "--suite", "all")
    found = {name if name in SERVES else name.removeprefix("server-"): checks for name, checks in checked.items()}
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


async def test_servers_of_tools_are_asked_as_the_protocol_says(tmp_path: Path) -> None:
    """All scenarios of clients at once, with those of signing in: by a person who follows each address."""
    store = await open_default(f"sqlite:///{tmp_path}/store")
    relay = f"{sys.executable} -I -S {HERE / 'conformance' / 'relay.py'} {tmp_path}/socket"
    async with clients(tmp_path / "socket", store, Sealer("secret", tmp_path), NOT_PLAYED):
        suite = ("client", "--command", relay, "--suite", "all", "--timeout", "500000")
        found = await run(tmp_path / "checked", *suite)
    await store.close()
    assert found.keys() >= NOT_PLAYED.keys()
    played = {scenario: checks for scenario, checks in found.items() if scenario not in NOT_PLAYED}
    assert len([scenario for scenario in played if scenario.startswith("auth/")]) >= 24
    failed = [
        f"{scenario}: {check['id']}: {check.get('errorMessage')}"
        for scenario, checks in played.items()
        for check in checks
        if check["status"] in ("FAILURE", "WARNING")
    ]
    assert failed == []
    silent = [name for name, checks in played.items() if not any(check["status"] == "SUCCESS" for check in checks)]
    assert silent == []
