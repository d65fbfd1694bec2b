"""Runs and steps in a browser: what was asked, what came of it, what the model was sent, what it changed."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import ViewportSize, expect

from support.clients import plain_client
from support.fixtures import NewAgent, NewBlock, StartServer
from support.scripted_model import ScriptedModel
from web.conftest import OpenPage
from web.test_moot_page import QUICK, call, write

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

NARROW = ViewportSize(width=400, height=800)

LINES_OF_FIGURES = """() => [...document.querySelectorAll(".steps tbody tr")].map((row) => {
  const tops = [...row.querySelectorAll(".figure")].flatMap((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return [...range.getClientRects()].map((line) => Math.round(line.top));
  });
  return new Set(tops).size;
})"""
"""On how many lines the figures of each step stand."""


def test_a_run_that_failed_says_what_was_asked_why_and_what_to_do(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent, other = new_agent(), new_agent()
    scripted_model.fail_next(401)
    assert http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO where is Ada?"}).status_code == 502
    http.post(f"/v1/agents/{other.id}/messages", json={"input": "ECHO hello"}).raise_for_status()
    page = open_page("/runs?status=failed")
    page.get_by_label("Of which agent").select_option(agent.name)
    page.get_by_role("button", name="Filter").click()
    row = page.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("ECHO where is Ada?")
    expect(row.locator(".failed-words")).to_contain_text("did not accept the key")
    expect(row.locator(".remedy")).to_contain_text("Set the provider's key")
    row.locator("a.prompt").click()
    expect(page.locator("#about-run .steps .tag")).to_have_text("failed")
    page.get_by_role("link", name="Step 1").click()
    expect(page.locator(".failed-words")).to_contain_text("did not accept the key")
    expect(page.locator("#sent")).to_contain_text("ECHO where is Ada?")
    page.go_back()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".saying.agent .text")).to_have_text("where is Ada?")
    page.goto(f"/runs?agent={agent.id}")
    again = page.locator("tbody tr").first
    expect(again.locator(".prompt")).to_have_text("ECHO where is Ada?")
    expect(again.locator(".outcome")).to_have_text("where is Ada?")
    page.goto(f"/runs?agent={agent.id}&day=1999-01-01")
    expect(page.get_by_text("No run is like that.")).to_be_visible()


def test_a_run_says_who_asked_what_it_cost_and_which_blocks_it_changed(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="")
    agent = new_agent(block_ids=[block.id])
    asking = new_agent(tools=["send_message_to_agent_and_wait_for_reply"])
    script = call("memory_insert", label=block.label, new_string="a heron").replace('"', '\\"')
    words = call("send_message_to_agent_and_wait_for_reply", message=script, other_agent_id=agent.id)
    http.post(f"/v1/agents/{asking.id}/messages", json={"input": words}).raise_for_status()
    page = open_page(f"/runs?agent={agent.id}")
    row = page.locator("tbody tr")
    expect(row).to_contain_text(asking.name)
    expect(row).to_contain_text("$")
    row.locator("a.prompt").click()
    facts = page.locator(".facts")
    expect(facts).to_contain_text(asking.name)
    expect(facts).to_contain_text("< $0.0001")
    expect(page.locator(".edits li")).to_have_text(re.compile(f"{block.label}.*v2.*\\+1 line.*a heron"))
    page.set_viewport_size(NARROW)
    assert page.evaluate(LINES_OF_FIGURES) == [1, 1], "a figure is read in one line"


def test_a_run_leads_to_the_conversation_that_it_belongs_to(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    begun = http.post("/v1/conversations", json={"summary": "about herons"}, params={"agent_id": agent.id}).json()
    told = {"messages": [{"role": "user", "content": "ECHO a heron"}], "streaming": False}
    http.post(f"/v1/conversations/{begun['id']}/messages", json=told).raise_for_status()
    page = open_page(f"/runs?agent={agent.id}")
    page.locator("a.prompt").click()
    page.get_by_role("link", name="about herons").click()
    expect(page).to_have_url(re.compile(f"/agents/{agent.id}\\?conversation={begun['id']}$"))
    expect(page.locator(".saying.agent .text")).to_have_text("a heron")


def test_a_step_is_seen_whole_from_its_message_and_compared(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="before")
    agent = new_agent(block_ids=[block.id], system="You keep notes.")
    write(http, agent.id, block.label, "a heron")
    page = open_page(f"/agents/{agent.id}")
    page.locator(".saying.agent .step-link").click()
    expect(page.get_by_role("heading", name=re.compile("^Step 2 of 2"))).to_be_visible()
    seen = page.locator("#seen")
    expect(seen.get_by_role("link", name=block.label)).to_have_attribute("href", f"/blocks/{block.id}?version=2")
    expect(seen.locator("pre")).to_have_text("before\na heron")

    page.get_by_role("link", name="Step 1").click()
    expect(page).to_have_url(re.compile(r"/runs/run-[^/]+/steps/1$"))
    expect(seen.locator("pre")).to_have_text("before")
    page.locator("#instructions summary").click()
    expect(page.locator("#instructions pre")).to_have_text("You keep notes.")
    page.locator("#sent summary").click()
    expect(page.locator("#sent li", has_text="user")).to_contain_text("CALL memory_insert")
    page.locator("#offered summary").click()
    expect(page.locator("#offered")).to_contain_text("memory_insert(label, new_string, insert_line)")
    page.locator("#request-json summary").click()
    expect(page.locator("#request-json pre")).to_contain_text('"model": "gpt-4o-mini"')
    expect(page.locator(".answered .tool-name")).to_have_text("memory_insert")
    expect(page.locator(".edits li")).to_have_text(re.compile(f"{block.label}.*v2.*a heron"))

    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".compared tbody")).to_contain_text(f"{block.label} v1")
    expect(page.locator(".compared .added", has_text="memory_insert")).to_be_visible()

    http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO and again"}).raise_for_status()
    page.goto(f"/agents/{agent.id}")
    page.locator(".saying.agent .step-link").last.click()
    page.get_by_label("With step").select_option("with the run before, its last step")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Step 2 of the run before and step 1")).to_be_visible()
    expect(page.locator(".compared .added", has_text="ECHO and again")).to_be_visible()


def test_steps_are_compared_with_those_that_came_to_their_end(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()

    def pages_of_steps(said: str, status: int = 200) -> list[str]:
        assert http.post(f"/v1/agents/{agent.id}/messages", json={"input": said}).status_code == status
        (run,) = http.get("/v1/runs", params={"agent_id": agent.id, "limit": 1, "order": "desc"}).json()
        numbers = range(1, len(http.get(f"/v1/runs/{run['id']}/steps").json()) + 1)
        return [http.get(f"/runs/{run['id']}/steps/{number}").text for number in numbers]

    before, compared = "with the run before, its last step", 'id="compare"'
    (first,) = pages_of_steps("ECHO one")
    assert compared not in first
    (second,) = pages_of_steps("ECHO two")
    assert before in second
    scripted_model.fail_next(400)
    (failed,) = pages_of_steps("ECHO three", 502)
    assert compared not in failed
    (third,) = pages_of_steps("ECHO four")
    assert compared not in third


def test_where_nothing_is_kept_the_step_says_so(
    open_page: OpenPage, start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server(env={"FOLKMOOT_TRACE": "off", **QUICK})
    with plain_client(server.url) as http:
        agent = http.post("/v1/agents", json={"model": "openai/gpt-4o-mini"}).json()["id"]
        turn = http.post(f"/v1/agents/{agent}/messages", json={"input": "ECHO hello"}).json()
    page = open_page(f"/steps/{turn['messages'][0]['step_id']}", url=server.url)
    expect(page.get_by_text("the server was started with FOLKMOOT_TRACE=off")).to_be_visible()
    expect(page.locator(".answered")).to_contain_text("hello")
    assert scripted_model.requests
