"""The pages as they are served: what protects them, what they escape, what they say when something is wrong."""

from __future__ import annotations

import html
import re
from uuid import uuid4

import httpx
import pytest

from support.fixtures import NewAgent, NewBlock
from support.scripted_model import ScriptedModel

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

NASTY = '<img src=x onerror="alert(1)"><script>alert(2)</script>"\'></textarea></script>{{7*7}}'


def test_every_page_carries_a_strict_policy(http: httpx.Client, new_block: NewBlock, new_agent: NewAgent) -> None:
    block, agent = new_block(), new_agent()
    for path in ("/", "/blocks", "/blocks/new", f"/blocks/{block.id}", f"/blocks/{block.id}?version=1",
                 "/agents", "/agents/new", f"/agents/{agent.id}", "/tools", "/tools/new", "/runs", "/inbox",
                 "/activity", "/search?q=a", f"/blocks/{block.id}/compare", "/blocks/nothing"):  # fmt: skip
        response = http.get(path)
        policy = response.headers["content-security-policy"]
        assert "default-src 'self'" in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
        assert response.headers["cache-control"] == "no-store"


def test_no_page_needs_anything_inline_or_from_elsewhere(
    http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    for path in ("/", "/blocks/new", f"/blocks/{new_block().id}", "/agents/new", f"/agents/{new_agent().id}", "/runs"):
        text = http.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
        assert not re.search(r"<[^>]*\s(style|on\w+)=", text), path
        addresses = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]*)"', text)
        assert addresses
        assert all(address.startswith("/static/") for address in addresses), path


def test_static_files_are_kept_by_their_full_address_only(http: httpx.Client) -> None:
    found = re.search(r'href="(/static/style\.css\?v=\w+)"', http.get("/blocks").text)
    assert found
    full = http.get(found[1])
    assert "immutable" in full.headers["cache-control"]
    assert full.headers["content-type"].startswith("text/css")
    assert http.get("/static/dom.js").headers["cache-control"] == "no-cache"
    assert "default-src 'self'" in full.headers["content-security-policy"]


def test_what_anybody_wrote_is_text_and_never_html(
    http: httpx.Client, new_block: NewBlock, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    label = f"nasty_{uuid4().hex[:8]}"
    block = new_block(label=label + NASTY, value=NASTY, description=NASTY, tags=[NASTY])
    agent = new_agent(name=f"{uuid4().hex[:8]}{NASTY}"[:300], tags=[NASTY], block_ids=[block.id], system=NASTY)
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": f"ECHO {NASTY}"}).raise_for_status()
    http.patch(f"/v1/blocks/{block.id}", json={"value": f"{NASTY}\nsecond {NASTY}"}).raise_for_status()
    run = http.get("/v1/runs", params={"agent_id": agent.id}).json()[0]["id"]
    for path in ("/", f"/?q={label}", "/blocks", f"/blocks/{block.id}", f"/blocks/{block.id}?version=2", "/agents",
                 f"/agents/{agent.id}", f"/runs/{run}", f"/runs/{run}/steps/1", "/runs", "/agents/new", "/activity",
                 f"/search?q={label}", f"/search?q={NASTY}", f"/blocks/{block.id}/compare",
                 f"/blocks/{block.id}/history", f"/blocks/{block.id}/why?line=1",
                 f"/blocks/{block.id}/reach", f"/blocks/{block.id}/settings",
                 f"/agents/{agent.id}/settings"):  # fmt: skip
        text = http.get(path).text
        assert "<img" not in text, path
        assert "<script>alert" not in text, path
        assert "</textarea></script>" not in text, path
    assert html.escape("<img src=x", quote=False) in http.get(f"/blocks/{block.id}").text
    assert "{{7*7}}" in http.get(f"/blocks/{block.id}").text
    assert scripted_model.requests


def test_an_error_is_a_page_that_says_what_to_do(http: httpx.Client) -> None:
    for path in ("/blocks/block-00000000-0000-4000-8000-000000000000", "/blocks/x", "/agents/x", "/runs/x"):
        response = http.get(path)
        assert response.status_code == 404, path
        assert response.headers["content-type"].startswith("text/html")
        assert "Go to the moot" in response.text
    assert "has no version" in http.get(f"/blocks/{_block(http)}?version=99").text


def test_a_form_says_what_is_wrong_at_the_field(http: httpx.Client) -> None:
    response = http.post("/blocks/new", data={"label": "", "value": "kept", "limit": "few"})
    assert response.status_code == 422
    assert 'aria-describedby="problem-label"' in response.text
    assert "Fill this in." in response.text
    assert "Write a whole number" in response.text
    assert ">kept</textarea>" in response.text
    response = http.post("/blocks/new", data={"label": "a", "value": "too long", "limit": "3"})
    assert 'id="problem-value"' in response.text
    assert "5 more than" in response.text
    response = http.post("/agents/new", data={"name": "a", "model": "nobody/nothing"})
    assert response.status_code == 422
    assert 'id="problem-model"' in response.text


def test_the_forms_make_what_they_say(http: httpx.Client) -> None:
    label = f"made_{uuid4().hex[:8]}"
    fields = {"label": label, "value": "one\r\ntwo", "limit": "4,000", "tags": "a, b", "read_only": "yes"}
    response = http.post("/blocks/new", data=fields)
    assert response.status_code == 303
    block = http.get(f"/v1{response.headers['location']}").json()
    assert (block["label"], block["value"], block["limit"]) == (label, "one\ntwo", 4000)
    assert (block["read_only"], block["tags"]) == (True, ["a", "b"])
    fields = {"name": label, "tools": ["memory_insert"], "blocks": [block["id"]], "tags": "c", "sleeptime": "on"}
    response = http.post("/agents/new", data=fields)
    agent = http.get(f"/v1{response.headers['location']}").json()
    assert [tool["name"] for tool in agent["tools"]] == ["memory_insert"]
    assert [held["id"] for held in agent["blocks"]] == [block["id"]]
    assert agent["managed_group"]["manager_type"] == "sleeptime"


def test_pages_are_no_part_of_the_api(http: httpx.Client) -> None:
    assert all(path.startswith(("/v1/", "/openai/v1/")) for path in http.get("/openapi.json").json()["paths"])


def _block(http: httpx.Client) -> str:
    identifier: str = http.post("/v1/blocks", json={"label": "one", "value": ""}).json()["id"]
    return identifier
