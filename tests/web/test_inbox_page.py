"""The inbox in a browser: what waits is counted everywhere, shown as what it would do, and decided."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import expect

from support.clients import plain_client
from support.fixtures import NewAgent, NewBlock, StartServer
from web.conftest import OpenPage, is_live
from web.test_agent_page import ask_first
from web.test_moot_page import QUICK, call, write

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

KEY = "the-admins-key"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_an_edit_that_waits_is_shown_as_a_diff_and_approved_with_the_like(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block = new_block(value="first\nsecond\nthird")
    agent = new_agent(block_ids=[block.id], tools=["memory_replace", "memory_insert"])
    ask_first(http, agent.id, "memory_replace")
    page = open_page("/blocks")
    is_live(page)
    script = call("memory_replace", label=block.label, old_string="second", new_string="2nd")
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": script}).raise_for_status()
    expect(page.locator("#inbox-count")).to_have_text(re.compile(r"^\d+$"))
    page.get_by_role("link", name=re.compile("^Inbox")).click()

    card = page.get_by_role("article", name=f"{agent.name} asks")
    expect(card).to_be_visible()
    is_live(page)
    diff = card.get_by_role("list", name=f"What it would change in {block.label}")
    expect(diff.locator(".gone")).to_have_text("second")
    expect(diff.locator(".added")).to_have_text("2nd")
    write(http, new_agent(block_ids=[block.id]).id, block.label, "fourth")
    expect(diff).to_contain_text("fourth")  # what it would do to the block as it is now

    card.get_by_role("button", name="Approve the like from now on").click()
    expect(card).to_have_count(0)
    row = page.get_by_role("row", name=re.compile(f"{agent.name}.*memory_replace with label “{block.label}”"))
    expect(row).to_be_visible()
    page.wait_for_function(
        "id => fetch(id).then(a => a.json()).then(b => b.version === 3)", arg=f"/v1/blocks/{block.id}"
    )

    script = call("memory_replace", label=block.label, old_string="2nd", new_string="II")
    answer = http.post(f"/v1/agents/{agent.id}/messages", json={"input": script}).json()
    assert answer["stop_reason"]["stop_reason"] == "end_turn"
    row.get_by_role("button", name=re.compile("^Revoke")).click()
    expect(row).to_have_count(0)


def test_a_call_is_denied_with_a_reason_that_the_agent_reads(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block = new_block(value="")
    agent = new_agent(block_ids=[block.id])
    ask_first(http, agent.id, "memory_insert")
    pair = ", ".join(f'["memory_insert", {{"label": "{block.label}", "new_string": "{one}"}}]' for one in ("a", "b"))
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": f"CALLS [{pair}]"}).raise_for_status()
    page = open_page("/inbox", java_script_enabled=False)
    card = page.get_by_role("article", name=f"{agent.name} asks")
    card.get_by_role("button", name="Send 2 decisions").click()
    expect(card.get_by_role("alert")).to_contain_text("nothing is said of memory_insert")
    card.get_by_label("Approve", exact=True).first.check()
    card.get_by_label("Deny", exact=True).last.check()
    card.get_by_label("Reason").last.fill("one is enough")
    card.get_by_role("button", name="Send 2 decisions").click()
    expect(card).to_have_count(0)
    page.goto(f"/agents/{agent.id}")
    for _ in range(100):
        if page.locator(".saying.tool.failed").count():
            break
        page.reload()
    expect(page.locator(".saying.tool.failed .result")).to_contain_text("one is enough")
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "a"


def test_enter_behind_a_reason_denies(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block = new_block(value="")
    agent = new_agent(block_ids=[block.id])
    ask_first(http, agent.id, "memory_insert")
    script = call("memory_insert", label=block.label, new_string="a heron")
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": script}).raise_for_status()
    page = open_page("/inbox")
    is_live(page)
    card = page.get_by_role("article", name=f"{agent.name} asks")
    card.get_by_label("Reason").fill("not here")
    write(http, new_agent(block_ids=[block.id]).id, block.label, "by another")  # which renders the list anew
    expect(card.get_by_label("Reason")).to_have_value("not here")
    card.get_by_label("Reason").press("Enter")
    expect(card).to_have_count(0)
    page.goto(f"/agents/{agent.id}")
    expect(page.locator(".saying.tool.failed .tool-state")).to_contain_text("failed")
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "by another"


def test_the_map_and_the_list_tell_who_waits_in_whichever_conversation(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block = new_block(value="")
    agent = new_agent(block_ids=[block.id])
    ask_first(http, agent.id, "memory_insert")
    script = call("memory_insert", label=block.label, new_string="a heron")
    waiting = http.post("/v1/conversations", json={}, params={"agent_id": agent.id}).json()["id"]
    told = {"messages": [{"role": "user", "content": script}], "streaming": False}
    http.post(f"/v1/conversations/{waiting}/messages", json=told).raise_for_status()
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO something else"}).raise_for_status()
    page = open_page(f"/?q={block.label}")
    is_live(page)
    expect(page.locator(f"[id='{agent.id}'] .state")).to_have_text("waits for you")
    page.goto(f"/agents?q={agent.name}")
    page.get_by_role("row", name=agent.name).get_by_role("link", name="waits for you").click()
    page.get_by_role("article", name=f"{agent.name} asks").get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_role("article", name=f"{agent.name} asks")).to_have_count(0)
    page.goto(f"/agents?q={agent.name}")
    expect(page.get_by_role("row", name=agent.name)).not_to_contain_text("waits for you")


def test_a_reader_sees_what_waits_and_decides_nothing(open_page: OpenPage, start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": KEY, **QUICK})
    with plain_client(server.url, headers=bearer(KEY)) as admin:
        block = admin.post("/v1/blocks", json={"label": "notes", "value": ""}).json()
        made = {"name": "asker", "model": "offline/notetaker", "block_ids": [block["id"]]}
        admin.post("/v1/agents", json=made).raise_for_status()
        reader = admin.post("/v1/keys", json={"name": "reader", "role": "reader"}).json()["key"]
    page = open_page("/inbox", url=server.url, extra_http_headers=bearer(reader))
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    with plain_client(server.url, headers=bearer(reader)) as http:
        assert http.post("/inbox/decide", data={}).status_code == 403
        assert http.post(f"/v1/agents/{block['id']}/standing-approvals", json={}).status_code == 403
