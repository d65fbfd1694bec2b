"""The map in a browser: live, at any size, on any screen, by keyboard; and the first visit to an empty server."""

from __future__ import annotations

import re
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from support.clients import plain_client
from support.fixtures import NewAgent, NewBlock, StartServer
from support.scripted_model import ScriptedModel
from support.server import ServerProcess
from web.conftest import OpenPage, is_live

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

QUICK = {"FOLKMOOT_SHUTDOWN_WAIT": "1"}
"""A server that waits no longer for the streams of open pages when it is stopped."""


def call(tool: str, **arguments: str) -> str:
    """Return a script that lets the scripted model call a tool."""
    given = ", ".join(f'"{name}": "{value}"' for name, value in arguments.items())
    return f"CALL {tool} {{{given}}}"


def write(http: httpx.Client, agent_id: str, label: str, text: str) -> None:
    """Let an agent insert a line into its block."""
    script = call("memory_insert", label=label, new_string=text)
    http.post(f"/v1/agents/{agent_id}/messages", json={"input": script}).raise_for_status()


def test_two_agents_write_while_the_page_watches(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    block = new_block(value="first")
    one, two = (new_agent(block_ids=[block.id]) for _ in range(2))
    page = open_page(f"/?q={block.label}")
    is_live(page)
    row = page.locator(f"[id='{block.id}']")
    expect(row.locator(".last-words")).to_have_text("API (local) created it")
    expect(page.locator(f"path[data-to='{block.id}']")).to_have_count(2)

    write(http, one.id, block.label, "Agent1 was here")
    expect(row.locator(".last-words")).to_have_text(f"{one.name} +1 line")
    expect(row.locator(".version")).to_have_text("2")
    expect(row).to_have_class(re.compile(r"\bglow\b"))
    expect(row.locator(".size")).to_have_text(str(len("first\nAgent1 was here")))
    mine = page.locator(f"[id='{one.id}']").get_attribute("class") or ""
    assert (row.get_attribute("class") or "").split()[2] in mine, "the row glows in its writer's colour"

    write(http, two.id, block.label, "Agent2 too")
    expect(row.locator(".last-words")).to_have_text(f"{two.name} +1 line")
    expect(row.locator(".version")).to_have_text("3")


def test_a_run_shows_on_its_agent(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    page = open_page(f"/?q={agent.name}")
    is_live(page)
    state = page.locator(f"[id='{agent.id}'] .state")
    expect(state).to_have_text("")
    with scripted_model.hold() as held:
        http.post(f"/v1/agents/{agent.id}/messages/async", json={"input": "ECHO hello"}).raise_for_status()
        expect(state).to_have_text("writing…")
        expect(page.locator("#run-count")).to_have_text("1 run")
        held.release()
    expect(state).to_have_text("")
    expect(page.locator("#run-count")).to_be_hidden()


def test_the_map_shows_what_happened_while_it_came(
    server: ServerProcess, open_page: OpenPage, http: httpx.Client, new_block: NewBlock
) -> None:
    block = new_block(value="first")
    page = open_page("/login", url=server.url)

    def write_first(route: Route) -> None:
        http.patch(f"/v1/blocks/{block.id}", json={"value": "second"}).raise_for_status()
        route.continue_()

    page.route("**/events?*", write_first)
    page.goto(f"/?q={block.label}")
    expect(page.locator(f"[id='{block.id}'] .version")).to_have_text("2")


def test_attaching_and_making_draw_the_map_anew(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    name = f"drawn_{uuid4().hex[:8]}"
    block = new_block(label=name)
    page = open_page(f"/?q={name}")
    is_live(page)
    agent = new_agent(name=name)
    expect(page.locator(f"[id='{agent.id}']")).to_be_visible()
    for access in ("write", "append", "read"):
        path = f"/v1/agents/{agent.id}/core-memory/blocks/attach/{block.id}"
        http.patch(path, json={"access": access}).raise_for_status()
        expect(page.locator(f"path.line.{access}[data-from='{agent.id}'][data-to='{block.id}']")).to_have_count(1)


def test_the_dot_says_when_the_stream_dropped_and_the_page_catches_up(
    open_page: OpenPage, start_server: StartServer
) -> None:
    server = start_server(env=QUICK)
    with plain_client(server.url) as http:
        block = http.post("/v1/blocks", json={"label": "kept", "value": "a"}).json()["id"]
        page = open_page("/", url=server.url)
        is_live(page)
        server.stop()
        expect(page.locator("#live")).to_have_attribute("data-state", "lost")
        expect(page.locator("#live")).to_contain_text(re.compile(r"not live since \d"))
        server.start()
        http.patch(f"/v1/blocks/{block}", json={"value": "ab"}).raise_for_status()
        is_live(page)
        expect(page.locator(f"[id='{block}'] .version")).to_have_text("2")


def test_an_empty_server_offers_three_ways_each_of_which_ends_at_an_agent(
    open_page: OpenPage, start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server(env={**QUICK, "FOLKMOOT_PRIVATE_PROVIDERS": "true", "FOLKMOOT_SECRET_KEY": "a secret"})
    page = open_page("/", url=server.url)
    expect(page.get_by_role("button", name="Run the tutorial")).to_be_visible()
    page.get_by_role("link", name="Import agents").click()
    expect(page.get_by_label("Agent file")).to_be_visible()
    page.go_back()
    page.get_by_role("link", name="Connect a model").click()
    page.get_by_label("API key").fill("sk-mine")
    page.get_by_label("Address").fill("not an address")
    page.get_by_role("button", name="Connect").click()
    expect(page.locator("#problem-base_url")).to_be_visible()
    page.get_by_label("Address").fill(scripted_model.base_url)
    page.get_by_label("Name").fill("mine")
    page.get_by_label("API key").fill("sk-mine")
    page.get_by_role("button", name="Connect").click()
    page.get_by_role("link", name="mine/gpt-4o-mini", exact=True).click()
    expect(page.get_by_label("Model")).to_have_value("mine/gpt-4o-mini")
    page.get_by_role("button", name="Make agent").click()
    expect(page.locator(".chat .model")).to_have_text("mine/gpt-4o-mini")


def test_an_empty_server_runs_the_tutorial_and_lets_the_visitor_watch(
    open_page: OpenPage, start_server: StartServer
) -> None:
    server = start_server(env={**QUICK, "FOLKMOOT_DEFAULT_MODEL": "offline/notetaker"})
    page = open_page("/", url=server.url)
    expect(page.get_by_role("heading", name="Agents that share memory")).to_be_visible()
    page.get_by_role("button", name="Run the tutorial").click()
    for label in ("organization", "policies"):
        expect(page.get_by_role("link", name=label, exact=True)).to_be_visible()
    for agent in ("agent1", "agent2", "policy_agent"):
        expect(page.locator(".agents").get_by_text(agent, exact=True)).to_be_visible()
    row = page.locator(".row.block", has_text="organization")
    expect(row.locator(".version")).to_have_text("3")
    expect(row.locator(".last-words")).to_have_text("agent2 +1 line")
    row.get_by_role("link").first.click()
    expect(page.locator(".line-of-text")).to_have_count(3)
    expect(page.locator(".line-of-text").nth(1)).to_contain_text("Agent1: ")
    with plain_client(server.url) as http:
        http.post("/start", follow_redirects=True)
        assert http.get("/v1/agents/count").json() == 3, "it starts once only"


def test_a_moot_of_300_agents_and_300_blocks_stays_smooth(open_page: OpenPage, start_server: StartServer) -> None:
    server = start_server(env=QUICK)
    with plain_client(server.url) as http:
        tags = [["research"], ["sales"], []]
        made = [{"label": f"b{n}", "value": "", "tags": tags[n % 3]} for n in range(300)]
        blocks = [http.post("/v1/blocks", json=each).json()["id"] for each in made]
        for n in range(300):
            held = [blocks[n], blocks[(n * 7) % 300]][: 1 + (n % 7 > 0)]
            fields = {"name": f"a{n}", "block_ids": held, "tags": tags[n % 3]}
            http.post("/v1/agents", json=fields).raise_for_status()
        member = http.post("/v1/keys", json={"name": "visitor", "blocks": [{"block": "b0", "access": "write"}]}).json()
        with http.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as answer:
            assert sum(map(len, answer.iter_raw())) < 60_000
        page = open_page("/", url=server.url)
        is_live(page)
        expect(page.locator(".agents .row:not(.folded)")).to_have_count(60)
        folds = page.locator(".blocks .row.folded")
        expect(folds.locator("summary")).to_have_text(
            ["80 more blocks research", "80 more blocks sales", "80 more blocks"]
        )
        http.patch(f"/v1/blocks/{blocks[0]}", json={"value": "folded"}).raise_for_status()
        expect(folds.first).to_have_class(re.compile(r"\bglow\b"))
        expect(folds.first.locator(".state")).to_have_text("b0: API (local) wrote 1 line")
        inserted = {"kind": "insert", "new_string": "by a member"}
        bearer = {"Authorization": f"Bearer {member['key']}"}
        http.post(f"/v1/blocks/{blocks[0]}/edits", json=inserted, headers=bearer).raise_for_status()
        its_fold = page.locator(".agents .folded", has=page.locator(f"[data-folded='{member['id']}']"))
        expect(its_fold).to_have_class(re.compile(r"\bglow\b"))
        folds.first.locator("summary").click()
        expect(folds.first.get_by_role("link", name="b3", exact=True)).to_be_visible()
        page.keyboard.press("Escape")
        expect(folds.first.get_by_role("link", name="b3", exact=True)).to_be_hidden()
        shown = [each.get_attribute("id") for each in page.locator(".row.block").all()]
        page.evaluate(COUNT_DRAWN)
        for n in range(60):
            http.patch(f"/v1/blocks/{shown[n % 20]}", json={"value": f"edit {n}"}).raise_for_status()
        expect(page.locator(f"[id='{shown[19]}'] .version")).to_have_text("4")
        assert 0 < page.evaluate("window.drawn") < 60 * 10, "an edit draws its row, not the map"
        page.get_by_placeholder("Filter by name or label").fill("a299")
        expect(page.locator(".agents .row")).to_have_count(1)
        expect(page).to_have_url(re.compile(r"q=a299"))


COUNT_DRAWN = """() => {
  window.drawn = 0;
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes)
      for (const each of addedNodes) window.drawn += 1 + (each.querySelectorAll?.("*").length ?? 0);
  }).observe(document.querySelector("main"), { childList: true, subtree: true });
}"""
"""How many nodes are put into the page from now on."""


def test_one_finds_ones_way_on_the_map(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    name = f"way_{uuid4().hex[:8]}"
    blocks = [new_block(label=f"{name}_{n}", value="x", read_only=n == 2) for n in range(3)]
    twins = [new_agent(name=f"{name}_twin", block_ids=[blocks[place].id for place in held]) for held in ((2,), (0,))]
    both = new_agent(name=f"{name}_both", block_ids=[blocks[0].id, blocks[1].id])
    page = open_page(f"/?q={name}")
    is_live(page)

    def lit() -> set[str]:
        return set(page.locator(".row.lit").evaluate_all("(rows) => rows.map((row) => row.id)"))

    for twin in twins:  # who has the same name is told apart by the end of the identifier
        expect(page.locator(f"[id='{twin.id}'] .figures")).to_have_text(f"…{twin.id[-6:]}")
    expect(page.locator(f"[id='{both.id}'] .figures")).to_have_count(0)
    expect(page.locator(f"path.read[data-to='{blocks[2].id}']")).to_have_count(1)
    expect(page.locator(f"[id='{blocks[2].id}']")).to_have_class(re.compile(r"\bread-only\b"))

    page.locator(f"[id='{both.id}']").hover()
    expect(page.locator(".line.lit")).to_have_count(2)
    assert lit() == {both.id, blocks[0].id, blocks[1].id}
    page.mouse.move(0, 0)
    expect(page.locator(".lit")).to_have_count(0)
    page.locator(f"[id='{blocks[2].id}'] a").first.focus()
    expect(page.locator(".line.lit")).to_have_count(1)
    assert lit() == {blocks[2].id, twins[0].id}

    page.get_by_role("link", name=f"Around {blocks[1].label}").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".center")).to_contain_text(f"Around {blocks[1].label}")
    assert {row.get_attribute("id") for row in page.locator(".row").all()} == {blocks[0].id, blocks[1].id, both.id}
    is_live(page)
    http.patch(f"/v1/agents/{twins[0].id}/core-memory/blocks/attach/{blocks[1].id}").raise_for_status()
    expect(page.locator(f"[id='{twins[0].id}']")).to_be_visible()
    assert http.get("/?around=agent-gone").status_code == 404


def test_the_theme_follows_the_system_and_the_button(open_page: OpenPage) -> None:
    page = open_page("/blocks", color_scheme="dark")
    assert _is_dark(page)
    page.get_by_role("button", name="Switch between light and dark").click()
    assert not _is_dark(page)
    page.reload()
    assert not _is_dark(page), "the choice is kept"
    assert not _is_dark(open_page("/blocks", color_scheme="light"))


def test_nothing_overflows_a_phone(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    long_tag = "a-tag-that-is-longer-than-any-phone-is-wide-and-then-some-more"
    block = new_block(value="a long line without any break " * 20 + "\n" + "x" * 300, tags=[long_tag])
    agent = new_agent(block_ids=[block.id])
    write(http, agent.id, block.label, "y" * 300)
    page = open_page("/", viewport={"width": 360, "height": 740})
    for path in (f"/?q={block.label}", "/blocks", f"/blocks/{block.id}", f"/blocks/{block.id}?version=2",
                 "/agents", f"/agents/{agent.id}", "/runs", "/blocks/new", "/agents/new", "/inbox", "/activity",
                 f"/search?q={block.label}", f"/blocks/{block.id}/compare", f"/blocks/{block.id}/history",
                 f"/blocks/{block.id}/reach", f"/blocks/{block.id}/why"):  # fmt: skip
        page.goto(path)
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over == 0, f"{path} is {over} pixels too wide"


def test_the_keyboard_is_enough(open_page: OpenPage, new_block: NewBlock) -> None:
    block = new_block(value="first")
    page = open_page("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("f")
    expect(page.get_by_placeholder("Filter by name or label")).to_be_focused()
    page.keyboard.type(block.label)
    expect(page.locator(".row.block")).to_have_count(1)
    row = page.locator(f"[id='{block.id}'] a").first
    row.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#text")).to_contain_text("first")
    is_live(page)
    page.keyboard.press("e")
    expect(page.locator("#edited")).to_be_focused()
    page.keyboard.press("Control+End")
    page.keyboard.type("\nsecond")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".line-of-text")).to_have_count(2)
    expect(page.locator("#edit")).to_be_focused()


def test_every_control_has_a_name(open_page: OpenPage, new_block: NewBlock, new_agent: NewAgent) -> None:
    block = new_block(value="a")
    agent = new_agent(block_ids=[block.id])
    page = open_page("/")
    for path in ("/", f"/blocks/{block.id}", f"/agents/{agent.id}", "/runs", "/blocks/new", "/agents/new"):
        page.goto(path)
        assert page.evaluate(NAMELESS) == [], path


NAMELESS = """() => [...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea')]
  .filter((each) => each.offsetParent && !each.textContent.trim() && !each.ariaLabel && !(each.labels?.length)
    && !each.title)
  .map((each) => each.outerHTML.slice(0, 120))"""


def _is_dark(page: Page) -> bool:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) < 200
