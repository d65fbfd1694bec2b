"""Templates whose process is killed amid its work: agents are made whole or not at all, and led so."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.polling import until
from support.scripted_model import ScriptedModel
from support.scripts import run
from support.server import ServerProcess

DYING = Path(__file__).parent / "dying.py"


def ok(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


class Shop:
    """A template of two agents that share a block, with a second version, and what stands in the database."""

    def __init__(self, start_server: StartServer, database_url: str, folder: Path, model_url: str) -> None:
        self._start = start_server
        self._database, self._folder, self._model_url = database_url, folder, model_url
        folder.mkdir()
        self.name = f"shop-{uuid4().hex[:8]}"
        self._server: ServerProcess | None = None
        self.http = self.serve()

    def serve(self) -> httpx.Client:
        """Start a server; it is ended before somebody else works on the database."""
        self._server = self._start(database=self._database)
        self.http = plain_client(self._server.url)
        return self.http

    def prepare(self) -> str:
        """Make the template and two deployments of its first version; return the first of them."""
        single = ok(self.http.post("/v1/agents", json={"model": MODEL}))
        ok(self.http.post("/v1/templates", json={"type": "agent", "agent_id": single["id"], "name": self.name}))
        for value in ("Sell.", "Sell well."):
            current = f"/v1/templates/default/{self.name}:current/snapshot"
            ok(self.http.put(current, json=self._plan(value)))
            ok(self.http.post(f"/v1/templates/{self.name}/save", json={}))
        made = [ok(self.http.post(f"/v1/templates/{self.name}:2/agents", json={})) for _ in range(2)]
        deployment_id: str = made[0]["deployment_id"]
        return deployment_id

    def _plan(self, value: str) -> dict[str, Any]:
        agents = [{"entityId": each, "name": each, "model": MODEL, "systemPrompt": value} for each in ("boss", "clerk")]
        return {
            "agents": agents,
            "blocks": [{"entityId": "b", "label": "plan", "value": value}],
            "relationships": [{"agentEntityId": each["entityId"], "blockEntityId": "b"} for each in agents],
        }

    def stands(self) -> dict[str, Any]:
        """Return all that templates make: agents with what they are told and their blocks, and deployments."""
        agents = ok(self.http.get("/v1/agents", params={"limit": 100}))
        blocks = ok(self.http.get("/v1/blocks", params={"limit": 100}))
        listed = ok(self.http.get(f"/v1/templates/default/{self.name}/deployments"))
        return {
            "agents": sorted(
                (each["id"], each["system"], *sorted(block["value"] for block in each["blocks"])) for each in agents
            ),
            "blocks": sorted((each["id"], each["value"]) for each in blocks),
            "deployments": [(each["id"], each["version"], each["agent_ids"]) for each in listed],
        }

    def die(self, place: str, number: int, method: str, path: str, body: Any) -> None:
        """Have a process killed when it does something for the so-manieth time, while it answers a request."""
        assert self._server is not None
        self.http.close()
        self._server.stop()
        models = json.dumps({"OPENAI_API_KEY": "scripted", "OPENAI_BASE_URL": self._model_url})
        arguments = [self._database, str(self._folder), place, str(number), method, path, json.dumps(body)]
        done = run(DYING, arguments, environ={"MODELS": models}, folder=self._folder)
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
        self.serve()


@pytest.fixture
def shop(start_server: StartServer, database_url: str, tmp_path: Path, scripted_model: ScriptedModel) -> Iterator[Shop]:
    """A template to be made."""
    made = Shop(start_server, database_url, tmp_path / "dying", scripted_model.base_url)
    yield made
    made.http.close()


@pytest.mark.parametrize(
    ("place", "number", "made"),
    [
        ("folkmoot.templates.deployments:form_group", 1, False),
        ("folkmoot.server.routes.templates:MadeAgents", 1, True),
    ],
)
def test_agents_come_out_of_a_template_whole_or_not_at_all(shop: Shop, place: str, number: int, made: bool) -> None:
    shop.prepare()
    before = shop.stands()
    shop.die(place, number, "POST", f"/v1/templates/{shop.name}:2/agents", {})
    after = shop.stands()
    if not made:
        assert after == before
    grown = {kind: len(after[kind]) - len(before[kind]) for kind in after}
    assert grown == ({"agents": 2, "blocks": 1, "deployments": 1} if made else dict.fromkeys(after, 0))
    assert all(len(agent_ids) == 2 for _, _, agent_ids in after["deployments"])
    ok(shop.http.post(f"/v1/templates/{shop.name}:2/agents", json={}))


@pytest.mark.parametrize(
    ("place", "number", "led"),
    [
        ("folkmoot.templates.deployments:_Making.drop_blocks", 1, False),
        ("folkmoot.server.routes.templates:Done", 1, True),
    ],
)
def test_a_deployment_is_led_whole_or_not_at_all(shop: Shop, place: str, number: int, led: bool) -> None:
    deployment_id = shop.prepare()
    before = shop.stands()
    path = f"/v1/templates/default/{shop.name}/deployments/{deployment_id}/migrate"
    wanted = {"version": "3", "preserve_core_memories": False, "block_reconciliation_strategy": "reconcile-all"}
    shop.die(place, number, "POST", path, wanted)
    after = shop.stands()
    versions = {each: version for each, version, _ in after["deployments"]}
    assert versions[deployment_id] == ("3" if led else "2")
    assert (after == before) is not led
    if led:
        assert sum(system == "Sell well." for _, system, *_ in after["agents"]) == 2
    ok(shop.http.post(path, json=wanted))
    assert {version for each, version, _ in shop.stands()["deployments"] if each == deployment_id} == {"3"}


def test_agents_that_were_being_led_when_their_process_died_are_led_by_the_next(shop: Shop) -> None:
    shop.prepare()
    saving = {"migrate_agents": True}
    shop.die("folkmoot.templates.migrating:migrate", 2, "POST", f"/v1/templates/{shop.name}/save", saving)
    until(lambda: all(version == "4" for _, version, _ in shop.stands()["deployments"]))
    assert len(shop.stands()["deployments"]) == 2
