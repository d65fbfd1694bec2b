"""Make the databases of a released version by running it: rows of every table, as a small moot leaves them.

    PYTHONPATH=tests .venv/bin/python tests/store/make_release.py FOLDER_OF_THE_VERSION/src

writes `released/VERSION.sqlite.sql.xz`, `released/VERSION.postgres.sql.xz` and beside each what that version answered
about it (`.answers.json.xz`). `released/README.md` says when. Only HTTP is spoken, so that any version can be run.
"""

from __future__ import annotations

import json
import lzma
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from later_rooms import LaterRooms
from read_everything import read_everything, settled
from released_data import FOLDER, SECRET_KEY, says

from support.fixtures import MODEL
from support.postgres import PostgresServer
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

EMPTY = {
    "deletions",
    "file_pieces",
    "group_readings",
    "mcp_authorizations",
    "mcp_sign_ins",
    "mcp_subscriptions",
    "sessions",
}
"""Tables of what is under way, or takes another server: in all others there must be rows."""

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
EDITS = 60
"""More than the versions between two whole texts in a history."""


class Moot:
    """A version's server, and what is asked of it; every answer must be a success."""

    def __init__(self, http: httpx.Client, model: ScriptedModel) -> None:
        self._http = http
        self._model = model

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Make a request and return its JSON; `files` are uploaded."""
        answer = self._http.request(method, f"/v1{path}", json=body, **more)
        assert answer.status_code < 300, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def stream(self, path: str, body: Any) -> None:
        """Make a request that is answered by a stream, and read it to its end."""
        with self._http.stream("POST", f"/v1{path}", json=body) as answer:
            assert answer.status_code == 200, answer.read()
            for _ in answer.iter_lines():
                pass

    # -- the life of a small moot ----------------------------------------------------------------------------

    def live(self) -> None:
        """Do everything of which something is stored."""
        notes, rules = self._blocks()
        scribe = self._agent("scribe", block_ids=[notes, rules], tags=["staff", "büro"], secrets={"TOKEN": "swordfish"})
        reader = self._agent("reader", tags=["staff"])
        self.ask("PATCH", f"/agents/{reader}/core-memory/blocks/attach/{notes}", {"access": "read"})
        self._say(scribe, says("memory_insert", label="notes", new_string="The scribe: tea at four, 四点喝茶。"))
        self._say(reader, says("memory_insert", label="notes", new_string="The reader may not."))
        self._say(reader, [{"type": "text", "text": "Look."}, _picture()])
        self._say(
            scribe,
            "THINK Who was it?\n"
            + says("send_message_to_agent_and_wait_for_reply", message="ECHO Me.", other_agent_id=reader),
        )
        self._streams(scribe)
        self._conversations(scribe)
        self._ends_of_runs(scribe)
        self._feedback(scribe)
        self._approval()
        self._summary()
        self._leaver(notes)
        LaterRooms(self.ask, self._say, scribe, notes).live()
        self._others(scribe)

    def _blocks(self) -> tuple[str, str]:
        """Make two blocks, and a history for one that has whole texts, changes and a revert."""
        more = {"description": "What all should know", "metadata": {"colour": "blue"}, "tags": ["shared", "ärger"]}
        notes = self.ask("POST", "/blocks", {"label": "notes", "value": "Notes.\n", "limit": 9000, **more})["id"]
        text = "".join(f"Line {number}: größer, 更大, 😀.\n" for number in range(80))
        for number in range(EDITS):
            self.ask("PATCH", f"/blocks/{notes}", {"value": f"Notes.\n{text}Edit {number}.\n"})
        self.ask("POST", f"/blocks/{notes}/revert", {"version": 12})
        rules = self.ask("POST", "/blocks", {"label": "rules", "value": "Be brief.", "read_only": True})["id"]
        return notes, rules

    def _agent(self, name: str, **more: Any) -> str:
        fields = {"name": name, "model": MODEL, "description": f"A {name}.", "include_base_tools": True, **more}
        agent_id: str = self.ask("POST", "/agents", fields)["id"]
        return agent_id

    def _say(self, agent_id: str, content: Any) -> str:
        """Say something in an agent's main conversation and return its run."""
        asked = {"messages": [{"role": "user", "content": content}]}
        self.ask("POST", f"/agents/{agent_id}/messages", asked)
        run_id: str = self.ask("GET", f"/runs?agent_id={agent_id}&limit=1")[0]["id"]
        return run_id

    def _streams(self, agent_id: str) -> None:
        """Have a turn as a stream, and one in the background."""
        self.stream(f"/agents/{agent_id}/messages/stream", {"input": says("conversation_search", query="tea")})
        asked = {"messages": [{"role": "user", "content": "ECHO In the background."}], "metadata": {"why": "no hurry"}}
        run_id = self.ask("POST", f"/agents/{agent_id}/messages/async", asked)["id"]
        self.stream(f"/runs/{run_id}/stream", {"starting_after": 0})

    def _conversations(self, agent_id: str) -> None:
        """Have one with a block of its own, a fork of it, and one that is put away."""
        made = {"summary": "A trip", "isolated_block_labels": ["notes"]}
        first = self.ask("POST", f"/conversations?agent_id={agent_id}", made)["id"]
        text = says("memory_insert", label="notes", new_string="Only here.")
        for said in (text, "ECHO We leave at nine."):
            asked = {"messages": [{"role": "user", "content": said}], "streaming": False}
            self.ask("POST", f"/conversations/{first}/messages", asked)
        self.ask("POST", f"/conversations/{first}/fork")
        away = self.ask("POST", f"/conversations?agent_id={agent_id}", {"summary": "Done with"})["id"]
        self.ask("PATCH", f"/conversations/{away}", {"archived": True})

    def _ends_of_runs(self, agent_id: str) -> None:
        """Have a run that fails and one that is cancelled."""
        self._model.fail_next(400)
        self._http.post(f"/v1/agents/{agent_id}/messages", json={"input": "Fail."})
        with self._model.hold("Wait.") as held:
            self.ask("POST", f"/agents/{agent_id}/messages/async", {"input": "Wait."})
            held.wait_for(1)
            self.ask("POST", f"/agents/{agent_id}/messages/cancel", {})
        settled(self._http)

    def _feedback(self, agent_id: str) -> None:
        step = self.ask("GET", f"/steps?agent_id={agent_id}&limit=1")[0]["id"]
        self.ask("PATCH", f"/steps/{step}/feedback", {"feedback": "positive", "tags": ["kind"]})

    def _approval(self) -> None:
        """Leave an agent that waits for an approval, after another one that was denied."""
        keeper = self._agent(
            "keeper",
            memory_blocks=[{"label": "seals", "value": "None."}],
            tool_rules=[
                {"type": "requires_approval", "tool_name": "memory_insert"},
            ],
        )
        text = says("memory_insert", label="seals", new_string="A seal.")
        self._say(keeper, text)
        asked = self.ask("GET", f"/agents/{keeper}/messages?order=desc&limit=10")
        request = next(message["id"] for message in asked if message["message_type"] == "approval_request_message")
        denial = {"type": "approval", "approval_request_id": request, "approve": False, "reason": "Not today."}
        self.ask("POST", f"/agents/{keeper}/messages", {"messages": [denial]})
        self._say(keeper, text)

    def _summary(self) -> None:
        """Leave an agent whose conversation was summarised, and that has a system message and settings of its own."""
        teller = self._agent("teller", system="You tell stories.", timezone="Europe/Vienna", include_base_tools=False)
        for number in range(4):
            self._say(teller, f"ECHO Story {number}.")
        self.ask("POST", f"/agents/{teller}/summarize")
        self._say(teller, "ECHO And on it goes.")

    def _leaver(self, block_id: str) -> None:
        """Leave what an agent wrote that is gone."""
        leaver = self._agent("leaver", block_ids=[block_id])
        self._say(leaver, says("memory_insert", label="notes", new_string="The leaver was here."))
        self.ask("DELETE", f"/agents/{leaver}")

    def _others(self, agent_id: str) -> None:
        """Leave another organisation, and a scoped token, with which a server stays open to who has no key."""
        self.ask("POST", "/organizations", {"name": "others"})
        policy = [{"type": "agent", "id": agent_id, "access": ["read_messages"]}]
        token = {"hostname": "https://app.example.org", "policy": policy, "expires_at": "2999-01-01T00:00:00Z"}
        self.ask("POST", "/client-side-access-tokens", token)

    @contextmanager
    def amid_a_turn(self) -> Iterator[None]:
        """Have an agent whose model does not answer as long as the block lasts."""
        agent_id = self._agent("amid")
        with self._model.hold("Interrupted.") as held:
            self.ask("POST", f"/agents/{agent_id}/messages/async", {"input": "Interrupted."})
            held.wait_for(1)
            yield


def _picture() -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}


def made_by(source: Path, database: str, home: Path) -> dict[str, Any]:
    """Run a version over an empty database until it is killed amid a turn; return what it answered before."""
    env = {"PYTHONPATH": str(source), "FOLKMOOT_SECRET_KEY": SECRET_KEY, "FOLKMOOT_TRACE": "true"}
    with ExitStack() as opened:
        model = opened.enter_context(ScriptedModel())
        server = ServerProcess(database=database, home=home, model_url=model.base_url, env=env, by_command=True)
        opened.enter_context(server)
        http = opened.enter_context(httpx.Client(base_url=server.url, timeout=60))
        moot = Moot(http, model)
        moot.live()
        with moot.amid_a_turn():
            answers = {"version": _version(http), **read_everything(http)}
            server.kill()
    return answers


def _version(http: httpx.Client) -> str:
    answer = http.get("/v1/health").json()
    version: str = answer.get("folkmoot") or answer["version"]
    return version


def check_filled(path: Path) -> None:
    """Refuse a database with a table that nobody wrote to, unless that was meant: `Moot.live` does not know it yet."""
    with closing(sqlite3.connect(path)) as database:
        named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        tables = {name for (name,) in database.execute(named)}
        filled = {name for name in tables if database.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()}
    assert tables - filled <= EMPTY, f"nothing is in {sorted(tables - filled - EMPTY)}"


def dumped_sqlite(path: Path) -> str:
    """Return the SQL that makes the database again."""
    with closing(sqlite3.connect(path)) as database:
        (application_id,) = database.execute("PRAGMA application_id").fetchone()
        virtual = database.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'").fetchall()
        # What a virtual table holds is in tables of its own; the rows that it shows itself would come twice.
        shown = tuple(f'INSERT INTO "{name}" ' for (name,) in virtual)
        lines = (line for line in database.iterdump() if not line.startswith(shown))
        return "\n".join([f"PRAGMA application_id = {application_id};", *lines])


def dumped_postgres(server: PostgresServer, url: str) -> str:
    """Return the same, without psql's own commands."""
    sql = server.dump(url)
    return re.sub(r"^\\.*\n", "", sql, flags=re.MULTILINE)


def keep(name: str, text: str) -> None:
    path = FOLDER / f"{name}.xz"
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{path.name}: {path.stat().st_size} bytes")


def main(source: Path) -> None:
    """Make both databases of the version whose `src` is given."""
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as postgres:
        path = Path(folder) / "database.sqlite3"
        answers = made_by(source, f"sqlite:///{path}", Path(folder) / "on-sqlite")
        check_filled(path)
        keep(f"{answers['version']}.sqlite.sql", dumped_sqlite(path))
        keep(f"{answers['version']}.sqlite.answers.json", json.dumps(answers))
        url = postgres.create_database()
        answers = made_by(source, url, Path(folder) / "on-postgres")
        keep(f"{answers['version']}.postgres.sql", dumped_postgres(postgres, url))
        keep(f"{answers['version']}.postgres.answers.json", json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
