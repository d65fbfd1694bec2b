"""What stood on the recorded server before its calls about archives and folders, and the files that it was sent."""

from __future__ import annotations

import re
from typing import Any

import httpx
from recordings import Ids, Recording

EMBEDDING = "openai/text-embedding-3-small"
MODEL = "openai/gpt-4o-mini"

AGENTS = {
    "agent-b7230c26-53e6-435e-8bd5-7425627b2f33": "archive one",
    "agent-230c3ce9-981c-4198-86aa-e331dfd16cd4": "archive two",
    "agent-f0e6a664-627b-4c17-aff0-ad8e21a7465b": "archive three",
    "agent-48237ced-dede-490a-a257-85ba7cc968cb": "folder reader",
    "agent-4a18d51c-81c0-4a76-86cb-7b797a715d86": "second reader",
}
CHANGED = {"description": "d2", "instructions": "i2", "metadata": {"k": 2}}
FOLDERS: dict[str, dict[str, Any]] = {
    "source-f4889ac2-37af-46b4-9d53-3d1574dc8d08": {"name": "handbook2", "embedding_chunk_size": 120, **CHANGED},
    "source-801b0c6f-b5ce-4b96-85f8-704d1686365d": {"name": "old source 2", **CHANGED},
    "source-4381c85d-ad87-4d02-bd61-d802b56547d9": {"name": "withcfg"},
}
"""Folders of an earlier walk, which took the names that later calls ask for."""

LATE_FOLDER = "source-5b511138-1323-4620-af19-0cefd65674ea"
"""One that was made between the recorded calls."""

TOOLS = {
    "tool-f87a66fa-ee9f-4daa-9a1e-6ec0a2bb8e5f": "archival_memory_insert",
    "tool-efabcf46-4f7c-4a2f-884d-d121178c1bb4": "archival_memory_search",
    "tool-0efef1a1-3df2-4a5c-8eeb-62c1ada28394": "conversation_search",
}

REPLACED = "file-bbf47059-1277-4152-9200-d48f2c6f6d81"
REPLACING = "file-eb817f0c-6a53-419b-b489-20a4bcb5f823"
"""The recorded server let an upload replace the newest file that had once been called so, readme_(2).md, by one more of
the name that another one had. Here the one of that name is replaced, and so there are as many as there."""

_CUT = re.compile(r"<text: (\d+) characters>")
_WORDS = "long texts have many words "


def set_up(http: httpx.Client, ids: Ids) -> None:
    """Make what was there, and take note which recorded thing each stands for."""
    for recorded, name in AGENTS.items():
        made = _made(http, "/v1/agents", {"name": name, "model": MODEL, "embedding": EMBEDDING})
        assert ids.pair(recorded, made["id"]) is None
    for recorded, folder in FOLDERS.items():
        assert ids.pair(recorded, make_folder(http, **folder)) is None
    for recorded, name in TOOLS.items():
        (tool,) = http.get("/v1/tools", params={"name": name}).json()
        assert ids.pair(recorded, tool["id"]) is None


def make_folder(http: httpx.Client, **fields: Any) -> str:
    """Make a folder and return its identifier."""
    identifier: str = _made(http, "/v1/folders", {"embedding": EMBEDDING, **fields})["id"]
    return identifier


def _made(http: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def with_long_texts(value: Any) -> Any:
    """Return a recorded body with a text wherever only its length was kept."""
    if isinstance(value, dict):
        return {name: with_long_texts(part) for name, part in value.items()}
    if isinstance(value, list):
        return [with_long_texts(part) for part in value]
    cut = _CUT.fullmatch(value) if isinstance(value, str) else None
    return value if cut is None else (_WORDS * (int(cut[1]) // len(_WORDS) + 1))[: int(cut[1])]


def without_what_is_refused(value: Any) -> Any:
    """Return a recorded answer without the passages that have no text, which cannot be made here."""
    if isinstance(value, dict):
        return {name: without_what_is_refused(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_what_is_refused(part) for part in value if not _is_empty_passage(part)]
    return value


def _is_empty_passage(value: Any) -> bool:
    return isinstance(value, dict) and value.get("text") == "" and str(value.get("id")).startswith("passage-")


def learn(recorded: Any, live: Any, ids: Ids) -> None:
    """Take note of new things in lists by what they say, since two servers list them in orders of their own."""
    if isinstance(recorded, dict) and isinstance(live, dict):
        for name in recorded.keys() & live.keys():
            learn(recorded[name], live[name], ids)
    if not (isinstance(recorded, list) and isinstance(live, list)):
        return
    for thing in (each for each in recorded if isinstance(each, dict) and "id" in each):
        alike = [each["id"] for each in live if _said(each, None) == _said(thing, ids)]
        if thing["id"] not in ids.live and len(alike) == 1 and alike[0] not in ids.recorded:
            ids.pair(thing["id"], alike[0])


def _said(thing: dict[str, Any], ids: Ids | None) -> tuple[Any, ...] | None:
    """Return by what a thing is known: a passage by its text, what an agent has of a file by the file."""
    file_id = thing.get("file_id")
    if ids is not None and file_id is not None:
        file_id = ids.live.get(file_id)
    if thing["id"].startswith("passage-"):
        return with_long_texts(thing.get("text", thing.get("content"))), file_id
    return (file_id,) if thing["id"].startswith(("file_agent-", "block-")) else None


def undo(recording: Recording, made: Any, ids: Ids, http: httpx.Client) -> None:
    """Take back what the recorded server had refused, so that what follows finds what it found there."""
    if recording.name == "archive attach second archive":
        path = ids.translate(recording.path).replace("/attach/", "/detach/")
        assert http.patch(path).status_code == 200
    elif recording.name == "folder create no embedding":
        assert http.delete(f"/v1/folders/{made['id']}").status_code == 200


def upload_of(recording: Recording) -> bytes | None:
    """Return the bytes that a call uploads, as many as were recorded; None when it uploads none."""
    if recording.multipart is None:
        return None
    name, size = recording.multipart["file"], int(recording.multipart["bytes"])
    content = CONTENTS.get(name, b"The heron stands still.")
    return (content * (size // max(len(content), 1) + 1))[:size]


def _rules() -> bytes:
    lines = [f"Line {number}: rule number {number} of the house is that herons stay." for number in range(60)]
    return "\n".join(lines).encode().ljust(3791, b".")


def _leaflet() -> bytes:
    """Return a document of one page that says hello."""
    drawn = b"BT /F1 12 Tf 20 100 Td (The leaflet says hello heron.) Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    text = b"%PDF-1.4\n"
    for number, each in enumerate(objects, 1):
        text += b"%d 0 obj%s endobj\n" % (number, each)
    end = b"\ntrailer<</Root 1 0 R/Size 6>>\nstartxref\n0\n%%EOF\n"
    return text.ljust(567 - len(end), b"%") + end


CONTENTS = {
    "rules.txt": _rules(),
    "readme.md": b"# Title\n\nIntro text.\n\n## Part one\n\nThe kettle is red.\n\n"
    b"## Part two\n\nThe cup is blue.\n\nReplaced.\n",
    "rooms.json": b'{"rooms": [{"name": "kitchen", "has": "a red kettle"}, '
    b'{"name": "attic", "has": "herons"}],\n"floors": 3}\n',
    "leaflet.pdf": _leaflet(),
    "code.py": b"def f():\n    return 1\nclass A:\n    def g(self):\n        return 2\n\n",
    "t.csv": b"a,b\n1,2\n",
    "p.html": b"<html><body><p>hello</p></body></html>",
    "x.png": b"\x89PNG\r\n\x1a\n",
    "x.zzz": b"\x00\x01\x02\x03\x04",
    "empty.txt": b"",
    "latin.txt": "café crème".encode("latin-1"),
    "../../etc/passwd.txt": b"traversal",
    "orig.txt": b"custom name body",
    "src.txt": b"Source text about badgers.",
}
"""What each uploaded file says. The readme was uploaded three times without its last line."""
