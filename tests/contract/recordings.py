"""The recorded calls of the wire contract, and how they are made again on a server of ours."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent

_ID = re.compile(
    r"(?:[a-z_]+-)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|call_[0-9a-z]{8,}", re.IGNORECASE
)
_EVERYBODYS = re.compile(r"-(?:00000000-0000-4000-8000-000000000000|123e4567-e89b-42d3-8456-426614174000)$")
"""Identifiers that are the same on every server: the one organisation and user, the unknown one, the example."""

NEWER_CLIENT = {"X-Stainless-Package-Version": "1.12.1"}
"""What a client of the 1.x line sends, by which a server knows it; it gets less of each agent without asking."""

OLDER_CLIENT = {"User-Agent": "letta-client/0.1.324"}
"""What a client of the 0.1.x line sends."""


@dataclass(frozen=True)
class Recording:
    """One call: what was sent and what came back. A stream's `response` is the list of its events."""

    name: str
    method: str
    path: str
    query: dict[str, Any]
    request: Any
    multipart: dict[str, str] | None
    status: int
    response: Any
    newer: bool = True
    """Whether a client of the 1.x line made it."""


def load_recordings(file: str = "recordings.jsonl", instead: Mapping[str, str] | None = None) -> list[Recording]:
    """Return every recorded call of a file in the order they were made.

    Args:
        file: its name; what ends with .xz is compressed.
        instead: which recorded identifier to replace by which.
    """
    data = (HERE / file).read_bytes()
    text = (lzma.decompress(data) if file.endswith(".xz") else data).decode()
    for one, other in (instead or {}).items():
        text = text.replace(one, other)
    return [read_recording(json.loads(line)) for line in text.splitlines()]


def read_recording(line: dict[str, Any]) -> Recording:
    """Return a recorded call from its line."""
    response = line.get("response")
    if "event_lines" in line:
        response = events_of("\n".join(line["event_lines"]))
    return Recording(
        name=line["name"],
        method=line["method"],
        path=line["path"],
        query=line.get("query") or {},
        request=line.get("request"),
        multipart=line.get("multipart"),
        status=line["status"],
        response=_renamed_provider(response),
        newer=line.get("client") != "0.1.x",
    )


def _renamed_provider(value: Any) -> Any:
    """Return a value with the handles that Folkmoot gives: the recorded server renamed OpenAI's."""
    return json.loads(json.dumps(value).replace("openai-proxy/", "openai/"))


def events_of(text: str) -> Any:
    r"""Return a stream's events, or the body itself when it was answered as one JSON text.

    >>> events_of('data: {"a": 1}\n\ndata: [DONE]\n\n')
    [{'a': 1}, '[DONE]']
    """
    if text.lstrip().startswith("{"):
        return json.loads(text)
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(event) if event.startswith("{") else event for event in data]


@dataclass
class Ids:
    """Which identifier of the running server stands for which recorded one; each for one only."""

    live: dict[str, str] = field(default_factory=dict)
    recorded: dict[str, str] = field(default_factory=dict)

    def pair(self, recorded: str, live: str) -> str | None:
        """Take note that the two are the same thing; return what contradicts it."""
        if _EVERYBODYS.search(recorded):
            return None if live == recorded else f"{live} instead of {recorded}"
        if not _ID.fullmatch(live) or _kind(live) != _kind(recorded):
            return f"{live!r} is no identifier like {recorded}"
        known = self.live.setdefault(recorded, live)
        back = self.recorded.setdefault(live, recorded)
        if known != live:
            return f"{live} where {recorded} was {known} before"
        return None if back == recorded else f"{live} is here {recorded}, before it was {back}"

    def translate(self, value: Any) -> Any:
        """Return a recorded path, query or body as it is sent to the running server."""
        text = json.dumps(value).replace("openai-proxy/", "openai/")
        return json.loads(_ID.sub(lambda match: self.live.get(match[0], match[0]), text))


def is_id(text: str) -> bool:
    """Tell whether a text is an identifier."""
    return _ID.fullmatch(text) is not None


def _kind(identifier: str) -> str:
    return re.split("[-_]", identifier)[0]


def make_again(recording: Recording, ids: Ids, http: httpx.Client, upload: bytes | None = None) -> tuple[int, Any]:
    """Make a recorded call on the running server and return its status and body.

    Args:
        recording: the call.
        ids: which things stand for those that it names.
        http: asks the server.
        upload: the bytes of the file that it sends; None for a file whose bytes do not matter.
    """
    headers = NEWER_CLIENT if recording.newer else OLDER_CLIENT
    arguments: dict[str, Any] = {"params": ids.translate(recording.query), "headers": headers}
    if upload is not None and recording.multipart is not None:
        arguments["files"] = {"file": (recording.multipart["file"], upload, recording.multipart["content_type"])}
    elif recording.multipart is not None:
        arguments["files"] = {name: (file, b"The heron stands still.") for name, file in recording.multipart.items()}
    elif recording.request is not None:
        arguments["json"] = ids.translate(recording.request)
    answer = http.request(recording.method, ids.translate(recording.path), **arguments)
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return answer.status_code, events_of(answer.text)
    return answer.status_code, answer.json() if answer.content else None
