"""Servers of one database on machines whose clocks do not agree."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.moot import rows
from folkmoot.store.leases import LEASE
from support import other_clock
from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

HOUR = 3600
LEFT = "SELECT lease_expires_at - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM runs WHERE id = '%s'"


@pytest.fixture(params=[HOUR, -HOUR], ids=["ahead", "behind"])
def elsewhere(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, scripted_model: ScriptedModel
) -> Iterator[ServerProcess]:
    """A second server, whose machine's clock is wrong."""
    through = (sys.executable, other_clock.__file__, str(request.param))
    url = scripted_model.base_url
    with ServerProcess(database=database_url, home=tmp_path / "own", model_url=url, through=through) as server:
        yield server


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_servers_whose_clocks_differ_go_by_the_database(
    start_server: StartServer, elsewhere: ServerProcess, database_url: str, scripted_model: ScriptedModel
) -> None:
    """Else the one takes the other's runs for those of a dead process, and lists are out of order."""
    here = start_server()
    with plain_client(here.url) as ours, plain_client(elsewhere.url) as theirs:
        agent = ours.post("/v1/agents", json={"name": "a", "model": MODEL}).json()["id"]
        path = f"/v1/agents/{agent}/messages"
        made = [http.post(path, json={"input": "ECHO x"}).json() for http in (ours, theirs, ours, theirs)]
        assert all("messages" in each for each in made), made
        times = [run["created_at"] for run in ours.get("/v1/runs", params={"order": "asc"}).json()]
        assert len(times) == len(made)
        texts = [m["date"] for m in ours.get(path).json() if m["message_type"] == "assistant_message"]
        assert sorted(texts) == texts
        with scripted_model.hold() as held:
            run = theirs.post(f"{path}/async", json={"messages": [{"role": "user", "content": "ECHO held"}]}).json()
            held.wait_for(1)
            ((left,),) = await rows(database_url, LEFT % run["id"])
            assert 0 < left <= LEASE
