"""Pictures in messages: those that no model could read are refused, wherever they come in, and nothing is stored."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from assertions import assert_error
from letta_client import Letta

from support.fixtures import MODEL, NewAgent, one_store
from support.scripted_model import ScriptedModel

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\nnot much of a picture").decode()


def inline(data: str = PIXEL, media_type: Any = "image/png") -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": data}


def address(url: str) -> dict[str, Any]:
    return {"type": "url", "url": url}


def parts(source: dict[str, Any], text: str = "ECHO what is it?") -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}, {"type": "image", "source": source}]


BROKEN = [
    pytest.param(inline("not base64!"), "data", id="other characters"),
    pytest.param(inline("YQ="), "data", id="half its padding"),
    pytest.param(inline("YWJj===="), "data", id="too much padding"),
    pytest.param(inline("abc"), "data", id="cut off"),
    pytest.param(inline(PIXEL[:20] + "\n" + PIXEL[20:]), "data", id="a line break"),
    pytest.param(inline("Größe==="), "data", id="no ASCII"),
    pytest.param(inline(f"data:image/png;base64,{PIXEL}"), "data", id="an address for data"),
    pytest.param(inline(""), "data", id="no bytes"),
    pytest.param(inline(media_type="text/plain"), "media_type", id="text"),
    pytest.param(inline(media_type="image/"), "media_type", id="half a media type"),
    pytest.param(inline(media_type="image/png; charset=utf-8"), "media_type", id="a media type with more"),
    pytest.param(inline(media_type="image/png\n"), "media_type", id="a media type with a line break"),
    pytest.param(inline(media_type=None), "media_type", id="no media type"),
    pytest.param(address("data:image/png;base64,not base64!"), "url", id="address, other characters"),
    pytest.param(address("data:image/png;base64,abc"), "url", id="address, cut off"),
    pytest.param(address("data:image/png;base64,"), "url", id="address, no bytes"),
    pytest.param(address(f"data:text/plain;base64,{PIXEL}"), "url", id="address of a text"),
    pytest.param(address(f"data:;base64,{PIXEL}"), "url", id="address without a media type"),
    pytest.param(address("data:image/svg+xml,<svg/>"), "url", id="address without base64"),
    pytest.param(address(f"data:image/png;base64{PIXEL}"), "url", id="address without a comma"),
    pytest.param(address("file:///etc/passwd"), "url", id="a file"),
    pytest.param(address("a.png"), "url", id="a name"),
    pytest.param(address(""), "url", id="nothing"),
]
"""Sources of pictures that cannot be used, and the field that an answer has to name."""

GOOD = [
    pytest.param(inline(), f"data:image/png;base64,{PIXEL}", id="base64"),
    pytest.param(inline(media_type="image/webp"), f"data:image/webp;base64,{PIXEL}", id="another kind"),
    pytest.param(address(f"data:image/png;base64,{PIXEL}"), f"data:image/png;base64,{PIXEL}", id="data: address"),
    pytest.param(address("https://example.org/a.png?b=c"), "https://example.org/a.png?b=c", id="https address"),
]
"""Sources of pictures, and the address under which the model gets them."""


def shown(model: ScriptedModel) -> list[str]:
    """Return the pictures of the last request."""
    contents = [m["content"] for m in model.requests[-1]["messages"] if isinstance(m["content"], list)]
    return [part["image_url"]["url"] for content in contents for part in content if part["type"] == "image_url"]


def kept(http: httpx.Client, agent_id: str) -> Any:
    return http.get(f"/v1/agents/{agent_id}/messages").json()


@pytest.mark.parametrize(("source", "field"), BROKEN)
@one_store
def test_a_broken_picture_in_a_message_is_refused(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, source: dict[str, Any], field: str
) -> None:
    agent = new_agent().id
    before = kept(http, agent)
    body = {"messages": [{"role": "user", "content": "ECHO before"}, {"role": "user", "content": parts(source)}]}
    for path in ("", "/stream", "/async"):
        answer = http.post(f"/v1/agents/{agent}/messages{path}", json=body)
        assert_error(answer, 422, "messages.1.", f"content.1.image.source.{source['type']}.{field}")
    answer = http.post(f"/v1/agents/{agent}/messages", json={"input": parts(source)})
    assert_error(answer, 422, "input.", f".{field}")
    assert kept(http, agent) == before
    assert http.get("/v1/runs", params={"agent_id": agent}).json() == []
    assert scripted_model.requests == []


@pytest.mark.parametrize(("source", "field"), BROKEN)
@one_store
def test_a_broken_picture_in_a_stored_message_is_refused(
    http: httpx.Client, new_agent: NewAgent, source: dict[str, Any], field: str
) -> None:
    agent = new_agent(initial_message_sequence=[{"role": "user", "content": "as it was"}]).id
    before = kept(http, agent)
    path = f"/v1/agents/{agent}/messages/{before[-1]['id']}"
    answer = http.patch(path, json={"message_type": "user_message", "content": parts(source)})
    assert_error(answer, 422, "content.", f".{field}")
    assert kept(http, agent) == before


@pytest.mark.parametrize(("source", "field"), BROKEN)
@one_store
def test_a_broken_picture_in_the_first_messages_is_refused(
    http: httpx.Client, source: dict[str, Any], field: str
) -> None:
    name = f"agent_{uuid4().hex}"
    first = [{"role": "user", "content": parts(source)}]
    answer = http.post("/v1/agents", json={"name": name, "model": MODEL, "initial_message_sequence": first})
    assert_error(answer, 422, "initial_message_sequence.0.content", f".{field}")
    assert http.get("/v1/agents", params={"name": name}).json() == []


@pytest.mark.parametrize(("source", "sent"), GOOD)
def test_a_good_picture_in_a_message_is_taken(
    http: httpx.Client, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, source: Any, sent: str
) -> None:
    agent = new_agent().id
    content: Any = parts(source)
    response = client.agents.messages.create(agent, messages=[{"role": "user", "content": content}])
    assert response.messages[0].content == "what is it?"  # type: ignore[union-attr]
    assert shown(scripted_model) == [sent]
    said = next(m for m in kept(http, agent) if m["message_type"] == "user_message")
    assert said["content"] == content


@pytest.mark.parametrize(("source", "sent"), GOOD)
def test_a_good_picture_in_a_stored_message_is_taken(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, source: Any, sent: str
) -> None:
    agent = new_agent(initial_message_sequence=[{"role": "user", "content": "as it was"}]).id
    path = f"/v1/agents/{agent}/messages/{kept(http, agent)[-1]['id']}"
    answer = http.patch(path, json={"message_type": "user_message", "content": parts(source)})
    assert answer.status_code == 200, answer.text
    assert answer.json()["content"] == parts(source)
    http.post(f"/v1/agents/{agent}/messages", json={"input": "ECHO well?"}).raise_for_status()
    assert shown(scripted_model) == [sent]


@pytest.mark.parametrize(("source", "sent"), GOOD)
def test_a_good_picture_in_the_first_messages_is_taken(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, source: Any, sent: str
) -> None:
    agent = new_agent(initial_message_sequence=[{"role": "user", "content": parts(source)}]).id
    assert json.dumps(source["type"]) in json.dumps(kept(http, agent)[-1]["content"])
    http.post(f"/v1/agents/{agent}/messages", json={"input": "ECHO well?"}).raise_for_status()
    assert shown(scripted_model) == [sent]
