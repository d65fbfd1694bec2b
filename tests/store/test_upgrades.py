"""A database of each released version is opened by this one: nothing is lost, and its agents go on.

`released/README.md` tells what the databases are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from released_data import SECRET_KEY, VERSIONS, answers_of, restore, says
from test_migrations import on_connection

from support.clients import plain_client
from support.fixtures import StartServer
from support.server import ServerProcess
from sqlalchemy import Connection, inspect, text

MEANT = {
    ".llm_config.model_endpoint": "where the model is",
    ".embedding_config": "null where no embedding is named",
}
"""Fields that may change, by how their place ends, and why."""

KEPT_FOR_LONG = {"FOLKMOOT_KEEP_TRACES": str(10**9), "FOLKMOOT_KEEP_STEPS": str(10**9)}
"""The databases get older, and what is in them need not be kept for ever."""

LOGS = "run_events"
"""How earlier runs were streamed: a migration may forget it, since their streams show the messages."""


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_database_of_an_earlier_version_is_carried_over(
    version: str, store: str, database_url: str, start_server: StartServer
) -> None:
    """One test for all: a server is started once for each version and store."""
    await restore(version, store, database_url)
    before = await on_connection(database_url, keys)
    recorded = answers_of(version, store)
    assert recorded.pop("version") == version
    server = start_server(env={"FOLKMOOT_SECRET_KEY": SECRET_KEY, **KEPT_FOR_LONG})
    after = await on_connection(database_url, keys)
    assert {table: rows - after[table] for table, rows in before.items() if rows - after[table]} == {}
    with plain_client(server.url) as http:
        assert list(lost(recorded, {path: answer(http, path) for path in recorded}, server.log())) == []
        agents = {agent["name"]: agent for agent in answer(http, "/v1/agents")}
        assert agents["scribe"]["secrets"] == []
        streams_show_what_was_said(recorded, http)
        what_was_interrupted_is_told_and_goes_on(agents["amid"]["id"], http)
        what_waits_is_approved(agents["keeper"]["id"], http)
        agents_write_and_remember(agents["scribe"]["id"], agents["teller"]["id"], http)


def streams_show_what_was_said(recorded: Mapping[str, Any], http: httpx.Client) -> None:
    """Follow each run that has ended, from its begin."""
    for path, run in recorded.items():
        if path == f"/v1/runs/{path.rpartition('/')[2]}" and run["status"] == "completed":
            events = [line.removeprefix("data: ") for line in answer(http, f"{path}/stream") if line.startswith("data")]
            assert events[-1] == "[DONE]", events
            shown = {json.loads(event).get("id") for event in events[:-1]}
            assert {message["id"] for message in recorded[f"{path}/messages"]} <= shown


