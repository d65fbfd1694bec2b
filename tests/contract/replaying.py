"""The calls that real programs made of the retired server, and how they are made again on a server of ours.

`programs/NAME.jsonl.xz` (long ones go on in `NAME-2`, …) holds a program's calls in their order, one JSON object a
line. A value that stood earlier in the same file is `{"$seen": [line, pointer]}`.
"""

from __future__ import annotations

import json
import lzma
import re
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
from recordings import NEWER_CLIENT, Ids, events_of

from support.polling import until

HERE = Path(__file__).parent / "programs"
PROGRAMS = sorted({re.sub(r"(-\d)?\.jsonl\.xz$", "", file.name) for file in HERE.glob("*.xz")})
"""Every program, by the name of its file."""

IDENTIFIER = re.compile(r"[a-z_]+-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|call_[0-9a-z]{8,}")
COUNTER = Path(__file__).parent / "counter_server.py"
COUNTER_THERE = "http://vm:19981/mcp"
"""Where programs reached it."""


UNKNOWN = "00000000-0000-4000-8000-000000000000"
"""What programs name to ask for a thing that is not there; the one user and organisation have it too."""


@dataclass(frozen=True)
class Call:
    """One call of a program: what it sent and what it was answered. A stream's `response` is the list of its events."""

    program: str
    number: int
    scenario: str
    method: str
    path: str
    query: list[tuple[str, str]]
    request: Any
    status: int
    response: Any
    newer: bool

    @cached_property
    def name(self) -> str:
        """What marks go by: `GET /v1/agents/{}/tools`."""
        return f"{self.method} {IDENTIFIER.sub('{}', self.path).rstrip('/')}"

    def repeats(self, other: Call) -> bool:
        """Tell whether a call asks the same as another and was answered the same."""
        return (self.path, self.query, self.newer, self.response) == (
            other.path,
            other.query,
            other.newer,
            other.response,
        )

    @property
    def where(self) -> str:
        """What a report goes by."""
        return f"{self.program} {self.number} ({self.scenario}): {self.name}"


def load_calls(program: str) -> list[Call]:
    """Return a program's calls in their order.

    The retired server sent paths without the last slash on to those with it. Ours answers both alike, so that the
    program makes one call where two are recorded: that is the one to the path as it first had it.
    """
    files = (HERE / f"{program}{part}.jsonl.xz" for part in ("", "-2", "-3"))
    lines = [line for file in files if file.exists() for line in _lines(file)]
    calls: list[Call] = []
    sent_on: str | None = None
    for number, line in enumerate(lines, 1):
        if line["status"] == 307:
            sent_on = line["path"]
            continue
        calls.append(_call(program, number, line | ({"path": sent_on} if sent_on else {})))
        sent_on = None
    return calls


def _call(program: str, number: int, line: dict[str, Any]) -> Call:
    response = line["response"] if "response" in line else events_of("\n".join(line["event_lines"]))
    return Call(
        program=program,
        number=number,
        scenario=line["scenario"],
        method=line["method"],
        path=line["path"],
        query=parse_qsl(line.get("query") or "", keep_blank_values=True),
        request=line.get("request"),
        status=line["status"],
        response=as_here(response),
        newer=line.get("sdk1", False),
    )


def as_here(value: Any) -> Any:
    """Return a value with the handles that Folkmoot gives: the recorded server renamed OpenAI's."""
    return json.loads(json.dumps(value).replace("openai-proxy/", "openai/"))


def _lines(file: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in lzma.decompress(file.read_bytes()).decode().splitlines()]
    return [_whole(row, rows) for row in rows]


def _whole(value: Any, rows: list[Any]) -> Any:
    """Return a value with what stood earlier in its place."""
    if isinstance(value, list):
        return [_whole(part, rows) for part in value]
    if not isinstance(value, dict):
        return value
    if list(value) != ["$seen"]:
        return {name: _whole(part, rows) for name, part in value.items()}
    line, pointer = value["$seen"]
    seen = rows[line - 1]
    for key in pointer.split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        seen = seen[int(key)] if isinstance(seen, list) else seen[key]
    return _whole(seen, rows)


def identifiers(value: Any) -> set[str]:
    """Return every identifier in a value, other than those that are nobody's."""
    return {found for found in IDENTIFIER.findall(json.dumps(value)) if not found.endswith(UNKNOWN)}


@dataclass(frozen=True)
class Counter:
    """The server of tools that programs name, as it runs here: over HTTP at an address, and as a program."""

    address: str

    def put_into(self, request: Any) -> Any:
        """Return a recorded body with what is run here."""
        text = json.dumps(request).replace(COUNTER_THERE, self.address)
        text = text.replace('"command": "<path>"', f'"command": {json.dumps(sys.executable)}')
        return json.loads(text.replace('"args": ["<path>"', f'"args": [{json.dumps(str(COUNTER))}'))

    def taken_out_of(self, body: Any) -> Any:
        """Return a body of ours with what was recorded."""
        text = json.dumps(body).replace(self.address, COUNTER_THERE)
        return json.loads(text.replace(sys.executable, "<path>").replace(str(COUNTER), "<path>"))


@dataclass
class Replay:
    """A program's calls made again on a running server."""

    http: httpx.Client
    counter: Counter
    ids: Ids = field(default_factory=Ids)
    waiting: set[str] = field(default_factory=set)
    """Recorded identifiers of what could not be made yet, and so is left out of what is sent."""

    waiting_tools: set[str] = field(default_factory=set)
    """The names of tools among them."""

    last_tools: dict[str, str] = field(default_factory=dict)
    """Which tool ends a page of all tools here, by what ended the recorded page: every server has them in its order."""

    def is_possible(self, call: Call) -> bool:
        """Tell whether a call is about things that are here; a recorded cursor that is nothing here is none."""
        asked = identifiers([call.path, call.query])
        named = self.waiting_tools.intersection(call.path.split("/"))
        return asked <= self.ids.live.keys() and not named and not _names_one(call.request, self.waiting)

    def miss(self, call: Call) -> None:
        """Take note that what a call made on the recorded server is not here."""
        self.waiting |= identifiers(call.response) - self.ids.live.keys()
        if call.path.startswith("/v1/tools") and isinstance(call.response, dict) and "source_code" in call.response:
            self.waiting_tools.add(call.response["name"])

    def make(self, call: Call) -> tuple[int, Any]:
        """Make a call and return its status and body; runs in the background are over by then, and uploads read."""
        query = [(name, self.last_tools.get(value, value) if name == "after" else value) for name, value in call.query]
        arguments: dict[str, Any] = {"params": self.ids.translate(query)}
        request = self.counter.put_into(with_source(call.request, call.response))
        arguments |= _content(self.ids.translate(_without(request, self.waiting | self.waiting_tools)))
        headers = NEWER_CLIENT if call.newer else {}
        answer = self.http.request(call.method, self.ids.translate(call.path), headers=headers, **arguments)
        body = self.counter.taken_out_of(_body(answer))
        if call.path.endswith("/messages/async") and answer.status_code == 200:
            self.http.get(f"/v1/runs/{body['id']}/stream").raise_for_status()
        if call.name == "GET /v1/tools" and call.status == answer.status_code == 200 and call.response and body:
            self.last_tools[call.response[-1]["id"]] = body[-1]["id"]
        if call.path.endswith("/upload") and answer.status_code == 200:
            self._wait_for_files(body["source_id"])
        if call.name == "POST /v1/agents/import" and call.status == answer.status_code == 200:
            self.ids.live |= dict(zip(call.response["agent_ids"], body["agent_ids"], strict=True))
        return answer.status_code, body

    def _wait_for_files(self, folder_id: str) -> None:
        """Wait until a folder's uploads are read."""
        asked = {"source_id": folder_id, "active": True}
        until(lambda: not self.http.get("/v1/jobs", params=asked).raise_for_status().json())


def with_source(sent: Any, made: Any) -> Any:
    """Return what makes a tool, with a source that has its schema where of its own only the length was kept."""
    if not isinstance(sent, dict) or not str(sent.get("source_code", "")).startswith("<text of "):
        return sent
    schema = (made.get("json_schema") if isinstance(made, dict) else None) or {"name": sent["name"]}
    described = schema.get("parameters") or {"properties": {}, "required": []}
    hints = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "object": "dict", "array": "list"}
    parameters = [
        f"{name}: {hints[each['type']]}{'' if name in described['required'] else ' = None'}"
        for name, each in described["properties"].items()
    ]
    said = [f"    {name}: {each.get('description', '')}" for name, each in described["properties"].items()]
    text = "\n".join([schema.get("description", "Something."), "", "Args:", *said] if said else [schema["name"]])
    return sent | {"source_code": f"def {schema['name']}({', '.join(parameters)}):\n    {text!r}\n    return 'done'\n"}


def _body(answer: httpx.Response) -> Any:
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return events_of(answer.text)
    return answer.json() if answer.content else None


def _content(request: Any) -> dict[str, Any]:
    """Return what httpx is to be given for a recorded body."""
    if request is None:
        return {}
    if isinstance(request, dict) and list(request) == ["multipart"]:
        parts = request["multipart"]
        return {"files": [(part["name"], _part(part)) for part in parts]}
    if isinstance(request, dict) and set(request) == {"text", "content_type"}:
        return {"content": request["text"], "headers": {"content-type": request["content_type"]}}
    return {"json": request}


def _part(part: dict[str, Any]) -> tuple[str | None, str, str | None]:
    body = part["body"] if isinstance(part["body"], str) else json.dumps(part["body"])
    return part.get("filename"), body, part.get("content_type")


def _names_one(value: Any, waiting: set[str]) -> bool:
    """Tell whether a body names one of these things, other than in a list, out of which it could be left."""
    if isinstance(value, dict):
        return any(_names_one(part, waiting) for part in value.values())
    if isinstance(value, list):
        return any(_names_one(part, waiting) for part in value if not isinstance(part, str))
    return isinstance(value, str) and value in waiting


def _without(value: Any, waiting: set[str]) -> Any:
    """Return a body without the identifiers of what waits."""
    if isinstance(value, dict):
        return {name: _without(part, waiting) for name, part in value.items()}
    if isinstance(value, list):
        return [_without(part, waiting) for part in value if not (isinstance(part, str) and part in waiting)]
    return value
