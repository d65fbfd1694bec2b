"""Every route of the contract is there, those of rooms that are not built too: empty, unknown, or refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from openapi import schema_of, violations
from recordings import HERE

from folkmoot.application import ROUTERS
from folkmoot.server.routes import unbuilt
from support.fixtures import NewAgent

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


def unbuilt_calls() -> Iterator[tuple[str, str]]:
    """Yield method and path of the contract's routes that are not built, as the contract writes them."""
    mine = set(routes(unbuilt.router))
    for path, operations in CONTRACT.items():
        yield from ((method.upper(), path) for method in operations if (method.upper(), anonymous(path)) in mine)


def filled(path: str, agent_id: str) -> str:
    return re.sub(r"{[^}]*}", "thing-123e4567-e89b-42d3-8456-426614174000", path.replace("{agent_id}", agent_id))


def test_every_route_of_the_contract_is_there_once() -> None:
    built = {each for router in ROUTERS if router is not unbuilt.router for each in routes(router)}
    not_built = list(routes(unbuilt.router))
    assert len(not_built) == len(set(not_built))
    assert built.isdisjoint(not_built), "what is built leaves the table"
    wanted = {(method.upper(), anonymous(path)) for path, operations in CONTRACT.items() for method in operations}
    assert wanted - built - set(not_built) - ELSEWHERE == set()


@once
def test_what_is_not_built_is_empty_unknown_or_refused(http: httpx.Client, new_agent: NewAgent) -> None:
    agent_id, statuses = new_agent().id, set()
    for method, path in unbuilt_calls():
        answer = http.request(method, filled(path, agent_id), json={} if method != "GET" else None)
        statuses.add(answer.status_code)
        if method != "GET":
            assert (answer.status_code, method in answer.json()["detail"]) == (501, True), path
            assert anonymous(path) in anonymous(answer.json()["detail"].split()[1]), path
        elif answer.status_code == 200:
            if "content" in CONTRACT[path]["get"]["responses"]["200"]:
                assert violations(schema_of(method, path), answer.json()) == [], path
            assert not answer.json() or not any(answer.json().values()), path
        else:
            assert answer.status_code in (404, 501), path
            assert answer.status_code == 404 or not path.endswith("s/"), "a list is empty"
    assert statuses == {200, 404, 501}


@once
def test_forms_that_only_programs_ask_for_are_empty(http: httpx.Client) -> None:
    assert http.get("/v1/metadata/balance").json()["total_balance"] == 0
    assert http.get("/v1/organizations/self/quotas").json() == []
    assert http.get("/v1/environments", params={"limit": 50, "onlineOnly": "false"}).json()["connections"] == []


@once
def test_an_unbuilt_list_of_an_unknown_agent_is_404(http: httpx.Client) -> None:
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
