"""Take the pictures of the pages that stand beside this file, from a server of its own with the offline model.

python docs/pictures/take.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
PORT = 8397
BASE = f"http://127.0.0.1:{PORT}"
LIGHT: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
DARK: dict[str, Any] = LIGHT | {"color_scheme": "dark"}
PHONE: dict[str, Any] = LIGHT | {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}

TEAM = (
    ("scout", "research", ("findings", "questions"), "web_search"),
    ("archivist", "research", ("findings", "glossary"), ""),
    ("editor", "writing", ("draft", "findings", "style"), ""),
    ("reviewer", "writing", ("draft", "questions"), ""),
)
NOTES = (
    ("scout", "findings", "Blocks are read anew before every step of a turn."),
    ("archivist", "glossary", "block: a labelled piece of text in an agent's context"),
    ("editor", "draft", "Agents that share a block need no messages to agree."),
    ("scout", "findings", "Inserts never conflict; a replace is checked against the text as it is."),
    ("reviewer", "questions", "What happens when two agents replace the same line?"),
    ("reviewer", "draft", "(This claim needs a source.)"),
    ("archivist", "findings", "Every version is kept with its author."),
)


@contextmanager
def running_server(folder: Path, **variables: str) -> Iterator[httpx.Client]:
    """Run a server, and give a client of it."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "FOLKMOOT_DATA": str(folder), **variables}
    command = [sys.executable, "-m", "folkmoot", "serve", "--port", str(PORT)]
    environ["FOLKMOOT_SHUTDOWN_WAIT"] = "1"
    with subprocess.Popen(command, env=environ, cwd=folder) as process:  # noqa: S603 - our own command
        try:
            with httpx.Client(base_url=BASE, timeout=60) as http:
                _wait_until_ready(http)
                yield http
        finally:
            process.terminate()


def _wait_until_ready(http: httpx.Client) -> None:
    for _ in range(200):
        try:
            http.get("/v1/health").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server did not start")


def shot(page: Page, name: str, *, full: bool = False) -> None:
    """Take a picture of a page that has come to rest."""
    page.evaluate("document.fonts.ready")
    page.evaluate("Promise.allSettled(document.getAnimations().map((each) => each.finished))")
    page.screenshot(path=HERE / f"{name}.png", full_page=full)


def opened(browser: Browser, path: str, options: dict[str, Any]) -> Page:
    """Open a page and wait until it is live."""
    page = browser.new_context(**options).new_page()
    page.goto(BASE + path)
    page.wait_for_selector("#live[data-state=live]")
    return page


def make_team(http: httpx.Client) -> tuple[dict[str, str], dict[str, str]]:
    """Make a few agents and blocks and let them write; return their identifiers by name and by label."""
    blocks: dict[str, str] = {}
    for label in ("findings", "questions", "glossary", "draft", "style"):
        fields = {"label": label, "value": "", "limit": 2000, "tags": ["team"], "read_only": label == "style"}
        fields["value"] = "Write short sentences. Name the source." if label == "style" else ""
        blocks[label] = http.post("/v1/blocks", json=fields).json()["id"]
    agents: dict[str, str] = {}
    for name, tag, labels, tool in TEAM:
        fields = {"name": name, "tags": ["team", tag], "block_ids": [blocks[label] for label in labels]}
        agents[name] = http.post("/v1/agents", json=fields | {"tools": [tool] if tool else []}).json()["id"]
    for name, label, access in (("archivist", "findings", "append"), ("editor", "style", "read")):
        path = f"/v1/agents/{agents[name]}/core-memory/blocks/attach/{blocks[label]}"
        http.patch(path, json={"access": access}).raise_for_status()
    for name, label, note in NOTES:
        request = f'Insert "{note}" into the {label} memory block'
        http.post(f"/v1/agents/{agents[name]}/messages", json={"input": request}).raise_for_status()
    return agents, blocks


def take_start(browser: Browser) -> dict[str, str]:
    """Run the tutorial from the page; return where its block and first agent are."""
    page = opened(browser, "/", LIGHT)
    shot(page, "start")
    page.get_by_role("button", name="Run the tutorial").click()
    page.get_by_text("agent2 +1 line").wait_for()
    page.wait_for_function("!document.querySelector('.busy')")
    links = ("organization", "agent1")
    return {name: page.get_by_role("link", name=name).first.get_attribute("href") or "" for name in links}


def take_all(browser: Browser, http: httpx.Client) -> None:
    """Take every picture of a server without a key."""
    tutorial = take_start(browser)
    agents, blocks = make_team(http)
    scout, findings = f"/agents/{agents['scout']}", f"/blocks/{blocks['findings']}"
    for suffix, options in (("", LIGHT), ("-dark", DARK), ("-phone", PHONE)):
        shot(opened(browser, "/", options), f"moot{suffix}")
        shot(opened(browser, findings, options), f"block{suffix}", full=bool(suffix == "-phone"))
        shot(opened(browser, tutorial["agent1"], options), f"agent{suffix}")
        shot(opened(browser, "/runs", options), f"runs{suffix}")
    shot(opened(browser, f"{tutorial['organization']}?version=2", LIGHT), "change")
    take_conflict(browser, http, blocks["draft"])
    take_approval(browser, http, agents["scout"], scout)
    take_inbox(browser, http, agents["reviewer"])
    take_line(browser, findings)
    page = opened(browser, "/runs", LIGHT)
    page.locator("tbody time").first.click()
    page.wait_for_selector("#run-page")
    shot(page, "run")
    take_settings(browser, http, agents["archivist"])
    shot(opened(browser, "/agents/new", LIGHT), "new-agent")
    shot(opened(browser, "/blocks", LIGHT), "blocks")
    page = opened(browser, "/blocks/new", DARK)
    page.get_by_label("Limit").fill("few")
    page.get_by_role("button", name="Make block").click()
    page.wait_for_selector(".problem")
    shot(page, "new-block-dark")
    page = opened(browser, findings, DARK)
    page.get_by_text("As code").click()
    page.locator(".code").scroll_into_view_if_needed()
    shot(page, "as-code-dark", full=True)


def run_example(name: str) -> None:
    """Run an example on the server with the offline model."""
    environ = {**os.environ, "FOLKMOOT_BASE_URL": BASE, "FOLKMOOT_MODEL": "offline/notetaker", "LETTA_API_KEY": "none"}
    subprocess.run([sys.executable, str(EXAMPLES / f"{name}.py")], env=environ, check=True)  # noqa: S603 - our own


def take_examples(browser: Browser, http: httpx.Client) -> None:
    """Take a picture of what each example leaves on the page, each on a moot that begins empty."""
    pages = {
        "research_team": "/blocks/{findings}",
        "policy_board": "/agents/{sales}",
        "task_coordination": "/blocks/{tasks}?version=6",
        "specialists": "/",
    }
    folds = {"policy_board": ".tool.failed summary", "task_coordination": "#history summary"}
    heights = {"policy_board": 900, "specialists": 420}
    for name, address in pages.items():
        run_example(name)
        agents = {each["name"]: each["id"] for each in http.get("/v1/agents").json()}
        blocks = {each["label"]: each["id"] for each in http.get("/v1/blocks").json()}
        page = opened(browser, address.format(**agents, **blocks), LIGHT)
        if name in folds:
            page.locator(folds[name]).click()
        page.set_viewport_size({"width": 1280, "height": heights.get(name, 800)})
        shot(page, name.replace("_", "-"))
        for kind, found in (("agents", agents), ("blocks", blocks)):
            for identifier in found.values():
                http.delete(f"/v1/{kind}/{identifier}").raise_for_status()


def take_conflict(browser: Browser, http: httpx.Client, block_id: str) -> None:
    """Take the picture of an edit that somebody else's came before."""
    page = opened(browser, f"/blocks/{block_id}", LIGHT)
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("textbox", name="Text").fill("Agents that share a block agree without messages.")
    http.patch(f"/v1/blocks/{block_id}", json={"value": "Agents agree through the blocks that they share."})
    page.wait_for_selector("#moved:not([hidden])")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("#conflict:not([hidden])")
    shot(page, "conflict")


def take_approval(browser: Browser, http: httpx.Client, agent_id: str, path: str) -> None:
    """Take the picture of a call that waits for a person."""
    http.patch(f"/v1/agents/{agent_id}/tools/approval/web_search", json={"requires_approval": True})
    page = opened(browser, path, LIGHT)
    page.locator("#message").fill("Find information about memory blocks and insert it into the findings block.")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Approve").wait_for()
    shot(page, "approval")


def take_inbox(browser: Browser, http: httpx.Client, agent_id: str) -> None:
    """Take the picture of what waits for a person: an edit of a block, and a search."""
    http.patch(f"/v1/agents/{agent_id}/tools/approval/memory_insert", json={"requires_approval": True})
    request = 'Insert "Who checks the sources before we publish?" into the questions memory block'
    http.post(f"/v1/agents/{agent_id}/messages", json={"input": request}).raise_for_status()
    for name, options in (("inbox", LIGHT), ("inbox-dark", DARK)):
        shot(opened(browser, "/inbox", options), name)


def take_line(browser: Browser, findings: str) -> None:
    """Take the picture of a line that says who wrote it, and why; and of what a model was sent."""
    page = opened(browser, findings, LIGHT)
    page.locator(".line-of-text").nth(1).click()
    page.wait_for_selector("#why-dialog[open]")
    shot(page, "line")
    page.get_by_role("link", name="The step").click()
    page.wait_for_selector(".step-page")
    shot(page, "step")


def take_settings(browser: Browser, http: httpx.Client, agent_id: str) -> None:
    """Take the pictures of the server's settings, and of a system prompt that is looked at before it is saved."""
    shot(opened(browser, "/settings", LIGHT), "settings")
    system = "You find sources.\nAnswer in one paragraph.\nName where each fact is from."
    http.patch(f"/v1/agents/{agent_id}", json={"system": system}).raise_for_status()
    page = opened(browser, f"/agents/{agent_id}/settings", LIGHT)
    page.get_by_role("textbox", name="System prompt").fill(system.replace("one paragraph", "three sentences"))
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("list", name="What changes in the system prompt").wait_for()
    page.wait_for_selector("#live[data-state=live]")
    shot(page, "system-prompt")


def take_together(browser: Browser, http: httpx.Client) -> None:
    """Take the pictures of the sign-in, and of a block that two agents and a person have written."""
    key = http.post("/v1/keys", json={"name": "ada", "role": "member"}).raise_for_status().json()["key"]
    page = browser.new_context(**LIGHT).new_page()
    page.goto(BASE + "/")
    shot(page, "sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Run the tutorial").click()
    page.get_by_text("agent2 +1 line").wait_for()
    page.wait_for_function("!document.querySelector('.busy')")
    page.get_by_role("link", name="organization").first.click()
    page.get_by_role("button", name="Edit", exact=True).click()
    text = page.get_by_role("textbox", name="Text")
    text.fill(f"{text.input_value()}\nAda: Do we know when the first version came out? Please add it with its source.")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator(".line-of-text", has_text="Ada:").wait_for()
    page.wait_for_selector("#live[data-state=live]")
    shot(page, "together")


def main() -> None:
    """Take all pictures."""
    path = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--force-color-profile=srgb"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        with running_server(Path(folder)) as http:
            take_all(browser, http)
        (examples := Path(folder) / "examples").mkdir()
        with running_server(examples) as http:
            take_examples(browser, http)
        (guarded := Path(folder) / "guarded").mkdir()
        with running_server(guarded, FOLKMOOT_API_KEY="secret") as http:
            http.headers["Authorization"] = "Bearer secret"
            take_together(browser, http)
        browser.close()


if __name__ == "__main__":
    main()
