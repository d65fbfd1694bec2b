"""Pictures that tools return: a model that sees is shown them, and clients get them as parts of content."""

from __future__ import annotations

import base64
import json
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import Letta

from support.fixtures import MODEL, each_provider, each_wire, one_store
from support.scripted_model import ScriptedModel

needs_walls = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")


def _png(size: int = 1) -> str:
    """Return a picture of so many pixels as base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    head = struct.pack("!IIBBBBB", size, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + b"\xff\0\0" * size)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


PIXEL, OTHER = _png(), _png(2)


def image(data: str, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


Drawing = Callable[..., tuple[str, str]]


@pytest.fixture
def drawing(client: Letta) -> Drawing:
    """Return an agent, and the name of its tool that returns a value."""

    def make(value: Any, model: str = MODEL) -> tuple[str, str]:
        name = f"draw_{uuid4().hex[:12]}"
        tool = client.tools.create(source_code=f'def {name}():\n    """Draw."""\n    return {value!r}\n')
        agent = client.agents.create(model=model, include_base_tools=False, tool_ids=[tool.id])
        return agent.id, name

    return make


def shown(model: ScriptedModel) -> list[str]:
    """Return the data of the pictures in the last request, whichever API it came by."""
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                look(each)
        elif isinstance(value, dict) and value.get("type") == "image_url":
            found.append(value["image_url"]["url"].partition(",")[2])
        elif isinstance(value, dict) and value.get("type") == "image":
            found.append(value["source"]["data"])
        elif isinstance(value, dict):
            look(value.get("content"))

    look(model.requests[-1]["messages"])
    return found


@needs_walls
@each_provider
def test_a_model_is_shown_what_a_tool_drew(
    model: str, client: Letta, http: httpx.Client, drawing: Drawing, scripted_model: ScriptedModel
) -> None:
    agent, name = drawing([text("a chart"), image(PIXEL), text("and another"), image(OTHER)], model)
    client.agents.messages.create(agent, input=f"CALL {name} {{}}")
    assert shown(scripted_model) == [PIXEL, OTHER]
    client.agents.messages.create(agent, input="ECHO well?")
    assert shown(scripted_model) == [PIXEL, OTHER]  # in later turns too
    assert scripted_model.violations == []
    said = [m for m in client.agents.messages.list(agent).items if m.message_type == "tool_return_message"]
    names = "a chart\n(picture 1)\nand another\n(picture 2)"
    assert said[0].tool_return == names
    assert said[0].tool_returns is not None
    parts: Any = said[0].tool_returns[0].tool_return
    assert [part.model_dump(exclude_none=True) for part in parts] == [text(names), image(PIXEL), image(OTHER)]
    events = http.post(f"/v1/agents/{agent}/messages/stream", json={"input": f"CALL {name} {{}}"}).text
    streamed = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")]
    returned = next(event for event in streamed if event.get("message_type") == "tool_return_message")
    assert returned["tool_returns"][0]["tool_return"] == [text(names), image(PIXEL), image(OTHER)]


@needs_walls
@pytest.mark.parametrize(
    ("part", "says"),
    [
        (image("not base64!"), "its data is not base64"),
        (image(""), "its data is empty"),
        (image(PIXEL, "image/svg+xml"), "it is image/svg+xml, not image/png"),
        ({"type": "image", "source": {"type": "url", "url": "https://example.org/?secret"}}, "not an address"),
        (image(base64.b64encode(bytes(4_000_000)).decode()), "more than 5,000,000 characters"),
    ],
)
@one_store
def test_a_picture_that_cannot_be_shown_is_told_and_the_turn_goes_on(
    part: Any, says: str, client: Letta, drawing: Drawing, scripted_model: ScriptedModel
) -> None:
    value = f"[{part!r}]" if len(repr(part)) < 1000 else None
    agent, name = drawing([part]) if value else drawing([image("AAAA")])
    if value is None:  # a source of 5 MB is none
        large = "[dict(type='image', source=dict(media_type='image/png', data='AAAA' * 1_400_000))]"
        client.tools.upsert(source_code=f'def {name}():\n    """Draw."""\n    return {large}\n')
    answer = client.agents.messages.create(agent, input=f"CALL {name} {{}}")
    assert answer.messages[-1].content == "done"  # type: ignore[union-attr]
    assert shown(scripted_model) == []
    told = next(m for m in answer.messages if m.message_type == "tool_return_message")
    assert told.tool_return.startswith("(a picture that cannot be shown: ")
    assert says in told.tool_return


@needs_walls
@one_store
def test_what_draws_itself_is_a_picture(client: Letta, scripted_model: ScriptedModel) -> None:
    name = f"draw_{uuid4().hex[:12]}"
    source = f"""
import base64

class Drawing:
    def _repr_png_(self):
        return base64.b64decode({PIXEL!r})

def {name}(alone: bool):
    \"\"\"Draw.\"\"\"
    return Drawing() if alone else ["a dot", Drawing()]
"""
    agent = client.agents.create(
        model=MODEL, include_base_tools=False, tool_ids=[client.tools.create(source_code=source).id]
    )
    for alone, told in ((True, "(picture 1)"), (False, "a dot\n(picture 1)")):
        client.agents.messages.create(agent.id, input=f'CALL {name} {{"alone": {str(alone).lower()}}}')
        assert shown(scripted_model)[-1] == PIXEL
        said = [m for m in client.agents.messages.list(agent.id).items if m.message_type == "tool_return_message"]
        assert said[-1].tool_return == told


@needs_walls
@one_store
def test_only_so_many_pictures_are_shown(client: Letta, drawing: Drawing, scripted_model: ScriptedModel) -> None:
    agent, name = drawing([image(PIXEL)] * 9)
    client.agents.messages.create(agent, input=f"CALL {name} {{}}")
    assert len(shown(scripted_model)) == 8


@needs_walls
@one_store
def test_who_runs_a_tool_gets_its_pictures(http: httpx.Client, drawing: Drawing) -> None:
    agent, name = drawing(image(PIXEL))
    answer = http.post(f"/v1/agents/{agent}/tools/{name}/run", json={}).json()
    assert answer["func_return"] == image(PIXEL)
    source = f'def draw():\n    """Draw."""\n    return {[image(PIXEL)]!r}\n'
    once = http.post("/v1/tools/run", json={"source_code": source, "args": {}}).json()
    assert once["tool_return"] == "(picture 1)"
    assert once["tool_returns"][0]["tool_return"] == [text("(picture 1)"), image(PIXEL)]


@each_wire
def test_a_model_is_shown_what_the_clients_own_tool_returned(
    model: str, http: httpx.Client, client: Letta, scripted_model: ScriptedModel
) -> None:
    agent = client.agents.create(model=model, include_base_tools=False).id
    tools = [{"name": "camera", "description": "Take a picture."}]
    asked = http.post(f"/v1/agents/{agent}/messages", json={"input": "CALL camera {}", "client_tools": tools}).json()
    call_id = asked["messages"][-1]["tool_call"]["tool_call_id"]
    returned = {"type": "tool", "tool_call_id": call_id, "status": "success"}
    approval = {"type": "approval", "approvals": [{**returned, "tool_return": [text("the garden"), image(PIXEL)]}]}
    answer = http.post(f"/v1/agents/{agent}/messages", json={"messages": [approval], "client_tools": tools})
    assert answer.status_code == 200, answer.text
    assert shown(scripted_model) == [PIXEL]
    assert scripted_model.violations == []
