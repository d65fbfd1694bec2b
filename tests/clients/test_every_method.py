"""Every method of the official clients 1.12.1 finds its route, and is answered what the client says it is."""

from __future__ import annotations

import inspect
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from every_method import NOWHERE, bodies, build_world, in_order
from installs import HERE, node_modules
from letta_client import APIResponseValidationError, APIStatusError, Letta, Stream

from support.clients import plain_client
from support.fixtures import StartServer, one_store
from support.openapi import schema_of, violations
from support.polling import PATIENCE
from support.server import ServerProcess
from support.tool_servers import TOOL_SERVER, running

BEYOND = {"environments.list", "templates.update", "templates.delete", "agents.export_file"}
"""Methods whose answers the contract does not describe; of an agent's file it says that it is a text."""

FILES = {"agents.import_file", "folders.files.upload"}


@pytest.fixture
def world(start_server: StartServer) -> Iterator[tuple[ServerProcess, dict[str, str]]]:
    """A server with one of everything."""
    server = start_server(env={"FOLKMOOT_PRIVATE_MCP_SERVERS": "true"})
    with running(TOOL_SERVER, "http") as address, plain_client(server.url) as http:
        yield server, build_world(http, address)


def methods_of(resource: Any, above: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the methods of a client by their dotted names, those of its resources and of theirs."""
    for name, value in inspect.getmembers(resource):
        if name.startswith(("_", "with_")):
            continue
        if type(value).__module__.startswith("letta_client.resources"):
            yield from methods_of(value, f"{above}{name}.")
        elif above and inspect.ismethod(value):
            yield above + name, value


def arguments_of(name: str, method: Callable[..., Any], world: dict[str, str]) -> dict[str, Any]:
    """Return what a method is called with: what its path names, its body, a file."""
    given = dict(bodies(world).get(name, {}))
    if name.startswith("mcp_servers.tools."):
        world = {**world, "tool_id": world["mcp_tool_id"]}
    if name in FILES:
        content = world["agent_file"] if name == "agents.import_file" else "other words"
        given["file"] = ("b.txt", io.BytesIO(content.encode()))
    for parameter in inspect.signature(method).parameters.values():
        if parameter.default is inspect.Parameter.empty and parameter.name not in given:
            given[parameter.name] = world[parameter.name]
    return given


def call(method: Callable[..., Any], given: dict[str, Any]) -> tuple[int, str]:
    """Call a method, look at all that it answers, and return the status, and what was wrong."""
    try:
        answer = method(**given)
        if isinstance(answer, Stream):
            list(answer)
    except APIStatusError as error:
        return error.status_code, str(error)
    except APIResponseValidationError as error:
        return (200, "") if error.status_code == 204 else (600, str(error))  # where nothing comes, nothing is read
    return 200, ""


@one_store
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_every_method_of_the_python_client(world: tuple[ServerProcess, dict[str, str]]) -> None:
    server, names = world
    client = Letta(
        base_url=server.url, api_key="unused", max_retries=0, timeout=PATIENCE, _strict_response_validation=True
    )
    methods = dict(methods_of(client))
    assert len(methods) > 100
    told = {name: call(methods[name], arguments_of(name, methods[name], names)) for name in in_order(list(methods))}
    check(told)


@one_store
def test_every_method_of_the_typescript_client(world: tuple[ServerProcess, dict[str, str]], tmp_path: Path) -> None:
    server, names = world
    tsx = node_modules() / "tsx" / "dist" / "cli.mjs"
    given = {"world": names, "bodies": bodies(names), "files": sorted(FILES), "order": in_order_of_python()}
    done = subprocess.run(
        ["node", str(tsx), "--tsconfig", str(HERE / "tsconfig.1.json"), str(HERE / "every_method.ts")],
        cwd=HERE,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "FOLKMOOT_BASE_URL": server.url},
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    said = json.loads(done.stdout)
    check(said["told"])
    answered = {each["name"] for each in said["answers"]}
    assert len(answered) > 100
    wrong = [line for each in said["answers"] for line in unlike_the_contract(**each)]
    assert not wrong, "\n".join(wrong)


def unlike_the_contract(name: str, method: str, path: str, body: Any) -> list[str]:
    """Return where an answer is not what the contract says of its path."""
    if name in BEYOND:
        return []
    try:
        schema = schema_of(method, path)
    except (ValueError, LookupError):  # no template fits, or it has no such method
        return [f"{name}: the contract knows no {method} {path}"]
    return [f"{name}: {line}" for line in violations(schema, body)]


def in_order_of_python() -> list[str]:
    """Return the dotted names of all methods, which both clients share, in the order in which they can be called."""
    return in_order([name for name, _ in methods_of(Letta(base_url="http://127.0.0.1:1", api_key="unused"))])


def check(told: dict[str, tuple[int, str]]) -> None:
    """See that every method did what it should; a status of 600 is an answer that is not what the client says."""
    wrong = {name: each for name, each in told.items() if each[0] >= 400 and name not in NOWHERE}
    assert not wrong, "\n".join(f"{name}: {status} {why}" for name, (status, why) in wrong.items())
    assert {name: each[0] for name, each in told.items() if name in NOWHERE} == NOWHERE


def test_what_makes_no_sense_here_is_told() -> None:
    page = (HERE.parent.parent / "docs" / "api-stability.md").read_text()
    assert "/v1/environments" in page
