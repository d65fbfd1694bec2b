"""Every route of the contract is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from recordings import HERE

from folkmoot.application import ROUTERS, create_app
from folkmoot.server.description import FILE, describe
from folkmoot.settings import Settings
from support.fixtures import NewAgent
from support.openapi import violations

CONTRACT: dict[str, Any] = json.loads((HERE / "openapi.json").read_text())["paths"]
ELSEWHERE = {("GET", "/v1/tools/{}"), ("POST", "/v1/tools/add-base-tools")}
"""The first hides nothing; the second comes with the built-in tools."""

once = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def anonymous(path: str) -> str:
    """Return a path without its parameters' names and its last slash."""
    return re.sub(r"{[^}]*}", "{}", path.rstrip("/"))


def routes(router: Any) -> Iterator[tuple[str, str]]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield from ((method, anonymous(route.path)) for method in route.methods)


def test_every_route_of_the_contract_is_there_once() -> None:
    built = [each for router in ROUTERS for each in routes(router)]
    assert len(built) == len(set(built))
    wanted = {(method.upper(), anonymous(path)) for path, operations in CONTRACT.items() for method in operations}
    assert wanted - set(built) - ELSEWHERE == set()


def test_the_description_that_is_served_is_that_of_the_routes() -> None:
    assert describe(create_app(Settings(), {})) == FILE.read_text(), "`make openapi` writes it anew"


@once
def test_the_description_is_answered_as_the_file_has_it(http: httpx.Client) -> None:
    answer = http.get("/openapi.json")
    assert (answer.text, answer.headers["content-type"]) == (FILE.read_text(), "application/json")


@once
def test_a_list_of_an_unknown_agent_is_404(http: httpx.Client) -> None:
    agent_id = "agent-00000000-0000-4000-8000-000000000000"
    assert http.get(f"/v1/agents/{agent_id}/folders").status_code == 404
    assert http.get("/v1/agents/x/folders").status_code == 422


@once
def test_health_tells_the_level_of_the_api_and_our_own_version(http: httpx.Client) -> None:
    from folkmoot import __version__

    for path in ("/v1/health", "/v1/ready"):
        told = http.get(path).json()
        assert ("sandbox" in told) == (path == "/v1/ready")
        assert {**told, "sandbox": ""} == {"sandbox": "", "version": "0.16.8", "folkmoot": __version__, "status": "ok"}


@once
def test_the_description_tells_the_true_form_of_errors(http: httpx.Client, new_agent: NewAgent) -> None:
    described = http.get("/openapi.json").json()["paths"]
    for path, operations in described.items():
        for operation in operations.values():
            answers = operation["responses"]
            assert {"409", "422", "4XX", "5XX"} <= set(answers), path
            assert answers["422"]["content"]["application/json"]["schema"]["properties"]["detail"]["type"] == "string"
    agent = new_agent(tool_rules=[{"type": "requires_approval", "tool_name": "conversation_search"}])
    say = f"/v1/agents/{agent.id}/messages"
    http.post(say, json={"input": "CALL conversation_search {}"}).raise_for_status()
    errors = {
        "409": http.post(say, json={"input": "hello?"}),
        "422": http.get("/v1/agents/x"),
        "4XX": http.get("/v1/agents/agent-00000000-0000-4000-8000-000000000000"),
    }
    for status, answer in errors.items():
        assert str(answer.status_code).startswith(status.rstrip("X"))
        schema = described["/v1/agents/{agent_id}"]["get"]["responses"][status]["content"]["application/json"]["schema"]
        assert violations(schema, answer.json()) == []
