"""Every control of every page while its script is not there yet: what can be seen and used does its work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, Error, Locator, Page, Response, Route, expect

from support.fixtures import NewAgent, NewBlock, StartServer
from support.scripted_model import ScriptedModel
from support.server import ServerProcess
from support.tool_servers import program
from web.conftest import PATIENCE, OpenPage, is_live, visit
from web.test_agent_page import ask_first
from web.test_folder_page import folder_with_file
from web.test_moot_page import call

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

Missing: TypeAlias = Literal["all", "own"]
"""Which scripts have not come: all of them, or only the page's own, behind the one that every page has."""

OWN = ("agent", "block", "folder", "moot", "run")
SCRIPTS = {"all": ["*.js", "*.js?*"], "own": [f"*/{name}.js*" for name in OWN]}
BOUND = {"all": {"page-bound", "htmx-bound", "own-bound"}, "own": {"own-bound"}}
"""How a page is marked by the scripts that have come."""


@pytest.fixture
def server(start_server: StartServer, tmp_path: Path) -> ServerProcess:
    """A server of the test's own, with a database of its own: what others have made would fill its screens."""
    return start_server(database=f"sqlite:///{tmp_path / 'screens.sqlite3'}")


@pytest.fixture
def open_bare(browser: Browser, server: ServerProcess) -> Iterator[OpenPage]:
    """Open a page whose scripts have not come: `open_bare("/blocks", "own")`. It is always the same one."""
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    # The browser itself leaves them out: a route would be asked about every request, and nothing would be cached.
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")

    def open_at(path: str, missing: Missing = "all") -> Page:
        devtools.send("Network.setBlockedURLs", {"urls": SCRIPTS[missing]})
        visit(page, path, wait_until="load" if missing == "all" else "domcontentloaded")
        assert not BOUND[missing].intersection(page.evaluate("[...document.documentElement.classList]"))
        return page

    yield open_at
    context.close()


# -- the walk ----------------------------------------------------------------------------------------------------

Screen: TypeAlias = Callable[[], str]
"""Makes what a page is about anew and returns the page's address."""


def screens(http: httpx.Client, new_block: NewBlock, new_agent: NewAgent, named: str = "library") -> dict[str, Screen]:
    """Return every screen by its name; what is neither a block nor an agent is called `named`."""

    def block(query: str = "") -> str:
        one = new_block(value="first")
        http.patch(f"/v1/blocks/{one.id}", json={"value": "first\nsecond"}).raise_for_status()
        new_agent(block_ids=[one.id])
        return f"/blocks/{one.id}{query}"

    def agent(query: str = "") -> str:
        one = new_agent(block_ids=[new_block(value="first").id], tools=["web_search"])
        return f"/agents/{one.id}{query}"

    def waiting() -> str:
        held = new_block(value="")
        one = new_agent(block_ids=[held.id])
        ask_first(http, one.id, "memory_insert")
        script = call("memory_insert", label=held.label, new_string="approved")
        http.post(f"/v1/agents/{one.id}/messages", json={"input": script}).raise_for_status()
        return f"/agents/{one.id}"

    def archive(query: str = "") -> str:
        one = http.post("/v1/archives", json={"name": named}).raise_for_status().json()["id"]
        kept = {"text": "a heron", "tags": ["bird"]}
        http.post(f"/v1/archives/{one}/passages", json=kept).raise_for_status()
        http.patch(f"/v1/agents/{new_agent().id}/archives/attach/{one}").raise_for_status()
        return f"/archives/{one}{query}"

    def run() -> str:
        one = new_agent(block_ids=[new_block(value="first").id])
        http.post(f"/v1/agents/{one.id}/messages", json={"input": "ECHO hello"}).raise_for_status()
        return f"/runs/{http.get('/v1/runs', params={'agent_id': one.id}).json()[0]['id']}"

    def members() -> str:
        http.post("/v1/keys", json={"name": named[:100], "blocks": []}).raise_for_status()
        return "/members"

    def folder(query: str = "") -> str:
        return f"/folders/{folder_with_file(http)[0]}{query}"

    def file() -> str:
        folder_id, file_id = folder_with_file(http)
        return f"/folders/{folder_id}/files/{file_id}"

    def servers(query: str = "") -> str:
        for other in http.get("/v1/mcp-servers").json():  # the walk counts the buttons
            http.delete(f"/v1/mcp-servers/{other['id']}")
        made = {"server_name": "walked", "config": program()}
        return "/tools/servers" + query.format(http.post("/v1/mcp-servers", json=made).json()["id"])

    def tool(query: str = "") -> str:
        source = f'def wave_{uuid4().hex[:10]}(how: str):\n    """Wave."""\n    return how\n'
        made = http.post("/v1/tools", json={"source_code": source}).raise_for_status().json()
        return f"/tools/{made['id']}{query}"

    return {
        "moot": lambda: f"/?tag={new_block(tags=['one', 'two']).tags[0]}",
        "blocks": lambda: "/blocks",
        "new block": lambda: "/blocks/new",
        "block": block,
        "version": lambda: block("?version=1"),
        "editor": lambda: block("?edit=yes"),
        "delete block?": lambda: block("?ask=delete"),
        "revert block?": lambda: block("?version=1&ask=revert"),
        "settings of block": lambda: block("/settings"),
        "agents": lambda: "/agents",
        "new agent": lambda: "/agents/new",
        "agent": agent,
        "settings of agent": lambda: agent("/settings"),
        "delete agent?": lambda: agent("/settings?ask=delete"),
        "in groups": lambda: f"/agents/{grouped(http, new_agent, named)}",
        "import": lambda: "/agents/import",
        "settings": lambda: "/settings",
        "connect a model": lambda: "/models/new",
        "approval": waiting,
        "chat": lambda: f"/agents/{answered_with_markdown(http, new_agent)}",
        "conversation": lambda: conversation(http, new_agent, named),
        "said differently": lambda: conversation(http, new_agent, named, "&edit={}"),
        "around": lambda: f"/?around={new_agent(block_ids=[new_block(read_only=True).id]).id}",
        "folders": lambda: "/folders",
        "new folder": lambda: "/folders/new",
        "folder": folder,
        "delete folder?": lambda: folder("?ask=delete"),
        "file": file,
        "tools": lambda: "/tools",
        "new tool": lambda: "/tools/new",
        "tool": tool,
        "edit tool": lambda: tool("?edit=yes"),
        "delete tool?": lambda: tool("?ask=delete"),
        "inbox": lambda: waiting() and "/inbox",
        "runs": lambda: run() and "/runs",
        "run": run,
        "step": lambda: f"{run()}/steps/1",
        "line": lambda: block("/why?line=1"),
        "two versions": lambda: block("/compare"),
        "all versions": lambda: block("/history"),
        "reach": lambda: block("/reach?version=2"),
        "search": lambda: "/search",
        "found": lambda: run() and "/search?q=hello",
        "activity": lambda: run() and "/activity",
        "archives": lambda: "/archives",
        "new archive": lambda: "/archives/new",
        "archive": archive,
        "found in archive": lambda: archive("?q=heron"),
        "delete archive?": lambda: archive("?ask=delete"),
        "members": members,
        "servers of tools": servers,
        "remove server?": lambda: servers("?ask={}"),
    }


def grouped(http: httpx.Client, new_agent: NewAgent, description: str) -> str:
    """Return the ID of an agent that is in a group."""
    agents = [new_agent().id, new_agent().id]
    http.post("/v1/groups", json={"agent_ids": agents, "description": description}).raise_for_status()
    return agents[0]


def conversation(http: httpx.Client, new_agent: NewAgent, named: str, asked: str = "") -> str:
    """Return the address of a conversation beside an agent's main one; `{}` in `asked` becomes what was said in it."""
    agent = new_agent().id
    begun = http.post("/v1/conversations", params={"agent_id": agent}, json={"summary": named}).json()["id"]
    path = f"/v1/conversations/{begun}/messages"
    http.post(path, json={"input": "ECHO hello", "streaming": False}).raise_for_status()
    said = http.get(path, params={"order": "asc"}).json()[1]["id"]
    return f"/agents/{agent}?conversation={begun}{asked.format(said)}"


def answered_with_markdown(http: httpx.Client, new_agent: NewAgent) -> str:
    """Return the ID of an agent whose reply has a heading, a table, a quote and code."""
    agent = new_agent()
    said = "ECHO # Birds\n\n| bird | legs |\n|---|--:|\n| heron | 2 |\n\n> a quote\n\n```\nlegs = 2\n```"
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": said}).raise_for_status()
    return agent.id


DOWNLOADS = {"Download a backup"}
"""Buttons that bring a file, and leave the page as it is."""

SCRIPTED = {"block", "version", "editor", "agent", "approval", "chat", "conversation", "folder"}
"""Screens whose controls have a script of their own."""


@pytest.mark.parametrize("missing", ["all", "own"])
def test_what_can_be_seen_does_its_work(
    open_bare: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent, missing: Missing
) -> None:
    idle: list[str] = []
    known: set[str] = set()
    for name, screen in screens(http, new_block, new_agent).items():
        if missing == "own" and name not in SCRIPTED:
            continue
        page = open_bare(screen(), missing)
        idle += [f"{name}: {each}" for each in [*page.evaluate(UNSENT), *dead_links(page, http, known)]]
        used = False
        for place, kind in page.evaluate(BUTTONS):
            if kind in known:
                continue
            known.add(kind)
            if used:
                page = open_bare(screen(), missing)
            used = True
            if problem := press(page, place):
                idle.append(f"{name}: {kind}: {problem}")
    assert idle == []
    assert len(known) > 25, "the walk has lost its way"


def dead_links(page: Page, http: httpx.Client, followed: set[str]) -> list[str]:
    """Return the visible links that lead nowhere; of links of one kind one is followed."""
    dead = []
    for address in page.evaluate(LINKS):
        kind = re.sub(r"-[0-9a-f-]{36}|\d+", "-", address)
        if kind not in followed:
            followed.add(kind)
            if not address or http.get(address).status_code != 200:
                dead.append(f"a link to {address!r}")
    return dead


def press(page: Page, place: int) -> str:
    """Fill in the form of a page's button and click it; return what is wrong with what came of it, or nothing.

    The page must be another one then. What it refused it says in its place.
    """
    refused: list[str] = []

    def note(response: Response) -> None:
        if response.status >= 400:
            refused.append(f"{response.status} {response.url}")

    control = page.locator("button").nth(place)
    filled = page.evaluate(FILL, place)
    if filled["files"]:
        for field in control.locator("xpath=ancestor::form//input[@type='file']").all():
            field.set_input_files({"name": "filled.txt", "mimeType": "text/plain", "buffer": b"filled"})
    if filled["called"] in DOWNLOADS:
        with page.expect_download():
            control.click()
        return ""
    before = page.evaluate(f"({SHOWN})()")
    page.on("response", note)
    control.click()
    came = what_came(page, before)
    page.remove_listener("response", note)
    if came is None:
        return f"nothing changed at {page.url}"
    return "" if came else ", ".join(refused)


def what_came(page: Page, before: str) -> int | None:
    """Wait until a page is another one; return how many problems it tells of, None if it stays as it was.

    It is looked at anew whenever it has been left for the next one.
    """
    for attempt in range(3):
        try:
            problems: int | None = page.evaluate(CAME, [before, PATIENCE])
        except Error:
            if attempt == 2:
                raise
        else:
            return problems
    return None


KIND = """button => {
  const target = new URL(button.hasAttribute("formaction") ? button.formAction : button.form?.action ?? "none:");
  const path = target.pathname.replace(/-[0-9a-f-]{36}/g, "-");
  return [button.formMethod || button.form?.method, path, button.name, button.textContent.trim()].join(" ");
}"""

USABLE = """
for (const each of document.querySelectorAll("details")) each.open = true;  // folds need no script
const isUsable = (each) => each.checkVisibility({ visibilityProperty: true }) && !each.disabled;
const isBound = (name) => document.documentElement.classList.contains(`${name}-bound`);
const hasScript = (form) => form && ((isBound("page") && form.matches(":has([data-from-change])"))
  || (isBound("htmx") && form.matches("[hx-get]")));
"""

BUTTONS = f"""() => {{ {USABLE}
  return [...document.querySelectorAll("button")].map((button, place) => [place, ({KIND})(button), button])
    .filter((each) => isUsable(each[2])).map((each) => each.slice(0, 2));
}}"""
"""The place of each button that can be used, among all, with what it is called and where it leads."""

UNSENT = f"""() => {{ {USABLE}
  const isSent = (field) => hasScript(field.form)
    || [...(field.form?.elements ?? [])].some((each) => each.type === "submit" && isUsable(each));
  return [...document.querySelectorAll("input, textarea, select")]
    .filter((field) => isUsable(field) && !isSent(field)).map((field) => field.outerHTML.slice(0, 200));
}}"""
"""The fields that no button that can be used sends."""

LINKS = """[...document.querySelectorAll("a")]
  .filter((each) => each.checkVisibility() && !each.getAttribute("href")?.startsWith("#"))
  .map((each) => each.getAttribute("href") ?? "")"""

FILL = f"""(place) => {{ {USABLE}
  const button = document.querySelectorAll("button")[place];
  const fields = [...(button.form?.elements ?? [])];
  for (const field of fields) {{
    if (field.type === "hidden" || (field.list && !field.required) || !field.checkVisibility()) continue;
    if (field.matches("select")) field.selectedIndex = field.options.length - 1;
    else if (field.type === "range") field.value = field.value === field.min ? field.max : field.min;
    else if (field.matches("input:not([type=file]), textarea") && !field.value) field.value = "filled";
  }}
  return {{ called: button.innerText, files: fields.some((each) => each.type === "file") }};
}}"""
"""Fill in a button's form; tells what it is called and whether its form takes files."""

SHOWN = """() => {
  const copy = document.documentElement.cloneNode(true);
  for (const each of copy.querySelectorAll("head, time, #live, #run-count")) each.remove();
  for (const each of copy.querySelectorAll("[aria-busy]")) each.removeAttribute("aria-busy");
  for (const each of copy.querySelectorAll("button[disabled]")) each.removeAttribute("disabled");
  return copy.outerHTML;
}"""
"""What is seen of a page; that a form was sent is not yet what became of it."""

CAME = f"""([before, patience]) => new Promise((resolve) => {{
  const look = () => {{
    if (document.readyState === "loading" || ({SHOWN})() === before) return;
    resolve([...document.querySelectorAll(".problem, .error")]
      .filter((each) => each.checkVisibility({{ visibilityProperty: true }})).length);
  }};
  document.addEventListener("readystatechange", look);
  const all = {{ subtree: true, childList: true, attributes: true, characterData: true }};
  new MutationObserver(look).observe(document, all);
  setTimeout(() => resolve(null), patience);
  look();
}})"""
"""How many problems a whole page that is not the one before tells of, once it is there."""


# -- each of them, with scripts switched off ---------------------------------------------------------------------


@pytest.fixture
def open_plain(open_page: OpenPage) -> OpenPage:
    """Open a page in a browser that runs no scripts."""
    return lambda path, **options: open_page(path, java_script_enabled=False, **options)


def test_an_edit_without_scripts_overwrites_nothing(
    open_plain: OpenPage, http: httpx.Client, new_block: NewBlock
) -> None:
    block = new_block(value="first", limit=20)
    page = open_plain(f"/blocks/{block.id}")
    page.get_by_role("button", name="Edit", exact=True).click()
    text = page.get_by_role("textbox", name="Text")
    expect(text).to_have_value("first")
    text.fill("far more than twenty characters")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#edit-problem")).to_contain_text("11 more than the block's limit")
    text.fill("mine\n")
    http.patch(f"/v1/blocks/{block.id}", json={"value": "theirs"}).raise_for_status()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="has written version 2 since you began")).to_be_visible()
    expect(page.locator("#theirs")).to_have_text("theirs")
    expect(text).to_have_value("mine\n")
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "theirs"
    page.get_by_role("button", name="Write mine over it").click()
    expect(page.locator(".line-of-text")).to_have_text(["mine"])
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "mine\n"

    page.get_by_role("slider", name="Version").press("ArrowLeft")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_role("button", name="Revert to v2…").click()
    page.get_by_role("button", name="Keep it as it is").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Revert to v2…").click()
    page.get_by_role("button", name="Revert", exact=True).click()
    expect(page.locator(".line-of-text")).to_have_text(["theirs"])
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page).to_have_url(re.compile("/blocks$"))
    assert http.get(f"/v1/blocks/{block.id}").status_code == 404


def test_a_chat_without_scripts_goes_on_by_looking_again(
    open_plain: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block(value="")
    agent = new_agent(block_ids=[block.id])
    ask_first(http, agent.id, "memory_insert")
    page = open_plain(f"/agents/{agent.id}")
    message = page.locator("#message")
    with scripted_model.hold(after=1):
        message.fill("ECHO never said")
        page.get_by_role("button", name="Send").click()
        page.get_by_role("button", name="Stop").click()
        look_until(page, page.locator("#runs .status-cancelled"))
    pair = ", ".join(f'["memory_insert", {{"label": "{block.label}", "new_string": "{one}"}}]' for one in ("a", "b"))
    message.fill(f"CALLS [{pair}]")
    page.get_by_role("button", name="Send").click()
    look_until(page, page.get_by_role("button", name="Approve").first)
    message.fill("too early")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#send-problem")).to_contain_text("waiting for approval")
    expect(message).to_have_value("too early")

    page.get_by_role("button", name="Approve").first.click()
    expect(page.locator(".tool-state").first).to_have_text("approved")
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == ""
    page.get_by_label("Reason").last.fill("one is enough")
    page.get_by_role("button", name="Deny").last.click()
    look_until(page, page.locator(".saying.tool.failed"))
    expect(page.locator(".saying.tool.failed .result")).to_have_text(re.compile("one is enough"))
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "a"


def look_until(page: Page, wanted: Locator) -> None:
    """Look again, as a person does, until something is there."""
    for _ in range(200):
        if wanted.count():
            return
        page.goto(page.url)
    pytest.fail(f"{wanted} never came")


def test_a_run_is_cancelled_without_scripts(
    open_plain: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold(after=3):
        http.post(f"/v1/agents/{agent.id}/messages/async", json={"input": "ECHO one two three four"})
        page = open_plain(f"/runs?agent={agent.id}")
        page.get_by_role("button", name="Cancel").click()
        expect(page).to_have_url(re.compile("/runs/run-"))
        look_until(page, page.locator(".facts .status-cancelled"))


def test_signing_in_and_the_tutorial_need_no_scripts(open_plain: OpenPage, start_server: StartServer) -> None:
    settings = {"FOLKMOOT_API_KEY": "the key", "FOLKMOOT_DEFAULT_MODEL": "offline/notetaker"}
    page = open_plain("/", url=start_server(env=settings).url)
    page.get_by_label("API key").fill("the key")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Run the tutorial").click()
    expect(page.get_by_role("link", name="organization", exact=True)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_what_was_begun_before_the_scripts_came_goes_on_with_them(
    browser: Browser, server: ServerProcess, http: httpx.Client, new_block: NewBlock
) -> None:
    block = new_block(value="first")
    held: list[Route] = []
    waits = True
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    # theme.js is left out: a browser shows nothing before it has come.
    scripts = re.compile(r"/(?!theme)\w+\.(min\.)?js(\?|$)")
    context.route(scripts, lambda route: held.append(route) if waits else route.continue_())
    page.goto(f"/blocks/{block.id}", wait_until="commit")
    page.get_by_role("button", name="Edit", exact=True).click(no_wait_after=True)
    text = page.get_by_role("textbox", name="Text")
    text.fill("begun early")
    expect(page.get_by_role("button", name="Switch between light and dark")).to_be_hidden()
    http.patch(f"/v1/blocks/{block.id}", json={"value": "theirs"}).raise_for_status()
    waits = False
    for route in held:
        if route.request.headers["referer"].endswith("?edit=yes"):  # the page before it is gone, with its requests
            route.continue_()
    is_live(page)
    expect(text).to_have_value("begun early")
    expect(page).to_have_url(re.compile(f"/blocks/{block.id}$"))
    expect(page.get_by_role("button", name="Switch between light and dark")).to_be_visible()
    expect(page.get_by_role("button", name="Show", exact=True)).to_be_hidden()
    expect(page.get_by_text("Somebody has written version 2")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Drop mine").click()
    expect(page.locator(".line-of-text")).to_have_text(["theirs"])
    context.close()
