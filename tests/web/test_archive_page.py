"""An archive's page in a browser: passages with their authors' colours, found with why, added, shared."""

from __future__ import annotations

import re
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import expect

from support.fixtures import NewAgent
from support.scripted_model import ScriptedModel
from web.conftest import OpenPage
from web.test_moot_page import call

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def new_archive(http: httpx.Client, embedding: str | None = None) -> tuple[str, str]:
    """Return a new archive's identifier and name."""
    name = f"library_{uuid4().hex[:8]}"
    body = {"name": name, "description": "What was seen", "embedding": embedding}
    return http.post("/v1/archives", json=body).raise_for_status().json()["id"], name


@pytest.mark.parametrize("scripts", ["with scripts", "without scripts"])
def test_an_archive_is_made_filled_searched_and_emptied(open_page: OpenPage, http: httpx.Client, scripts: str) -> None:
    page = open_page("/archives", java_script_enabled=scripts == "with scripts")
    page.get_by_role("link", name="New archive").click()
    page.get_by_label("Name").fill("")
    page.get_by_role("button", name="Make archive").click()
    expect(page.locator("#problem-name")).to_be_visible()
    name = f"library_{uuid4().hex[:8]}"
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make archive").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    for text, tags in (("The heron fishes at dawn.", "bird, dawn"), ("The owl hunts at night.", "bird")):
        page.locator("#text").fill(text)
        page.locator("#tags").fill(tags)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator(".passage-text").first).to_have_text(text)
    page.get_by_label("Search", exact=True).fill("heron")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".passage-text")).to_have_text(["The heron fishes at dawn."])
    expect(page.locator(".why")).to_contain_text("1. by words (heron)")
    page.get_by_role("link", name="All passages").click()
    page.get_by_role("complementary").get_by_role("link", name=re.compile("dawn")).click()
    expect(page.locator(".passage-text")).to_have_text(["The heron fishes at dawn."])
    page.get_by_role("button", name="Delete this passage").click()
    if scripts == "with scripts":
        page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("1 passage", exact=True)).to_be_visible()
    page.locator("#text").fill(" ")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("a passage needs text")).to_be_visible()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", name="Archives")).to_be_visible()
    assert http.get("/v1/archives", params={"name": name}).json() == []


def test_passages_have_their_authors_colours_and_say_why_they_were_found(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    scripted_model.embeddings.meanings = {"feline": "cat"}
    archive_id, name = new_archive(http, "openai/text-embedding-3-small")
    agents = [new_agent(tools=["archival_memory_insert"]) for _ in range(2)]
    for agent, text in zip(agents, ("A feline sleeps.", "A vessel sails."), strict=True):
        http.patch(f"/v1/agents/{agent.id}/archives/attach/{archive_id}").raise_for_status()
        said = {"input": call("archival_memory_insert", content=text)}
        http.post(f"/v1/agents/{agent.id}/messages", json=said).raise_for_status()
    while http.get("/v1/jobs/active").json():
        """They are being embedded."""
    page = open_page(f"/archives/{archive_id}?q=cat")
    first = page.locator(".passage").first
    expect(first.locator(".passage-text")).to_have_text("A feline sleeps.")
    expect(first.locator(".why")).to_contain_text("1. by meaning")
    expect(first.get_by_role("link", name=agents[0].name)).to_be_visible()
    colours = {tuple((each.get_attribute("class") or "").split()[1:3]) for each in page.locator(".passage").all()}
    assert len(colours) == 2
    expect(page.get_by_text("2 of 2 embedded")).to_be_visible()
    expect(page.locator(".attached li")).to_have_count(2)
    page.goto(page.url.split("/archives")[0] + f"/agents/{agents[0].id}")
    expect(page.locator("#archives").get_by_role("link", name=name)).to_be_visible()


def test_an_archive_is_attached_from_the_agents_side_bar(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent
) -> None:
    (archive_id, name), agent = new_archive(http), new_agent()
    page = open_page(f"/agents/{agent.id}")
    page.locator("#attach-archive-fold summary").click()
    page.get_by_label("Archive", exact=True).select_option(archive_id)
    page.locator("#archive-access").select_option("read")
    page.locator("#attach-archive-fold").get_by_role("button", name="Attach").click()
    expect(page.locator("#archives li")).to_contain_text(name)
    (attached,) = http.get("/v1/archives", params={"agent_id": agent.id}).json()
    assert (attached["id"], attached["access"]) == (archive_id, "read")
    page.get_by_role("button", name=f"Detach {name}").click()
    expect(page.locator("#archives")).to_contain_text("None.")
    assert http.get("/v1/archives", params={"agent_id": agent.id}).json() == []
