"""The stream that every page hears, on both stores and between server processes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from folkmoot.web.live import MOST_UNTOLD
from support.clients import plain_client
from support.fixtures import NewAgent, NewBlock, StartServer
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.streams import lines_of


class Heard:
    """The events of one stream, read one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = lines_of(response.iter_lines())

    def next(self, kind: str) -> Any:
        """Return the data of the next event of a kind."""
        return next(data for name, data in self.events() if name == kind)

    def events(self) -> Iterator[tuple[str, Any]]:
        """Yield the kind and the data of each event; the stream must not end."""
        name = ""
        for line in self._lines:
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)
        raise AssertionError("the stream ended")

    def before_edit_of(self, block_id: str) -> dict[str, Any]:
        """Return what else is told before or with the next edit of a block, by kind."""
        told = {}
        for kind, data in self.events():
            told[kind] = data
            if kind == "edits" and any(edit["block_id"] == block_id for edit in data["edits"]):
                break
        return told

    def edit_of(self, block_id: str) -> Any:
        """Return the next edit of a block."""
        while True:
            for edit in self.next("edits")["edits"]:
                if edit["block_id"] == block_id:
                    return edit


@contextmanager
def hearing(url: str, **asked: str) -> Iterator[Heard]:
    with httpx.stream("GET", f"{url}/events", params=asked, timeout=PATIENCE) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        heard = Heard(response)
        heard.next("runs")
        yield heard


def test_an_edit_is_told_with_its_author(http: httpx.Client, new_block: NewBlock, new_agent: NewAgent) -> None:
    block = new_block(value="first")
    agent = new_agent(block_ids=[block.id])
    with hearing(str(http.base_url)) as heard:
        script = f'CALL memory_insert {{"label": "{block.label}", "new_string": "a\\nb"}}'
        http.post(f"/v1/agents/{agent.id}/messages", json={"input": script}).raise_for_status()
        edit = heard.edit_of(block.id)
    assert (edit["version"], edit["author"], edit["words"]) == (2, agent.name, "+2 lines")
    assert (edit["label"], edit["characters"]) == (block.label, len("first\na\nb"))
    assert edit["colour"] != "c0 p0"
    assert "value" not in edit


def test_what_happened_since_a_page_was_asked_for_is_told(
    http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block, later = new_block(value="first"), new_block(value="first")
    asked = asked_at(http)
    http.patch(f"/v1/blocks/{block.id}", json={"value": "second"}).raise_for_status()
    new_agent()
    with hearing(str(http.base_url), since=asked) as heard:
        http.patch(f"/v1/blocks/{later.id}", json={"value": "second"}).raise_for_status()
        told = {edit["block_id"]: edit["version"] for edit in heard.next("edits")["edits"]}
        assert told[block.id] == 2
        assert heard.next("shape") == {}
    with hearing(str(http.base_url), since=str(int(asked) - 10**9)) as heard:
        http.patch(f"/v1/blocks/{later.id}", json={"value": "third"}).raise_for_status()
        assert block.id not in {edit["block_id"] for edit in heard.next("edits")["edits"]}, "it is too long ago"
    many = [new_block().id for _ in range(MOST_UNTOLD + 1)]
    asked = asked_at(http)
    for each in many:
        http.patch(f"/v1/blocks/{each}", json={"value": "second"}).raise_for_status()
    with hearing(str(http.base_url), since=asked) as heard:
        assert heard.next("missed") == {}


def asked_at(http: httpx.Client) -> str:
    """Ask for a page and return when that was."""
    found = re.search(r'data-asked-at="(\d+)"', http.get("/blocks").text)
    assert found is not None
    return found[1]


def test_what_agents_were_given_or_called_and_folders_that_changed_since_then_are_told(
    http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    agent, block, later = new_agent(), new_block(), new_block()
    folder = http.post("/v1/folders", json={"name": f"folder of {agent.name}"}).raise_for_status().json()["id"]
    blocks = f"/v1/agents/{agent.id}/core-memory/blocks"
    for number, (path, body, kind) in enumerate(
        (
            (f"{blocks}/attach/{block.id}", None, "shape"),
            (f"{blocks}/attach/{block.id}", {"access": "read"}, "shape"),
            (f"{blocks}/detach/{block.id}", None, "shape"),
            (f"/v1/agents/{agent.id}", {"name": f"{agent.name} the second"}, "shape"),
            (f"/v1/blocks/{block.id}", {"label": f"{block.label}_2"}, "shape"),
            (f"/v1/folders/{folder}", {"name": f"folder of {agent.name} the second"}, "folders"),
            (f"/v1/agents/{agent.id}/folders/attach/{folder}", None, "folders"),
        )
    ):
        asked = asked_at(http)
        http.patch(path, json=body).raise_for_status()
        with hearing(str(http.base_url), since=asked) as heard:
            http.patch(f"/v1/blocks/{later.id}", json={"value": f"{number}"}).raise_for_status()
            assert {*heard.before_edit_of(later.id)} - {"edits", "runs"} == {kind}, path


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_process_that_began_after_a_page_was_asked_for_says_that_it_may_have_missed_something(
    start_server: StartServer,
) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        asked = asked_at(http)
        server.restart()
        with hearing(server.url, since=asked) as heard:
            assert heard.next("missed") == {}


def test_a_run_is_told_when_it_begins_and_when_it_ends(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with hearing(str(http.base_url)) as heard, scripted_model.hold() as held:
        run = http.post(f"/v1/agents/{agent.id}/messages/async", json={"input": "ECHO a"}).json()["id"]
        while [each for each in heard.next("runs")["runs"] if each["id"] == run] == []:
            pass
        held.release()
        while [each for each in heard.next("runs")["runs"] if each["id"] == run]:
            pass


def test_who_comes_and_goes_is_told(http: httpx.Client, new_block: NewBlock) -> None:
    with hearing(str(http.base_url)) as heard:
        block = new_block()
        heard.next("shape")
        http.delete(f"/v1/blocks/{block.id}").raise_for_status()
        heard.next("shape")


def test_new_names_are_told(http: httpx.Client, new_agent: NewAgent, new_block: NewBlock) -> None:
    agent, block = new_agent(), new_block()
    with hearing(str(http.base_url)) as heard:
        http.patch(f"/v1/agents/{agent.id}", json={"name": f"{agent.name} the second"}).raise_for_status()
        heard.next("shape")
        http.patch(f"/v1/blocks/{block.id}", json={"label": f"{block.label}_2"}).raise_for_status()
        heard.next("shape")


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_what_another_process_does_is_told(start_server: StartServer) -> None:
    quick = {"FOLKMOOT_SHUTDOWN_WAIT": "1"}
    one, other = start_server(env=quick), start_server(env=quick)
    with plain_client(other.url) as http:
        block = http.post("/v1/blocks", json={"label": "shared", "value": "a"}).json()["id"]
        with hearing(one.url) as heard:
            http.patch(f"/v1/blocks/{block}", json={"value": "ab"}).raise_for_status()
            assert heard.edit_of(block)["version"] == 2
            agent = http.post("/v1/agents", json={"name": "a", "model": "offline/notetaker"}).json()["id"]
            heard.next("shape")
            http.patch(f"/v1/agents/{agent}/core-memory/blocks/attach/{block}").raise_for_status()
            heard.next("shape")
