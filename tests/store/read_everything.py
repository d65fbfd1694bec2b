"""Read all that a server has through its API, of whatever version it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from support.polling import until

PAGE = 1000
"""More than what any of these lists holds."""

LATER = {
    "archives": ("", "/passages", "/agents"),
    "folders": ("", "/files", "/agents"),
    "groups": ("", "/messages"),
    "identities": ("", "/agents", "/blocks"),
    "mcp-servers": ("", "/tools"),
    "messages/batches": ("", "/messages"),
    "projects": (),
    "providers": (),
    "sandbox-config": ("/environment-variable",),
    "templates": (),
    "tools": ("",),
    "keys": (),
}
"""Lists of what came after 0.2.0, and what is read of each thing in them."""

OF_AGENTS = ("archival-memory", "files", "folders", "groups", "schedule", "standing-approvals")


def read_everything(http: httpx.Client) -> dict[str, Any]:
    """Return the answers by path: each thing, what belongs to it, and what is found of it."""
    read = {path: answer(http, path) for path in ("/v1/tags", "/v1/agents/count", "/v1/blocks/count")}
    for path in (*_paths(http), *_later_paths(http)):
        read[path] = answer(http, path)
    return read


def settled(http: httpx.Client) -> None:
    """Return when no run is active."""
    until(lambda: not answer(http, "/v1/runs/active"))


def _paths(http: httpx.Client) -> Iterator[str]:
    for block in _ids(http, "/v1/blocks"):
        yield from (f"/v1/blocks/{block}", *(f"/v1/blocks/{block}/{part}" for part in ("blame", "readers")))
        yield f"/v1/blocks/{block}/history?limit={PAGE}"
    for agent in _ids(http, "/v1/agents"):
        yield from (f"/v1/agents/{agent}", f"/v1/agents/{agent}/core-memory/blocks", f"/v1/agents/{agent}/tools")
        yield f"/v1/agents/{agent}/messages?limit={PAGE}&order=asc"
        for conversation in _ids(http, "/v1/conversations", f"agent_id={agent}"):
            yield f"/v1/conversations/{conversation}"
            yield f"/v1/conversations/{conversation}/messages?limit={PAGE}&order=asc"
        for run in _ids(http, "/v1/runs", f"agent_id={agent}"):
            yield from (f"/v1/runs/{run}", *(f"/v1/runs/{run}/{part}" for part in ("messages", "usage", "steps")))
        for step in _ids(http, "/v1/steps", f"agent_id={agent}"):
            yield from (f"/v1/steps/{step}", f"/v1/steps/{step}/trace", f"/v1/steps/{step}/messages")


def _later_paths(http: httpx.Client) -> Iterator[str]:
    for name, parts in LATER.items():
        yield f"/v1/{name}?limit={PAGE}"
        for thing in _ids(http, f"/v1/{name}") if parts else ():
            yield from (f"/v1/{name}/{thing}{part}" for part in parts)
    for agent in _ids(http, "/v1/agents"):
        yield from (f"/v1/agents/{agent}/{part}" for part in OF_AGENTS)
    yield "/v1/templates/default/clerk/versions"
    yield "/v1/templates/default/clerk:1/snapshot"


def _ids(http: httpx.Client, path: str, query: str = "") -> list[str]:
    return [thing["id"] for thing in answer(http, f"{path}?limit={PAGE}&{query}")]


def answer(http: httpx.Client, path: str) -> Any:
    """Return the JSON at a path, which must be there."""
    response = http.get(path)
    assert response.status_code == 200, (path, response.status_code, response.text)
    return response.json()
