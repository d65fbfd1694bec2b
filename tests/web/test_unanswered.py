"""What was said in vain is in its place in the chat, marked, and can be said again: with scripts and without."""

from __future__ import annotations

import httpx
from playwright.sync_api import Page, expect

from support.fixtures import NewAgent, one_store
from support.scripted_model import ScriptedModel
from web.conftest import OpenPage, is_bound, is_live

WORDS = "ECHO one two three four"

pytestmark = one_store


def say(page: Page, words: str) -> None:
    is_bound(page)
    page.get_by_label("Message", exact=False).locator("textarea").fill(words)
    page.get_by_role("button", name="Send").click()


def texts(page: Page) -> list[str]:
    """Return everything that the chat shows, in order."""
    return [text.strip() for text in page.locator("#messages .saying .text").all_inner_texts()][1:]


def test_a_turn_that_fails_while_it_is_written_is_shown_in_its_place_and_said_again(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO before"}).raise_for_status()
    page = open_page(f"/agents/{agent.id}")
    is_live(page)
    scripted_model.break_next(after=3)
    say(page, WORDS)
    vain = page.locator(".in-vain")
    expect(vain).to_contain_text("Not part of the conversation.")
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO behind"}).raise_for_status()
    page.reload()
    shown = texts(page)
    partial = shown[3]
    assert partial
    assert "one two three four".startswith(partial)
    assert [*shown[:4], *shown[5:]] == ["ECHO before", "before", WORDS, partial, "ECHO behind", "behind"]
    expect(vain.locator(".error .text")).to_have_text(shown[4])
    assert shown[4]
    page.goto(f"/runs/{vain.get_attribute('data-run')}")
    assert texts_of_run(page) == [WORDS, partial, shown[4]]
    page.goto(f"/agents/{agent.id}")
    vain.get_by_role("button", name="Retry").click()
    expect(page.locator(".saying.agent .text").last).to_have_text("one two three four")
    expect(vain).to_have_count(0)
    said = [
        each for each in http.get(f"/v1/agents/{agent.id}/messages?order=asc").json() if each.get("content") == WORDS
    ]
    assert len(said) == 1


def texts_of_run(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("#messages .saying .text").all_inner_texts()]


def test_a_stopped_turn_keeps_its_words_where_they_were_said(
    open_page: OpenPage, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    page = open_page(f"/agents/{new_agent().id}")
    is_live(page)
    with scripted_model.hold(after=3):
        say(page, WORDS)
        expect(page.locator(".saying.agent .text")).to_contain_text("one")
        page.get_by_role("button", name="Stop").click()
        vain = page.locator(".in-vain")
        expect(vain.locator(".error")).to_have_text("It was stopped.")
    expect(vain.locator(".user .text")).to_have_text(WORDS)
    expect(vain.locator(".agent .text")).to_contain_text("one")
    say(page, "ECHO and on")
    expect(page.locator(".saying.agent .text").last).to_have_text("and on")
    expect(vain).to_have_count(1)


def test_retry_works_without_scripts_and_once(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    scripted_model.fail_next(400, message="<b>Not</b> today.")
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": WORDS})
    page = open_page(f"/agents/{agent.id}", java_script_enabled=False)
    vain = page.locator(".in-vain")
    expect(vain.locator(".error")).to_contain_text("<b>Not</b> today.")
    run_id = vain.get_attribute("data-run")
    with scripted_model.hold() as held:
        with page.expect_navigation():
            vain.get_by_role("button", name="Retry").click()
        held.wait_for(1)
        page.reload()
        expect(vain).to_have_count(0)
        expect(page.locator(".unanswered .user .text")).to_have_text(WORDS)
    again = page.request.post(f"/runs/{run_id}/retry", max_redirects=0)
    assert again.status == 303
    runs = http.get("/v1/runs", params={"agent_id": agent.id}).json()
    assert len(runs) == 2, "a second click begins no second turn"
    page.goto(f"/runs/{run_id}")
    page.get_by_role("link", name="again").click()
    expect(page).to_have_url(page.url)
    assert runs[0]["id"] in page.url
    refused = page.request.post(f"/runs/{runs[0]['id']}/retry", max_redirects=0)
    assert refused.status == 409
