"""A block's page in a browser: its lines and their authors, its versions, and edits that overwrite nothing."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Route, expect

from folkmoot.memory.history import MOST_BLAMED_VERSIONS
from support.clients import plain_client
from support.fixtures import NewAgent, NewBlock, StartServer
from support.server import ServerProcess
from web.conftest import OpenPage, is_bound, is_live
from web.test_agent_page import say
from web.test_moot_page import write

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def edit(http: httpx.Client, block_id: str, value: str) -> None:
    """Write a block's text through the API."""
    http.patch(f"/v1/blocks/{block_id}", json={"value": value}).raise_for_status()


def test_lines_have_their_authors_colours_while_agents_write(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block = new_block(value="first")
    one, two = (new_agent(block_ids=[block.id]) for _ in range(2))
    page = open_page(f"/blocks/{block.id}")
    is_live(page)
    lines = page.locator(".line-of-text")
    expect(lines).to_have_count(1)
    write(http, one.id, block.label, "from one")
    expect(lines).to_have_count(2)
    expect(lines.nth(1)).to_have_class(re.compile(r"\bglow\b"))
    write(http, two.id, block.label, "from two")
    expect(lines).to_have_count(3)
    expect(lines.nth(2)).to_have_attribute("title", re.compile(f"^{two.name}, v3, "))
    colours = [(line.get_attribute("class") or "").split()[2:4] for line in lines.all()]
    assert colours[0] == ["c0", "p0"]
    assert len({tuple(each) for each in colours}) == 3
    legend = page.locator(".legend-list li")
    expect(legend).to_have_count(3)
    expect(legend.filter(has_text=two.name)).to_contain_text("1 line")
    expect(page.get_by_text("Shown to 2 runs")).to_be_visible()
    expect(page.get_by_text("3 edits in the last 30 minutes")).to_be_visible()
    expect(page.locator("#beside .size")).to_have_text(str(len("first\nfrom one\nfrom two")))


def test_the_slider_goes_through_the_versions_and_shows_each_change(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock
) -> None:
    block = new_block(value="same\nold")
    edit(http, block.id, "same\nnew")
    edit(http, block.id, "same\nnew\nmore")
    page = open_page(f"/blocks/{block.id}")
    is_live(page)
    page.get_by_role("slider", name="Version").focus()
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"\?version=2$"))
    expect(page.locator(".gone")).to_have_text("old")
    expect(page.locator(".line-of-text.added")).to_have_text("new")
    expect(page.get_by_role("slider", name="Version")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"\?version=1$"))
    expect(page.locator(".line-of-text")).to_have_text(["same", "old"])

    sent = open_page(f"/blocks/{block.id}?version=2")
    expect(sent.locator(".gone")).to_have_text("old")
    sent.get_by_role("link", name=re.compile("to now")).click()
    expect(sent.locator(".line-of-text")).to_have_text(["same", "new", "more"])
    sent.go_back()
    expect(sent.locator(".gone")).to_have_text("old")


def test_a_revert_asks_first(open_page: OpenPage, http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one")
    edit(http, block.id, "two")
    page = open_page(f"/blocks/{block.id}?version=1")
    page.get_by_role("button", name="Revert to v1…").click()
    expect(page.get_by_role("dialog")).to_contain_text("Nothing is lost")
    page.get_by_role("button", name="Keep it as it is").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert http.get(f"/v1/blocks/{block.id}").json()["version"] == 2
    page.get_by_role("button", name="Revert to v1…").click()
    page.get_by_role("button", name="Revert", exact=True).click()
    expect(page.locator("output")).to_have_text("v3")
    expect(page.locator(".line-of-text")).to_have_text(["one"])
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "one"


def test_an_edit_that_conflicts_overwrites_nothing(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block = new_block(value="start")
    agent = new_agent(block_ids=[block.id])
    page = open_page(f"/blocks/{block.id}")
    is_live(page)
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("textbox", name="Text").fill("mine")
    write(http, agent.id, block.label, "theirs")
    expect(page.get_by_text("Somebody has written version 2")).to_be_visible()
    expect(page.get_by_role("textbox", name="Text")).to_have_value("mine")

    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name=f"{agent.name} has written version 2")).to_be_visible()
    expect(page.locator("#theirs")).to_have_text("start\ntheirs")
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "start\ntheirs"

    page.get_by_role("button", name="Write mine over it").click()
    expect(page.locator(".line-of-text")).to_have_text(["mine"])
    now = http.get(f"/v1/blocks/{block.id}").json()
    assert (now["value"], now["version"]) == ("mine", 3)

    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("textbox", name="Text").fill("other")
    edit(http, block.id, "again")
    expect(page.get_by_text("Somebody has written version 4")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Drop mine").click()
    expect(page.locator(".line-of-text")).to_have_text(["again"])


def test_an_edit_is_saved_once_and_nothing_is_written_that_would_not_be_saved(
    server: ServerProcess, open_page: OpenPage, http: httpx.Client, new_block: NewBlock
) -> None:
    block = new_block(value="start")
    page = open_page(f"/blocks/{block.id}", url=server.url)
    is_live(page)
    text = page.get_by_role("textbox", name="Text")
    held: list[Route] = []
    page.route("**/v1/blocks/*", lambda route: held.append(route), times=1)
    page.get_by_role("button", name="Edit", exact=True).click()
    text.fill("mine")
    with page.expect_request("**/v1/blocks/*"):
        text.press("Control+Enter")
    text.press("Control+Enter")
    text.press("!")
    text.press("Escape")
    expect(text).to_have_value("mine")
    held[0].continue_()
    expect(page.locator(".line-of-text")).to_have_text(["mine"])
    expect(page.get_by_role("button", name="Edit", exact=True)).to_be_focused()

    page.route("**/v1/blocks/*", lambda route: (route.fetch(), route.abort()), times=1)
    page.get_by_role("button", name="Edit", exact=True).click()
    text.fill("mine again")
    text.press("Control+Enter")
    expect(page.locator("#edit-problem")).to_contain_text("cannot be reached")
    text.press("Control+Enter")
    expect(page.locator(".line-of-text")).to_have_text(["mine again"])
    now = http.get(f"/v1/blocks/{block.id}").json()
    assert (now["value"], now["version"]) == ("mine again", 3)


def test_what_a_blocks_page_cannot_load_it_says(
    server: ServerProcess, open_page: OpenPage, http: httpx.Client, new_block: NewBlock
) -> None:
    block = new_block(value="one", limit=200_000)
    edit(http, block.id, "two")
    page = open_page(f"/blocks/{block.id}", url=server.url)
    is_live(page)
    said = page.locator("#notice")

    def forget() -> None:
        said.evaluate("(box) => { box.hidden = true; }")

    page.route(re.compile("version="), lambda route: route.abort())
    page.get_by_role("slider", name="Version").press("ArrowLeft")
    expect(said).to_contain_text("cannot be reached")
    expect(page.get_by_role("slider", name="Version")).to_have_value("2")
    expect(page.locator("output")).to_have_text("v2")
    forget()
    page.locator(".line-of-text").click()
    expect(said).to_contain_text("cannot be reached")

    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("textbox", name="Text").fill("mine")
    edit(http, block.id, "three")
    expect(page.get_by_text("Somebody has written version 3")).to_be_visible()
    page.route("**/v1/blocks/*", lambda route: route.abort() if route.request.method == "GET" else route.continue_())
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#edit-problem")).to_contain_text("cannot be reached")
    page.get_by_role("button", name="Leave without saving").click()

    failed: list[Route] = []

    def fail_once(route: Route) -> None:
        if failed or route.request.resource_type != "fetch":
            route.continue_()
        else:
            failed.append(route)
            route.fulfill(status=503)

    expect(page.locator(".line-of-text")).to_have_text(["three"])
    page.route(f"{server.url}/blocks/{block.id}", fail_once)
    edit(http, block.id, "a line\n" * 20_000)
    expect(page.locator(".line-of-text").first).to_have_text("a line")
    assert failed
    forget()
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(said).to_contain_text("cannot be reached")


def test_an_edit_over_the_limit_says_so_where_the_person_looks(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock
) -> None:
    block = new_block(value="ok", limit=10)
    page = open_page(f"/blocks/{block.id}")
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("textbox", name="Text").fill("more than ten")
    expect(page.locator("#counter")).to_have_text("13 of 10 characters")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#edit-problem")).to_contain_text("3 more than the block's limit")
    expect(page.get_by_role("textbox", name="Text")).to_have_value("more than ten")
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "ok"


def test_agents_are_attached_and_detached(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block, agent = new_block(), new_agent()
    page = open_page(f"/blocks/{block.id}")
    page.get_by_text("Attach…").click()
    page.get_by_label("Agent", exact=True).select_option(label=agent.name)
    page.get_by_label("Access", exact=True).select_option("append")
    page.get_by_role("button", name="Attach").click()
    access = page.get_by_label(f"Access of {agent.name}")
    expect(access).to_have_value("append")
    access.select_option("read")
    with page.expect_response(re.compile("/attach/")):
        page.get_by_role("button", name="Set", exact=True).click()
    held = http.get(f"/v1/agents/{agent.id}/core-memory/blocks").json()
    assert [each["access"] for each in held] == ["read"]
    page.get_by_role("button", name=f"Detach from {agent.name}").click()
    expect(access).to_be_hidden()
    assert http.get(f"/v1/agents/{agent.id}/core-memory/blocks").json() == []


def test_what_agents_write_is_text_in_the_browser_too(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent, complaints: list[str]
) -> None:
    nasty = "<img src=x onerror=document.title=1><script>document.title=2</script>"
    block = new_block(value=nasty)
    agent = new_agent(block_ids=[block.id])
    page = open_page(f"/blocks/{block.id}")
    is_live(page)
    write(http, agent.id, block.label, nasty)
    expect(page.locator(".line-of-text")).to_have_text([nasty, nasty])
    page.goto(f"/agents/{agent.id}")
    write(http, agent.id, block.label, nasty)
    expect(page.locator(".memory-line")).to_have_text([nasty, nasty, nasty])
    say(page, f"ECHO {nasty}")
    expect(page.locator(".saying.agent .text").last).to_have_text(nasty)
    assert page.locator("main img").count() == 0
    assert complaints == []


def test_deleting_asks_first(open_page: OpenPage, http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block()
    page = open_page(f"/blocks/{block.id}")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page).to_have_url(re.compile("/blocks$"))
    assert http.get(f"/v1/blocks/{block.id}").status_code == 404


def test_open_pages_tell_that_somebody_else_has_renamed_or_deleted_what_they_show(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    page = open_page(f"/blocks/{block.id}")
    chat = page.context.new_page()
    chat.goto(f"/agents/{agent.id}")
    for each in (page, chat):
        is_bound(each)
        is_live(each)
    renamed = f"renamed_{block.label}"
    http.patch(f"/v1/blocks/{block.id}", json={"label": renamed}).raise_for_status()
    expect(page).to_have_title(f"{renamed} · folkmoot")
    expect(chat.locator("#memory")).to_contain_text(renamed)
    http.delete(f"/v1/blocks/{block.id}").raise_for_status()
    expect(chat.locator("#memory")).not_to_contain_text(renamed)
    http.delete(f"/v1/agents/{agent.id}").raise_for_status()
    for each in (page, chat):
        expect(each.get_by_role("alert").filter(visible=True)).to_contain_text("somebody has deleted it")


def test_a_long_text_says_which_of_its_lines_are_counted(open_page: OpenPage, new_block: NewBlock) -> None:
    block = new_block(value="\n".join("line" for _ in range(1201)), limit=20_000)
    page = open_page(f"/blocks/{block.id}")
    beside = page.locator("#beside")
    expect(beside).to_contain_text("Of lines 1 to 1,000:")
    page.get_by_role("link", name="later lines").click()
    expect(beside).to_contain_text("Of lines 1,001 to 1,201:")
    expect(page.locator(".legend-list")).to_contain_text("201 lines")


def test_a_block_with_too_long_a_history_for_its_lines_authors_can_be_read_and_edited(
    start_server: StartServer, tmp_path: Path, open_page: OpenPage
) -> None:
    file = tmp_path / "old.sqlite3"
    server = start_server(database=f"sqlite:///{file}")
    with plain_client(server.url) as http:
        block = http.post("/v1/blocks", json={"label": "old", "value": "one\ntwo\nthree"}).json()["id"]
    with closing(sqlite3.connect(file)) as database, database:
        for table, key in (("blocks", "id"), ("block_versions", "block_id")):
            database.execute(f"UPDATE {table} SET version = ? WHERE {key} = ?", (MOST_BLAMED_VERSIONS + 1, block))
    page = open_page(f"/blocks/{block}", url=server.url)
    is_bound(page)
    expect(page.locator(".line-of-text")).to_have_text(["one", "two", "three"])
    expect(page.locator("#beside")).to_contain_text("Its history is too long to tell who wrote each line.")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Text", exact=True).fill("one\nfour")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".line-of-text")).to_have_text(["one", "four"])
