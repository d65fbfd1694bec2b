"""The pages as they are served: what protects them, what they escape, what they say when something is wrong."""

from __future__ import annotations

import asyncio
import html
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from folkmoot.application import create_app
from folkmoot.memory.blocks import Block
from folkmoot.settings import Settings
from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, NewBlock, StartServer
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


@pytest.mark.parametrize("shift", range(3))
def test_a_long_text_of_a_form_arrives_as_it_was_written(http: httpx.Client, shift: int) -> None:
    """It is read in pieces, wherever an escape stands in one."""
    value = "x" * shift + "ä +&=%41\n" * 9000
    made = http.post("/blocks/new", data={"label": "a", "value": value, "limit": "200000"})
    assert made.status_code == 303
    assert http.get(f"/v1{made.headers['location']}").json()["value"] == value


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


def edit(http: httpx.Client, agent_id: str, conversation: str, message_id: str) -> httpx.Response:
    """Say a message again, differently."""
    form = {"conversation": conversation, "edited": message_id, "message": "ECHO rather this"}
    return http.post(f"/agents/{agent_id}/edit", data=form, headers={"origin": str(http.base_url).rstrip("/")})


def test_no_fork_stays_of_an_edit_whose_turn_cannot_begin(http: httpx.Client, new_agent: NewAgent) -> None:
    """It would begin behind a call that waits for approval."""
    rule = {"type": "requires_approval", "tool_name": "memory_insert"}
    agent = new_agent(tools=["memory_insert"], tool_rules=[rule]).id
    begun = http.post("/v1/conversations", params={"agent_id": agent}, json={}).json()["id"]
    asked = {"input": 'CALL memory_insert {"label": "a", "new_string": "b"}', "streaming": False}
    assert http.post(f"/v1/conversations/{begun}/messages", json=asked).json()["stop_reason"]["stop_reason"] == (
        "requires_approval"
    )
    added = {"items": [{"role": "user", "content": "And pears."}]}
    http.post(f"/openai/v1/conversations/{begun}/items", json=added).raise_for_status()
    newest = http.get(f"/v1/conversations/{begun}/messages", params={"limit": 1}).json()[0]
    assert newest["content"] == "And pears."
    refused = edit(http, agent, begun, newest["id"])
    assert (refused.status_code, "ECHO rather this" in refused.text) == (409, True), refused.text
    listed = http.get("/v1/conversations", params={"agent_id": agent}).json()
    assert [each["id"] for each in listed] == [begun]


def test_what_nobody_said_is_not_said_again_differently(http: httpx.Client, new_agent: NewAgent) -> None:
    """A message of a tool has no content."""
    agent = new_agent().id
    answer = http.post(f"/v1/agents/{agent}/messages", json={"input": "CALL conversation_search {}"}).json()
    for each in answer["messages"]:
        refused = edit(http, agent, agent, each["id"])
        assert (refused.status_code, "is part of a reply" in refused.text) == (400, True), each["message_type"]
    assert {each["message_type"] for each in answer["messages"]} >= {"tool_call_message", "tool_return_message"}


def test_lists_of_blocks_read_no_texts(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_block: NewBlock
) -> None:
    """A thousand blocks of a megabyte have a gigabyte of text."""

    def refuse(_: object) -> Block:
        raise AssertionError("a block was read whole")

    async def ask() -> None:
        application = create_app(Settings(database=database_url, data=tmp_path, allowed_hosts=["moot"]), {})
        async with application.router.lifespan_context(application):
            transport = httpx.ASGITransport(application)
            async with httpx.AsyncClient(transport=transport, base_url="http://moot") as http:
                made = {"label": "words", "value": "h\u00e9ron \U0001f426", "tags": ["b", "a"]}
                (await http.post("/v1/blocks", json=made)).raise_for_status()
                monkeypatch.setattr(Block, "from_row", refuse)
                for path, shown in (("/", '<span class="size">7</span>'), ("/blocks", '<td class="figure">7</td>'),
                                    ("/agents/new", "7 / "), ("/blocks?format=csv", ",7,")):  # fmt: skip
                    answer = await http.get(path)
                    assert (answer.status_code, shown in answer.text) == (200, True), (path, answer.text)

    with ThreadPoolExecutor(1) as apart:  # the browser of other tests has this thread's event loop
        apart.submit(asyncio.run, ask()).result()


def test_blocks_of_one_label_are_told_apart_by_who_has_them(start_server: StartServer) -> None:
    with plain_client(start_server().url) as http:

        def own(name: str) -> dict[str, str]:
            made = {"name": name, "model": MODEL, "memory_blocks": [{"label": "persona", "value": ""}]}
            agent: dict[str, Any] = http.post("/v1/agents", json=made).raise_for_status().json()
            return {"agent": agent["id"], "block": agent["blocks"][0]["id"]}

        ada, _, reader = own("Ada"), own("Bob"), own("Cy")
        held = f"/v1/agents/{reader['agent']}/core-memory/blocks"
        http.patch(f"{held}/detach/{reader['block']}").raise_for_status()
        http.patch(f"{held}/attach/{ada['block']}").raise_for_status()
        http.post("/v1/blocks", json={"label": "organization", "value": ""}).raise_for_status()
        nobodys = f"…{reader['block'][-6:]}"
        for path, shown in (
            ("/blocks", "▣ persona {}"),
            ("/agents/new", "▣ persona {} 0 / 100,000"),
            ("/members", "▣ persona {}no access"),
            (f"/agents/{reader['agent']}", "persona · {}"),
        ):
            words = re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]*>", "", http.get(path).raise_for_status().text)))
            expected = ("Bob", nobodys) if path.startswith("/agents/agent") else ("Ada and 1 more", "Bob", nobodys)
            missing = [each for each in expected if shown.format(each) not in words]
            assert missing == [], (path, words)
            assert "organization" in words
            assert "organization Ada" not in words
        labelled = [f'aria-label="Access to persona of {each}"' for each in ("Ada and 1 more", "Bob", nobodys)]
        assert all(label in http.get("/members").text for label in labelled)


def test_who_has_a_key_is_called_by_its_name(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "the-key"})
    with httpx.Client(base_url=server.url, timeout=60) as http:
        http.headers["authorization"] = "Bearer the-key"
        ada = http.post("/v1/keys", json={"name": "ada"}).json()["key"]
        block = http.post("/v1/blocks", json={"label": "notes", "value": "a"}).json()["id"]
        assert "API (admin)" in http.get(f"/blocks/{block}").text
        http.post("/login", data={"key": ada}, headers={"origin": server.url})
        del http.headers["authorization"]
        written = {"value": "b", "version": "1"}
        sent = http.post(f"/blocks/{block}", data=written, headers={"origin": server.url})
        assert sent.status_code == 303, sent.text
        shown = http.get(f"/blocks/{block}/history").text
        assert ("API (ada)" in shown, ">ada<" in shown.replace("</svg>", ">")) == (False, True)
