"""An agent's page and its runs in a browser: a streamed chat, an approval, a stop, memory and settings."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from support.fixtures import NewAgent, NewBlock, StartServer
from support.scripted_model import ScriptedModel
from support.server import ServerProcess
from web.conftest import OpenPage, is_bound, is_live
from web.test_moot_page import QUICK, call, write

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def say(page: Page, words: str) -> None:
    """Send a message as a person does."""
    is_bound(page)
    area = page.locator("#message")
    area.fill(words)
    expect(page.locator("#send")).to_be_enabled()  # the turn before is over
    area.press("Enter")


def ask_first(http: httpx.Client, agent_id: str, tool: str) -> None:
    """Let calls of a tool wait for approval."""
    path = f"/v1/agents/{agent_id}/tools/approval/{tool}"
    http.patch(path, json={"requires_approval": True}).raise_for_status()


def test_a_reply_is_shown_while_it_is_written(
    open_page: OpenPage, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}")
    with scripted_model.hold(after=3) as held:
        say(page, "ECHO <b>one</b> two three four")
        expect(page.locator(".saying.user .text")).to_have_text("ECHO <b>one</b> two three four")
        expect(page.locator(".saying.agent .text")).to_contain_text("<b>one</b>")
        expect(page.locator(".saying.agent .text")).not_to_contain_text("four")
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        expect(page.locator("#send")).to_be_disabled()
        held.release()
    expect(page.locator(".saying.agent .text")).to_have_text("<b>one</b> two three four")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.locator("#message")).to_be_focused()
    expect(page.locator("#runs li")).to_contain_text("1 step")
    page.reload()
    expect(page.locator(".saying.agent .text")).to_have_text("<b>one</b> two three four")


def test_a_tool_call_is_a_card_and_the_memory_beside_it_is_live(
    open_page: OpenPage, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="first")
    agent = new_agent(block_ids=[block.id])
    page = open_page(f"/agents/{agent.id}")
    is_live(page)
    say(page, call("memory_insert", label=block.label, new_string="a new line"))
    card = page.locator(".saying.tool")
    expect(card).to_have_class(re.compile(r"\bok\b"))
    expect(card.locator("summary")).to_contain_text(f"memory_insert{block.label} · a new line")
    expect(page.locator(".memory-line")).to_have_text(["first", "a new line"])
    expect(page.locator(".memory-block .version")).to_have_text("2")
    card.locator("summary").click()
    expect(card.locator(".arguments")).to_contain_text('"new_string": "a new line"')
    expect(card.locator(".result")).to_be_visible()
    expect(page.locator(".saying.agent .text")).to_have_text("done")


def test_an_approval_waits_for_the_person(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="first")
    agent = new_agent(block_ids=[block.id])
    ask_first(http, agent.id, "memory_insert")
    page = open_page(f"/agents/{agent.id}")
    expect(page.get_by_role("button", name="memory_insert asks first")).to_have_attribute("aria-pressed", "true")
    script = call("memory_insert", label=block.label, new_string="approved")
    say(page, script)
    card = page.locator(".saying.tool")
    expect(card).to_have_class(re.compile(r"\bwaits\b"))
    assert http.get(f"/v1/blocks/{block.id}").json()["version"] == 1
    page.reload()
    expect(card.get_by_role("button", name="Approve")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(card).to_have_class(re.compile(r"\bok\b"))
    expect(page.locator(".memory-line")).to_have_text(["first", "approved"])

    say(page, script.replace("approved", "denied"))
    last = card.last
    expect(last.get_by_role("button", name="Deny")).to_be_visible()
    last.get_by_label("Reason").fill("not in this block")
    last.get_by_label("Reason").press("Enter")
    expect(last).to_have_class(re.compile(r"\bfailed\b"))
    expect(last.locator(".result")).to_contain_text("not in this block")
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "first\napproved"


def test_two_calls_are_decided_before_the_turn_goes_on(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="")
    agent = new_agent(block_ids=[block.id])
    ask_first(http, agent.id, "memory_insert")
    page = open_page(f"/agents/{agent.id}")
    pair = ", ".join(
        f'["memory_insert", {{"label": "{block.label}", "new_string": "{text}"}}]' for text in ("one", "two")
    )
    say(page, f"CALLS [{pair}]")
    cards = page.locator(".saying.tool")
    expect(cards).to_have_count(2)
    cards.first.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("1 more to decide")).to_be_visible()
    cards.last.get_by_role("button", name="Deny").click()
    expect(cards.last).to_have_class(re.compile(r"\bfailed\b"))
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "one"


def test_a_turn_is_stopped(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}")
    with scripted_model.hold(after=3):
        say(page, "ECHO one two three four")
        expect(page.locator(".saying.agent .text")).to_contain_text("one")
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.locator("#runs li")).to_contain_text("cancelled")
    assert http.get("/v1/runs", params={"agent_id": agent.id}).json()[0]["status"] == "cancelled"
    say(page, "ECHO and on")
    expect(page.locator(".saying.agent .text").last).to_have_text("and on")


def test_a_turn_that_fails_says_why_where_the_person_looks(
    open_page: OpenPage, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}")
    scripted_model.fail_next(400, message="Not today.")
    say(page, "ECHO never")
    expect(page.locator(".saying.error")).to_contain_text("Not today.")
    expect(page.locator("#runs li")).to_contain_text("failed")


def test_a_turn_that_somebody_else_began_is_followed(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}")
    is_live(page)
    with scripted_model.hold(after=3) as held:
        body = {"input": "ECHO one two three four", "stream_tokens": True}
        http.post(f"/v1/agents/{agent.id}/messages/async", json=body).raise_for_status()
        expect(page.locator(".saying.agent .text")).to_contain_text("one")
        held.release()
    expect(page.locator(".saying.user .text")).to_have_text("ECHO one two three four")
    expect(page.locator(".saying.agent .text")).to_have_text("one two three four")


def test_a_run_is_followed_and_cancelled(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold(after=3):
        body = {"input": "ECHO one two three four", "stream_tokens": True}
        run = http.post(f"/v1/agents/{agent.id}/messages/async", json=body).json()["id"]
        page = open_page(f"/runs/{run}")
        expect(page.locator(".saying.agent .text")).to_contain_text("one")
        page.goto(f"/runs?agent={agent.id}")
        expect(page.locator("tbody .tag").first).to_have_text("running")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("tbody .tag").first).to_have_text("cancelled")
    page.locator("tbody time").first.click()
    expect(page.locator(".facts .tag")).to_have_text("cancelled")


def test_tools_are_given_and_taken_and_the_focus_stays(open_page: OpenPage, new_agent: NewAgent) -> None:
    page = open_page(f"/agents/{new_agent().id}")
    page.get_by_text("Give a tool…").click()
    page.get_by_label("Tool", exact=True).select_option(label="web_search")
    page.get_by_role("button", name="Give", exact=True).press("Enter")
    expect(page.locator("#tools")).to_contain_text("web_search")
    expect(page.get_by_role("button", name="Give", exact=True)).to_be_focused()
    asks = page.get_by_role("button", name="web_search asks first")
    asks.press("Enter")
    expect(asks).to_have_attribute("aria-pressed", "true")
    expect(asks).to_be_focused()
    page.get_by_role("button", name="Take web_search away").press("Enter")
    expect(page.locator("#tools a", has_text="web_search")).to_have_count(0)
    expect(page.locator("#tools")).to_be_focused()


def test_signing_in_opens_the_page_that_was_asked_for(open_page: OpenPage, start_server: StartServer) -> None:
    server = start_server(env={**QUICK, "FOLKMOOT_API_KEY": "the key"})
    page = open_page("/runs?status=failed", url=server.url)
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").first).to_contain_text("This is not the server's API key")
    page.get_by_label("API key").fill("the key")
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/runs\?status=failed$"))
    is_live(page)
    for width in (1152, 1200, 1249, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(COUNTED_TOO_WIDE) <= 0, f"the header does not fit {width} pixels"
    page.goto("/blocks/new")
    page.get_by_label("Label").fill("made")
    page.get_by_role("button", name="Make block").click()
    expect(page.get_by_role("heading", name="made")).to_be_visible()
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("textbox", name="Text").fill("through the cookie")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".line-of-text")).to_have_text(["through the cookie"])
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


COUNTED_TOO_WIDE = """() => {
  for (const [name, words] of [["inbox-count", "12"], ["run-count", "12 runs"]]) {
    const count = document.getElementById(name);
    count.hidden = false;
    count.textContent = words;
  }
  return document.documentElement.scrollWidth - document.documentElement.clientWidth;
}"""
"""By how many pixels a page is wider than its window while runs and requests are counted in its header."""


def test_memory_of_another_agents_edit_glows_in_its_colour(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="first")
    mine, other = (new_agent(block_ids=[block.id]) for _ in range(2))
    page = open_page(f"/agents/{mine.id}")
    is_live(page)
    write(http, other.id, block.label, "from the other")
    line = page.locator(".memory-line", has_text="from the other")
    expect(line).to_have_class(re.compile(r"\bc\d+ p\d glow\b"))


def test_schedules_are_listed_and_deleted(open_page: OpenPage, new_agent: NewAgent, http: httpx.Client) -> None:
    agent = new_agent()
    daily = {"type": "recurring", "cron_expression": "0 9 * * *", "timezone": "Europe/Berlin"}
    said = [{"role": "user", "content": "<b>Tidy up</b> your notes."}]
    http.post(f"/v1/agents/{agent.id}/schedule", json={"messages": said, "schedule": daily}).raise_for_status()
    page = open_page(f"/agents/{agent.id}")
    shown = page.locator("#schedules li")
    expect(shown).to_contain_text("<b>Tidy up</b> your notes.")
    expect(shown).to_contain_text("0 9 * * * Europe/Berlin")
    shown.get_by_role("button", name="Delete the schedule").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#schedules")).to_be_hidden()
    assert http.get(f"/v1/agents/{agent.id}/schedule").json()["scheduled_messages"] == []


def test_a_page_that_was_away_shows_what_happened_meanwhile(
    open_page: OpenPage, new_agent: NewAgent, new_block: NewBlock, http: httpx.Client
) -> None:
    agent, block = new_agent(), new_block(value="given meanwhile")
    renamed = f"{agent.name} the second"
    own, of_block, the_map = (
        open_page(path) for path in (f"/agents/{agent.id}", f"/blocks/{block.id}", f"/?around={agent.id}")
    )
    for page in (own, of_block, the_map):
        is_live(page)
        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    http.patch(f"/v1/agents/{agent.id}", json={"name": renamed}).raise_for_status()
    http.patch(f"/v1/agents/{agent.id}/core-memory/blocks/attach/{block.id}").raise_for_status()
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO I am back"}).raise_for_status()
    for page in (own, of_block, the_map):
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(own.get_by_role("heading", level=1)).to_contain_text(renamed)
    expect(own.locator(".saying.agent .text")).to_have_text("I am back")
    expect(own.locator("#memory")).to_contain_text("given meanwhile")
    expect(of_block.get_by_label(f"Access of {renamed}")).to_be_visible()
    expect(the_map.locator(f"[id='{agent.id}']")).to_contain_text(renamed)
    expect(the_map.locator(f"path.line[data-from='{agent.id}'][data-to='{block.id}']")).to_have_count(1)


def test_a_chat_on_paper_is_whole_and_dark_on_light(
    open_page: OpenPage, server: ServerProcess, new_agent: NewAgent, http: httpx.Client
) -> None:
    agent = new_agent()
    said = "ECHO " + "\n".join(f"line {number}" for number in range(200))
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": said}).raise_for_status()
    page = open_page(f"/agents/{agent.id}", url=server.url, color_scheme="dark")
    page.get_by_role("button", name="Switch between light and dark").click()
    page.get_by_role("button", name="Switch between light and dark").click()
    page.emulate_media(media="print")
    log = page.locator("#log")
    assert log.evaluate("(log) => log.scrollHeight <= log.clientHeight + 1"), "nothing is behind a scroll bar"
    assert log.evaluate("(log) => getComputedStyle(log).color") == "rgb(29, 31, 35)"
    expect(page.locator("#composer")).to_be_hidden()
    expect(page.get_by_role("navigation", name="Pages")).to_be_hidden()


def test_fields_do_not_make_a_phone_zoom_and_nothing_is_too_small_for_a_finger(
    open_page: OpenPage, new_agent: NewAgent
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    page = open_page(f"/agents/{new_agent().id}", **phone)
    size = "(each) => parseFloat(getComputedStyle(each).fontSize)"
    assert [page.locator(field).evaluate(size) for field in ("#message", "#search")] == [16, 16]
    small = page.locator("#agent-page button:visible, #agent-page summary:visible, .top button:visible")
    assert [each.inner_text() for each in small.all() if (each.bounding_box() or {"height": 0})["height"] < 24] == []
