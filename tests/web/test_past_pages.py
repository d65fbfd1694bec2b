"""A block's past, search and activity in a browser: a line's why, two versions, how far one has reached."""

from __future__ import annotations

import re
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import expect

from folkmoot.web.finding import SHOWN
from support.fixtures import NewAgent, NewBlock
from web.conftest import OpenPage, is_live
from web.test_agent_page import ask_first
from web.test_block_page import edit
from web.test_moot_page import call, write

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def test_a_line_says_who_wrote_it_in_which_run_and_after_which_words(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block, other = new_block(value="first"), new_block(value="")
    agent = new_agent(block_ids=[block.id, other.id])
    pair = ", ".join(
        f'["memory_insert", {{"label": "{label}", "new_string": "{text}"}}]'
        for label, text in ((block.label, "a heron"), (other.label, "a kite"))
    )
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": f"CALLS [{pair}]"}).raise_for_status()
    page = open_page(f"/blocks/{block.id}")
    is_live(page)
    page.locator(".line-of-text").last.click()
    why = page.get_by_role("dialog", name="Why this line")
    expect(why.get_by_role("heading", name=f"Line 2 of {block.label}")).to_be_visible()
    expect(why).to_contain_text(f"{agent.name} +1 line in version 2")
    expect(why.locator("q").first).to_contain_text("CALLS [[")
    expect(why.locator(".edits li")).to_have_text(re.compile(f"{other.label}.*v2.*a kite"))
    page.keyboard.press("Escape")
    expect(why).to_be_hidden()

    page.locator(".why").last.focus()  # and by keyboard, line by line
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("link", name=re.compile("^Line 1, API"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(why).to_contain_text("came through the API")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    why.get_by_role("link", name="The step").click()
    expect(page.get_by_role("heading", name=re.compile("^Step 1 of 2"))).to_be_visible()


def test_any_two_versions_stand_side_by_side_word_by_word(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock
) -> None:
    lines = [f"line {number}" for number in range(60)]
    block = new_block(value="\n".join(lines))
    edit(http, block.id, "\n".join(["line zero", *lines[1:]]))
    edit(http, block.id, "\n".join(["line zero", *lines[1:50], "line fifty", *lines[51:], "more"]))
    page = open_page(f"/blocks/{block.id}/history")
    expect(page.locator(".timeline a")).to_have_count(3)
    expect(page.locator("tbody tr").first).to_contain_text("+2 −1 lines")
    page.get_by_label("Compare from version 1").check()
    page.get_by_role("button", name="Compare the two").click()
    expect(page.locator(".changes .hint")).to_have_text("3 changes")
    expect(page.locator("#change-1 .was mark")).to_have_text("0")
    expect(page.locator("#change-1 .is mark")).to_have_text("zero")
    expect(page.get_by_text("lines in both").first).to_be_visible()
    page.wait_for_load_state()  # what a key does is done by a script
    page.keyboard.press("n")
    page.keyboard.press("n")
    expect(page.locator("#change-2")).to_be_focused()
    expect(page.locator("#change-2")).to_be_in_viewport()
    page.get_by_label("Later version").fill("2")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".changes .hint")).to_have_text("1 change")


def test_how_far_a_bad_version_has_reached_stands_beside_the_button_that_takes_it_back(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block, notes = new_block(value="the sky is blue"), new_block(value="")
    reader, early = new_agent(block_ids=[block.id, notes.id]), new_agent(block_ids=[block.id])
    http.post(f"/v1/agents/{early.id}/messages", json={"input": "ECHO before"}).raise_for_status()
    edit(http, block.id, "the sky is green")
    write(http, reader.id, notes.label, "green, it seems")
    page = open_page(f"/blocks/{block.id}?version=2")
    page.get_by_role("link", name="How far v2 has reached").click()
    rows = page.locator(".reached tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(reader.name)
    expect(rows.locator(".edits li")).to_have_text(re.compile(f"{notes.label}.*green, it seems"))
    page.get_by_role("button", name="Revert to v1").click()
    expect(page.locator(".line-of-text")).to_have_text(["the sky is blue"])
    assert http.get(f"/v1/blocks/{block.id}").json()["version"] == 3


def test_one_field_finds_everything_in_its_context(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    word = f"zq{uuid4().hex[:10]}"
    block = new_block(value=f"On Mondays {word} comes by")
    agent, other = new_agent(name=f"finder {word}", block_ids=[block.id]), new_agent()
    for each in (agent, other):
        http.post(f"/v1/agents/{each.id}/messages", json={"input": f"ECHO have you seen {word} today?"})
    archive = http.post("/v1/archives", json={"name": "library"}).json()["id"]
    http.post(f"/v1/archives/{archive}/passages", json={"text": f"{word} was seen at the lake"}).raise_for_status()
    page = open_page("/tools")
    page.keyboard.press("/")
    page.keyboard.type(word)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile(f"hits for “{word}”"))).to_be_visible()
    for kind, words in (("Blocks", "On Mondays"), ("Passages", "at the lake"), ("Agents", "finder")):
        region = page.get_by_role("region", name=kind)
        expect(region).to_contain_text(words)
    messages = page.get_by_role("region", name="Messages")
    expect(messages.locator("mark", has_text=word)).to_have_count(4)
    page.get_by_label("By whom").select_option(other.name)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(messages.locator("mark", has_text=word)).to_have_count(2)
    messages.get_by_role("link", name="answered").click()
    expect(page).to_have_url(re.compile("/runs/run-"))
    page.goto(f"/search?q={block.id}")
    expect(page.get_by_role("heading", name=block.label)).to_be_visible()


def test_activity_tells_what_was_taken_and_deleted(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block, gone = new_block(value="first"), new_block(value="gone")
    agent, other = new_agent(block_ids=[block.id]), new_agent(block_ids=[block.id])
    page = open_page("/activity")
    is_live(page)
    http.patch(f"/v1/agents/{agent.id}/core-memory/blocks/detach/{block.id}").raise_for_status()
    taken = page.locator(".happened .attachment", has_text=f"took ▣{block.label} from {agent.name}")
    expect(taken.get_by_role("link", name=block.label)).to_have_attribute("href", f"/blocks/{block.id}")
    http.delete(f"/v1/blocks/{gone.id}").raise_for_status()
    expect(page.locator(".happened .deletion", has_text=gone.label)).to_contain_text("with its history; nothing")
    write(http, other.id, block.label, "a last word")
    http.delete(f"/v1/agents/{other.id}").raise_for_status()
    page.get_by_role("link", name="deletions").click()
    expect(page.locator(".happened .attachment")).to_have_count(0)
    page.locator(".happened .deletion").get_by_role("link", name=other.name).click()
    expect(page.locator(".happened .deletion")).to_contain_text("API (local) deleted the agent")
    expect(page.locator(".happened .edit")).to_contain_text("a last word")


def test_activity_shows_what_happens_as_it_happens(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block = new_block(value="")
    agent = new_agent(block_ids=[block.id], tools=["memory_insert", "memory_replace"])
    page = open_page(f"/activity?agent={agent.id}")
    is_live(page)
    entries = page.locator(".happened li")
    expect(entries).to_have_text([re.compile(f"{agent.name} was given ▣{block.label}")])
    write(http, agent.id, block.label, "a heron")
    expect(entries.filter(has_text="+1 line")).to_contain_text("a heron")
    expect(entries.filter(has_text="was asked")).to_have_count(1)
    ask_first(http, agent.id, "memory_replace")
    script = call("memory_replace", label=block.label, old_string="a heron", new_string="a kite")
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": script}).raise_for_status()
    expect(entries.filter(has_text="waits for you to decide")).to_have_count(1)
    page.get_by_role("link", name="edits", exact=True).click()
    expect(entries).to_have_count(1)
    entries.get_by_role("link", name=block.label).click()
    expect(page).to_have_url(re.compile(r"/blocks/block-[^/]+\?version=2$"))


def test_a_search_that_shows_not_all_hits_says_so(http: httpx.Client) -> None:
    word = f"zq{uuid4().hex[:10]}"
    archive = http.post("/v1/archives", json={"name": "library"}).json()["id"]
    for number in range(SHOWN):
        http.post(f"/v1/archives/{archive}/passages", json={"text": f"{word} {number}"}).raise_for_status()
    assert f"<h1>{SHOWN}+ hits for" in http.get("/search", params={"q": word}).text
