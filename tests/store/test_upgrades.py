"""A database of each released version is opened by this one: nothing is lost, and its agents go on.

`released/README.md` tells what the databases are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from read_everything import answer, settled
from released_data import FOLDER, SECRET_KEY, VERSIONS, answers_of, restore, says
from sqlalchemy import Connection, inspect, text
from test_migrations import on_connection

from chaos.moot import end_leases, rows
from folkmoot import __version__
from folkmoot.settings import Settings
from folkmoot.store.migrations import HEAD
from support.clients import plain_client
from support.fixtures import StartServer
from support.scripted_model import ScriptedModel
from support.server import ServerFailed

MEANT = {
    ".model_endpoint": "where the scripted model is",
    ".embedding_config": "null where no embedding is named",
}
"""What may have changed, by the end of its place in an answer, and why."""

TOLD_SINCE = frozenset({"message_ids", "last_run_completion", "last_run_duration_ms", "last_stop_reason"})
"""What an agent of a list was shown without."""

KEPT_FOR_LONG = {
    f"FOLKMOOT_{name.upper()}": str(10**9)
    for name in Settings.model_fields
    if name.startswith("keep_") or name == "recent_traces"
}
"""The databases grow older, and some of what is in them is not kept for ever."""

SUMMARY = "They spoke of this and that"
"""What the scripted model summarises a conversation to."""

BEFORE = f"{int(HEAD) - 1:04}"
"""The schema before today's."""

LOGS = "run_events"
"""How runs were streamed: a migration may forget it, since a stream can show their messages."""


@pytest.mark.every_case_on_both
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_database_of_an_earlier_version_is_carried_over(
    version: str, store: str, empty_database_url: str, start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    """One test for all that is carried, so that one server is started for each version and store."""
    await restore(version, store, empty_database_url)
    await end_leases(empty_database_url)  # a database that has just been made is younger than they last
    before = await on_connection(empty_database_url, stored_keys)
    recorded = answers_of(version, store)
    assert recorded.pop("version") == version
    server = start_server(database=empty_database_url, env={"FOLKMOOT_SECRET_KEY": SECRET_KEY, **KEPT_FOR_LONG})
    with plain_client(server.url) as http:
        amid = next(run for path, run in recorded.items() if path.startswith("/v1/runs/") and is_running(run))
        now = {path: answer(http, asked_today(version, path)) for path in recorded}
        changed = [line for line in lost(recorded, now) if amid["id"] not in line and amid["agent_id"] not in line]
        assert changed == []
        assert answer(http, f"/v1/runs/{amid['id']}")["status"] == "failed"
        streams_show_what_was_said(recorded, http)
        agents_go_on(http, amid["agent_id"])
    assert SUMMARY in json.dumps(scripted_model.conversations), "who told stories is still shown their summary"
    server.stop()
    after = await on_connection(empty_database_url, stored_keys)
    assert {table: keys - after[table] for table, keys in before.items() if keys - after[table]} == {}


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_database_is_not_upgraded_under_a_server_of_the_version_before(
    empty_database_url: str, start_server: StartServer
) -> None:
    """Today's servers stand for both: the one that runs has a schema from which the last change was taken back."""
    running = start_server(database=empty_database_url)
    await rows(empty_database_url, "DROP INDEX steps_by_agent, steps_by_feedback, runs_in_background")
    await rows(empty_database_url, f"UPDATE alembic_version SET version_num = '{BEFORE}'")
    with pytest.raises(ServerFailed, match=rf"schema {BEFORE} to {HEAD}, .* \(from 127\.0\.0\.1\)\. Stop"):
        start_server(database=empty_database_url)
    assert await rows(empty_database_url, "SELECT version_num FROM alembic_version") == [(BEFORE,)]
    with plain_client(running.url) as http:
        assert http.get("/v1/agents").status_code == 200
    running.stop()
    upgraded = start_server(database=empty_database_url)
    assert await rows(empty_database_url, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert f"is upgraded from schema {BEFORE} to {HEAD}" in upgraded.log()
    start_server(database=empty_database_url)  # which has nothing to upgrade


def test_each_release_has_its_databases() -> None:
    changes = (FOLDER.parent.parent.parent / "CHANGELOG.md").read_text().splitlines()
    released = [line.split()[1] for line in changes if line.startswith("## ") and line[3].isdigit()]
    assert released[0] == __version__
    assert {*released[1:]} <= {*VERSIONS} <= {*released}, "CONTRIBUTING.md says how a release adds its own"


def asked_today(version: str, path: str) -> str:
    """Return where today's version answers what another one did at a path."""
    is_of_agent = re.fullmatch(r"/v1/agents/[^/]+/messages(\?.*)?", path)
    if not is_of_agent or version not in ("0.1.0", "0.2.0", "0.3.0", "0.3.1"):
        return path
    return f"{path}{'&' if is_of_agent[1] else '?'}conversation_id=default"


def is_running(answered: Any) -> bool:
    """Tell whether an answer is a run that was under way."""
    return isinstance(answered, dict) and answered.get("status") == "running"


def stored_keys(connection: Connection) -> dict[str, set[tuple[Any, ...]]]:
    """Return the primary keys of every row, by table, that an upgrade must keep; runs go with their agent."""
    inspector = inspect(connection)
    found = {}
    for table in inspector.get_table_names():
        key = ", ".join(inspector.get_pk_constraint(table)["constrained_columns"])
        if "organization_id" in key and table != LOGS:
            which = "WHERE agent_id IN (SELECT id FROM agents)" if table == "runs" else ""
            found[table] = {tuple(row) for row in connection.execute(text(f"SELECT {key} FROM {table} {which}"))}
    assert all(found[table] for table in ("agents", "blocks", "messages", "runs", "steps"))
    return found


def lost(recorded: Any, now: Any, place: str = "") -> Iterator[str]:
    """Yield what was answered once and is not now; a key that is new is no loss."""
    if any(place.endswith(end) for end in MEANT):
        return
    if isinstance(recorded, dict) and isinstance(now, dict):
        for key, value in recorded.items():
            if value in (None, []) and key in TOLD_SINCE:
                continue
            yield from lost(value, now.get(key, "nothing"), f"{place}.{key}")
    elif isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        for number, (one, other) in enumerate(zip(recorded, now, strict=True)):
            yield from lost(one, other, f"{place}[{number}]")
    elif recorded != now:
        yield f"{place}: {recorded!r} became {now!r}"


def streams_show_what_was_said(recorded: Mapping[str, Any], http: httpx.Client) -> None:
    """Follow each run that came to its end, from its begin."""
    for path, run in recorded.items():
        if path.count("/") == 3 and path.startswith("/v1/runs/") and run["status"] == "completed":
            lines = http.get(f"{path}/stream").text.splitlines()
            events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
            assert events[-1] == "[DONE]", events
            shown = {json.loads(event).get("id") for event in events[:-1]}
            said = {m["id"] for m in recorded[f"{path}/messages"] if m["message_type"] == "assistant_message"}
            assert said <= shown


def agents_go_on(http: httpx.Client, amid: str) -> None:
    """Talk to the agents: one that writes, one that waits for an approval, one whose turn was cut off."""
    agents = {agent["name"]: agent["id"] for agent in answer(http, "/v1/agents")}
    blocks = answer(http, f"/v1/agents/{agents['scribe']}/core-memory/blocks")
    block = next(block for block in blocks if block["label"] == "notes")
    say(http, agents["scribe"], says("memory_insert", label="notes", new_string="After the upgrade."))
    newest = answer(http, f"/v1/blocks/{block['id']}/history?limit=1")[0]
    assert (newest["version"], newest["author"]["name"]) == (block["version"] + 1, "scribe")
    assert answer(http, f"/v1/blocks/{block['id']}")["value"].endswith("After the upgrade.")
    assert say(http, amid, "ECHO I am back.")[-1]["content"] == "I am back."
    assert say(http, agents["teller"], "ECHO The end.")[-1]["content"] == "The end."
    approve_what_waits(http, agents["keeper"])
    found = http.post("/v1/messages/search", json={"query": "四点"}).json()
    assert found, "what was said before is found by words inside words"
    settled(http)


def approve_what_waits(http: httpx.Client, agent_id: str) -> None:
    """Approve the call that waits, and see that it is carried out."""
    asked = answer(http, f"/v1/agents/{agent_id}/messages?order=desc&limit=1")[0]
    assert asked["message_type"] == "approval_request_message"
    approval = {"type": "approval", "approval_request_id": asked["id"], "approve": True}
    turn = http.post(f"/v1/agents/{agent_id}/messages", json={"messages": [approval]})
    assert turn.status_code == 200, turn.text
    assert "A seal." in answer(http, f"/v1/agents/{agent_id}/core-memory/blocks/seals")["value"]


def say(http: httpx.Client, agent_id: str, content: str) -> list[dict[str, Any]]:
    """Say something to an agent and return what it answered."""
    turn = http.post(f"/v1/agents/{agent_id}/messages", json={"input": content})
    assert turn.status_code == 200, turn.text
    messages: list[dict[str, Any]] = turn.json()["messages"]
    return messages
