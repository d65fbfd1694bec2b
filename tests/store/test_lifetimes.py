"""What is kept, and for how long, is what `docs/data.md` says."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from folkmoot.store.tables import metadata
from support.callbacks import listening
from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.polling import PATIENCE, until
from support.scripted_model import ScriptedModel

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
TOLD = {name: cells for name, *cells in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)}
"""Each table of the page: what a row is, what deletes it, what stays when its agent is deleted."""


def test_the_page_tells_of_every_table_and_of_no_other() -> None:
    assert set(TOLD) == set(metadata.tables)


def test_the_schema_deletes_what_the_page_says_goes_with_something() -> None:
    """A table that has an agent, a conversation, a run or a block is deleted with it, or says why not."""
    owners = {"agent_id": "agents", "conversation_id": "conversations", "run_id": "runs", "block_id": "blocks"}
    for table in metadata.tables.values():
        cascades = {key.referred_table.name for key in table.foreign_key_constraints if key.ondelete == "CASCADE"}
        for column, owner in owners.items():
            if column in table.c and owner not in cascades and "agents" not in cascades:
                assert (table.name, column) in BY_HAND, (table.name, column)


BY_HAND = {
    ("messages", "agent_id"),
    ("messages", "run_id"),
    ("runs", "agent_id"),
    ("runs", "conversation_id"),
    ("steps", "agent_id"),
    ("steps", "run_id"),
    ("block_versions", "run_id"),
    ("block_readers", "agent_id"),
    ("block_readers", "run_id"),
    ("block_readers", "block_id"),
    ("group_conversations", "agent_id"),
    ("group_messages", "conversation_id"),
    ("departures", "agent_id"),
}
"""What no foreign key deletes: the code does, with something else, or it stays as the page says."""


async def every_row(database: str) -> Mapping[str, Sequence[str]]:
    """Return the rows of each table as text, beside the server."""
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as connection:
            return {
                name: [repr(tuple(row)) for row in connection.execute(f"SELECT * FROM {name}")]
                for name in metadata.tables
            }
    connection = await asyncpg.connect(database)
    try:
        return {
            name: [repr(tuple(row)) for row in await connection.fetch(f"SELECT * FROM {name}")]
            for name in metadata.tables
        }
    finally:
        await connection.close()


def rows_of(database: str) -> Mapping[str, Sequence[str]]:
    return asyncio.run(every_row(database))


def mentioning(rows: Mapping[str, Sequence[str]], *marks: str, but: Sequence[str] = ()) -> set[str]:
    """Return the tables with a row that has one of `marks`, rows that have one of `but` left out."""
    return {
        name
        for name, found in rows.items()
        for row in found
        if any(mark in row for mark in marks) and not any(mark in row for mark in but)
    }


SAID, WRITTEN, IN_COPY, SENT, LOST = "saidword", "writtenword", "copyword", "sentword", "lostword"
FILED, IN_GROUP, LATER = "filedword", "groupword", "laterword"
KEPT, SHARED = "keptword", "sharedword"


class Life:
    """An agent with everything that an agent can have, and another one that it has spoken to."""

    def __init__(self, http: httpx.Client, model: ScriptedModel, callback_url: str) -> None:
        self.http = http
        tools = ["memory_insert", "send_message_to_agent_and_wait_for_reply"]
        self.other = self.ok("POST", "/v1/agents", {"name": "other", "model": MODEL})["id"]
        self.block = self.ok("POST", "/v1/blocks", {"label": "team", "value": "all", "tags": ["b", "a"]})["id"]
        self.agent = self.ok(
            "POST",
            "/v1/agents",
            {
                "name": "whole",
                "model": MODEL,
                "tags": ["of_agent"],
                "tools": tools,
                "block_ids": [self.block],
                "memory_blocks": [{"label": "notes", "value": "own"}],
            },
        )["id"]
        requests = [{"agent_id": self.agent, "input": f"ECHO {SAID}"}]
        batch = self.ok("POST", "/v1/messages/batches", {"requests": requests})["id"]
        until(lambda: self.ok("GET", f"/v1/messages/batches/{batch}")["status"] == "completed")
        self.folder = self.ok("POST", "/v1/folders", {"name": "papers"})["id"]
        self.ok("PATCH", f"/v1/agents/{self.agent}/folders/attach/{self.folder}")
        paper = {"file": ("paper.txt", FILED.encode())}
        self.http.post(f"/v1/folders/{self.folder}/upload", files=paper).raise_for_status()
        until(lambda: not self.ok("GET", f"/v1/jobs?source_id={self.folder}&active=true"))
        provider = {"name": "own", "provider_type": "openai", "api_key": "k", "base_url": "https://models.invalid"}
        self.ok("POST", "/v1/providers", provider)
        identity = {"identifier_key": "ada", "name": "Ada", "identity_type": "user", "agent_ids": [self.agent]}
        self.ok("POST", "/v1/identities", identity)
        daily = {"type": "recurring", "cron_expression": "0 9 * * *"}
        later = {"messages": [{"role": "user", "content": LATER}], "schedule": daily}
        self.ok("POST", f"/v1/agents/{self.agent}/schedule", later)
        insertion = {"label": "team", "new_string": WRITTEN}
        self.say(f"CALL memory_insert {json.dumps(insertion)}")
        asking = {"message": f"ECHO {SENT}", "other_agent_id": self.other}
        self.say(f"CALL send_message_to_agent_and_wait_for_reply {json.dumps(asking)}")
        self.keep()
        self.say(f"ECHO {SAID}", "/stream", stream_tokens=True)
        self.say(f"ECHO {SAID}", "/async", callback_url=callback_url)
        path = f"/v1/conversations?agent_id={self.agent}"
        self.thread = self.ok("POST", path, {"isolated_block_labels": ["notes"]})["id"]
        copied = {"label": "notes", "new_string": IN_COPY}
        self.http.post(
            f"/v1/conversations/{self.thread}/messages",
            json={"input": f"CALL memory_insert {json.dumps(copied)}", "streaming": False},
        ).raise_for_status()
        self.fork = self.ok("POST", f"/v1/conversations/{self.thread}/fork")["id"]
        self.talk_in_groups()
        model.fail_next(400, message="no such luck")
        assert self.http.post(f"/v1/agents/{self.agent}/messages", json={"input": LOST}).status_code >= 400
        self.runs = self.ids("runs", self.agent)
        self.steps = self.ids("steps", self.agent)
        assert len(self.runs) == 8

    def talk_in_groups(self) -> None:
        """Be tended by the other agent, and say something in a group that shares a block."""
        tended = {"manager_type": "sleeptime", "manager_agent_id": self.agent, "sleeptime_agent_frequency": 100}
        self.ok("POST", "/v1/groups", {"agent_ids": [self.other], "description": "", "manager_config": tended})
        shared = {"agent_ids": [self.agent], "description": "", "shared_block_ids": [self.block]}
        group = self.ok("POST", "/v1/groups", shared)["id"]
        self.ok("POST", f"/v1/groups/{group}/messages", {"input": f"ECHO {IN_GROUP}"})
        self.in_group = self.ok("GET", f"/v1/conversations?agent_id={self.agent}&limit=1")[0]["id"]

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        response = self.http.request(method, path, json=body)
        assert response.status_code in (200, 201), response.text
        return response.json()

    def say(self, text: str, how: str = "", **more: Any) -> None:
        self.http.post(f"/v1/agents/{self.agent}/messages{how}", json={"input": text, **more}).raise_for_status()

    def keep(self) -> None:
        """Keep passages: in an archive of its own, and in one that the other agent has too."""
        own = f"/v1/agents/{self.agent}/archival-memory"
        passages = [self.ok("POST", own, {"text": KEPT, "tags": [KEPT]})[0]["id"] for _ in range(2)]
        self.ok("DELETE", f"{own}/{passages[0]}")
        shared = {"name": "shared", "embedding": "openai/text-embedding-3-small"}
        self.shared = self.ok("POST", "/v1/archives", shared)["id"]
        for agent in (self.agent, self.other):
            self.ok("PATCH", f"/v1/agents/{agent}/archives/attach/{self.shared}")
        path = f"/v1/archives/{self.shared}/passages"
        shared_passages = [self.ok("POST", path, {"text": SHARED, "tags": [SHARED]})["id"] for _ in range(2)]
        self.http.delete(f"{path}/{shared_passages[0]}").raise_for_status()
        while self.ok("GET", "/v1/jobs/active"):
            """The passages are being embedded."""

    def ids(self, kind: str, agent: str) -> list[str]:
        return [each["id"] for each in self.ok("GET", f"/v1/{kind}?agent_id={agent}&limit=100")]


@pytest.fixture
def life(start_server: StartServer, scripted_model: ScriptedModel) -> Iterator[tuple[Life, str]]:
    server = start_server(env={"FOLKMOOT_TRACE": "true", "FOLKMOOT_PRIVATE_CALLBACKS": "true"})
    with plain_client(server.url) as http, listening() as (url, told):
        made = Life(http, scripted_model, url)
        told.get(timeout=PATIENCE)
        yield made, server.database


def test_deleting_an_agent_leaves_nothing_but_what_the_page_names(life: tuple[Life, str]) -> None:
    made, database = life
    marks = (made.agent, made.thread, made.fork, made.in_group, *made.runs, *made.steps)
    others = (made.other, *made.ids("runs", made.other), *made.ids("steps", made.other))
    before = rows_of(database)
    named = {name for name, (_, _, stays) in TOLD.items() if stays != "nothing"}
    assert mentioning(before, *marks) >= {name for name in TOLD if TOLD[name][2] == "nothing"} - {
        "sessions",
        "organizations",
    }
    assert mentioning(before, IN_COPY) >= {"blocks", "block_versions", "messages"}
    assert mentioning(before, LOST) >= {"runs"}
    made.ok("DELETE", f"/v1/agents/{made.agent}")
    after = rows_of(database)
    assert mentioning(after, *marks, but=others) <= named
    assert mentioning(after, SAID, IN_COPY, IN_GROUP, LOST, KEPT, LATER) == set()
    assert mentioning(after, SHARED) == {"passages", "passage_tags", "archive_tags"}
    assert [len(after[name]) for name in ("archives", "passages", "passage_vectors", "deleted_passages")] == [1] * 4
    assert mentioning(after, SENT, but=others) == set()
    assert mentioning(after, WRITTEN) == {"blocks", "block_versions"}
    assert mentioning(after, FILED) == {"file_chunks"}
    assert len(after["agents"]) == 1
    assert len(after["blocks"]) == 2, "the two that the agent had; the copies of its conversations are gone"
    assert len(after["block_tags"]) == 2
    assert len(after["steps"]) == len(before["steps"])
    assert made.ids("steps", made.agent) == made.steps
    assert made.ok("POST", "/v1/messages/search", {"query": SAID}) == []


def test_deleting_or_resetting_a_conversation_takes_its_runs(life: tuple[Life, str]) -> None:
    made, database = life
    own = [run["id"] for run in made.ok("GET", f"/v1/runs?conversation_id={made.thread}")]
    assert len(own) == 1
    made.ok("DELETE", f"/v1/conversations/{made.fork}")
    made.ok("DELETE", f"/v1/conversations/{made.thread}")
    assert mentioning(rows_of(database), IN_COPY) == set()
    assert set(made.ids("runs", made.agent)) == set(made.runs) - set(own)
    made.ok("DELETE", f"/v1/conversations/{made.in_group}")
    made.ok("PATCH", f"/v1/agents/{made.agent}/reset-messages", {"delete_messages": True})
    assert mentioning(rows_of(database), SAID, LOST) == set()
    assert made.ids("runs", made.agent) == []
    made.ok("DELETE", f"/v1/runs/{made.ids('runs', made.other)[0]}")


DELETIONS = "/activity?kind=deletion&format=csv"


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_traces_and_figures_stay_as_long_as_the_settings_say(
    start_server: StartServer, scripted_model: ScriptedModel, database_url: str
) -> None:
    server = start_server(env={"FOLKMOOT_TRACE": "true", "FOLKMOOT_KEEP_TRACES": "0.001", "FOLKMOOT_KEEP_STEPS": "60"})
    with plain_client(server.url) as http:
        plan = {"model": MODEL, "memory_blocks": [{"label": "human", "value": ""}]}
        agent = http.post("/v1/agents", json=plan).json()["id"]
        http.post(f"/v1/agents/{agent}/messages", json={"input": "ECHO one"}).raise_for_status()
        (step,) = http.get(f"/v1/steps?agent_id={agent}").json()
        server.restart()  # a server looks for what is too old when it starts, and then every minute
    with plain_client(server.url) as http:
        until(lambda: http.get(f"/v1/steps/{step['id']}/trace").json() is None)
        http.delete(f"/v1/agents/{agent}").raise_for_status()
        assert http.get(f"/v1/steps/{step['id']}").json() == step
        assert "deleted the agent" in http.get(DELETIONS).text
        server.stop()
    (read,) = rows_of(database_url)["block_readers"]
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as file, file:
        columns = "organization_id, {}, version, step_id, run_id, agent_id, created_at"
        of_no_block = columns.format("'block-gone'")
        file.execute(
            f"INSERT INTO block_readers ({columns.format('block_id')}) SELECT {of_no_block} FROM block_readers"
        )
    assert len(rows_of(database_url)["block_readers"]) == 2
    brief = start_server(env={"FOLKMOOT_KEEP_STEPS": "0.001"})
    with plain_client(brief.url) as http:
        until(lambda: http.get(f"/v1/steps/{step['id']}").status_code == 404)
        until(lambda: "deleted the agent" not in http.get(DELETIONS).raise_for_status().text)
    assert rows_of(database_url)["block_readers"] == [read], "of the block that is gone none"


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.every_case_on_both
def test_deleting_a_file_or_a_folder_leaves_nothing_of_their_texts(start_server: StartServer, *, large: bool) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        text = f"{FILED} and more\n" * (100_000 if large else 1)

        def send(folder: str, name: str, *, wait: bool) -> str:
            files = {"file": (name, text.encode())}
            file: str = http.post(f"/v1/folders/{folder}/upload", files=files).raise_for_status().json()["id"]
            if wait:
                wait_for_jobs()
            return file

        def wait_for_jobs() -> None:
            until(lambda: not http.get("/v1/jobs", params={"active": True}).json())

        first, second = (http.post("/v1/folders", json={"name": name}).json()["id"] for name in ("first", "second"))
        read = send(first, "read", wait=True)
        assert mentioning(rows_of(server.database), FILED) == {"file_chunks"}
        unread = send(first, "unread", wait=False)
        for file in (read, unread):
            assert http.delete(f"/v1/folders/{first}/{file}").status_code == 204
        assert mentioning(rows_of(server.database), read, unread) <= {"jobs", "gone_items"}
        wait_for_jobs()  # the bytes of a file that was just read go behind it
        assert mentioning(rows_of(server.database), FILED) == set()
        send(second, "read", wait=True)
        send(second, "unread", wait=False)
        assert http.delete(f"/v1/folders/{second}").status_code == 200
        assert mentioning(rows_of(server.database), second) <= {"jobs", "gone_items", "departures"}
        wait_for_jobs()
        assert mentioning(rows_of(server.database), FILED) == set()
        assert rows_of(server.database)["file_pieces"] == []
