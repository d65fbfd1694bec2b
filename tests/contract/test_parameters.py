"""Every parameter of the contract's lists is read, and every filter filters: what nobody has finds nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from recordings import HERE

from support.fixtures import NewAgent, NewBlock
from support.routes import described

CONTRACT: dict[str, Any] = json.loads((HERE / "openapi.json").read_text())["paths"]

NO_FILTERS = re.compile(
    r"limit|offset|after|before|order.*|sort_by|ascending|include.*|exclude.*|.*assistant_message.*"
)
"""What says how a list is shown, and whose."""

NARROWED = {"/v1/blocks/{block_id}/blame", "/v1/agents/{agent_id}/context", "/v1/agents/{agent_id}/core-memory/watch"}
"""Answers that are no lists of things."""


def anonymous(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path.rstrip("/"))


def named(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas of an operation's query parameters."""
    return {each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == "query"}


def filters() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in described().items():
        answer = operations.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if answer.get("application/json", {}).get("schema", {}).get("type") != "array" or path in NARROWED:
            continue
        for name, schema in named(operations["get"]).items():
            if not NO_FILTERS.fullmatch(name):
                yield path, name, schema


def nobodys(name: str, schema: dict[str, Any]) -> Any:
    """Return a value of a parameter that nothing has; None for a yes or no."""
    kinds = [schema, *schema.get("anyOf", ())]
    for kind in kinds:
        if kind.get("type") == "array":
            return nobodys(name, kind["items"])
        if kind.get("format") == "date-time":
            return "1999-01-01T00:00:00Z" if name.startswith("end") else "2999-01-01T00:00:00Z"
        if kind.get("enum"):
            return kind["enum"][0] if name == "feedback" else None
        if kind.get("type") == "integer":
            return None if name.endswith("lt") else 900
    return None if any(kind.get("type") == "boolean" for kind in kinds) else "nobodys"


def test_every_parameter_of_the_contract_is_declared() -> None:
    declared = {anonymous(path): operations for path, operations in described().items()}
    missing = [
        (method.upper(), path, name)
        for path, operations in CONTRACT.items()
        for method, operation in operations.items()
        if (mine := declared.get(anonymous(path), {}).get(method)) is not None
        for name in named(operation)
        if name not in named(mine)
    ]
    assert missing == []


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_every_filter_filters(http: httpx.Client, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block(tags=["some"])
    agent = new_agent(block_ids=[block.id], tags=["some"])
    http.post(f"/v1/conversations?agent_id={agent.id}").raise_for_status()
    run_id = http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO x"}).json()["messages"][0]["run_id"]
    step_id = http.get(f"/v1/runs/{run_id}/steps").json()[0]["id"]
    folder_id, archive_id, server_id = (
        http.post(path, json=body).raise_for_status().json()["id"]
        for path, body in (
            ("/v1/folders", {"name": agent.id}),
            ("/v1/archives", {"name": agent.id}),
            ("/v1/mcp-servers", {"server_name": agent.id, "config": {"server_url": "https://mcp.invalid/mcp"}}),
        )
    )
    ids = {"agent_id": agent.id, "block_id": block.id, "run_id": run_id, "step_id": step_id}
    ids |= {"folder_id": folder_id, "archive_id": archive_id, "mcp_server_id": server_id}
    tried = 0
    for path, name, schema in filters():
        address = path.format(**ids, conversation_id=agent.id)
        value = nobodys(name, schema)
        if value is None:
            continue
        tried += 1
        own = {"agent_id": agent.id} if name == "feedback" else {}  # other tests give some on the same server
        answer = http.get(address, params={name: value, **own})
        assert answer.status_code in (400, 404, 422) or answer.json() == [], (path, name, answer.text[:300])
    assert tried > 30
