"""What is said in a chat: hostile Markdown that loads and runs nothing, copies, drafts, a stop that says so."""

from __future__ import annotations

import re
import zlib
from base64 import b64decode, b64encode

import httpx
import pytest
from playwright.sync_api import Route, expect

from support.fixtures import MODEL, NewAgent, NewBlock, StartServer
from support.scripted_model import ScriptedModel
from support.server import ServerProcess
from web.conftest import OpenPage, is_bound, is_live
from web.test_agent_page import ask_first, say
from web.test_moot_page import QUICK, call

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

HOSTILE = """# Result
<script>document.title = "taken"</script><img src="https://tracker.invalid/a.png" onerror="document.title = 'taken'">
![a heron](https://tracker.invalid/b.png?who=reader) [run](javascript:document.title='taken')
[see](https://example.com/page) [here](/blocks)

| bird | legs |
|---|--:|
| heron | 2 |

```python
print("<b>1</b>")
```
"""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


PNG = b64encode(
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", b"\0\0\0\3\0\0\0\2\x08\0\0\0\0")
    + _chunk(b"IDAT", zlib.compress(b"\0\x10\x80\xf0" * 2))
    + _chunk(b"IEND", b"")
).decode()
"""A picture of three by two grey pixels."""

GIVE = """([how, name, data]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const options = { dataTransfer: transfer, clipboardData: transfer, bubbles: true, cancelable: true };
  if (how === "drop") document.querySelector("#log").dispatchEvent(new DragEvent("drop", options));
  else document.querySelector("#message").dispatchEvent(new ClipboardEvent("paste", options));
}"""
"""Drop a picture where the messages are, or paste it where one writes."""


def test_markdown_is_shown_and_neither_loads_nor_runs_anything(
    server: ServerProcess, open_page: OpenPage, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}", url=server.url, permissions=["clipboard-read", "clipboard-write"])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    say(page, f"ECHO {HOSTILE}")
    answer = page.locator(".saying.agent .text")
    for _ in ("as it came", "as it is stored"):
        expect(answer.locator("td").first).to_have_text("heron")
        expect(answer.get_by_role("link", name="see")).to_have_attribute("rel", "noopener noreferrer nofollow")
        expect(answer.get_by_role("link", name="see (leads elsewhere)")).to_be_visible()
        expect(answer.get_by_role("link", name="a heron (leads elsewhere)")).to_be_visible()
        expect(answer.get_by_role("link", name="here", exact=True)).to_have_attribute("href", "/blocks")
        expect(answer.locator("img, script, [onerror], [href^='javascript']")).to_have_count(0)
        expect(answer).to_contain_text("<script>")
        expect(page).to_have_title(f"{agent.name} · folkmoot")
        page.reload()
    assert not [url for url in asked if "tracker" in url]
    answer.locator(".code-block").hover()
    answer.get_by_role("button", name="Copy").click()
    expect(answer.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == 'print("<b>1</b>")'
    page.locator(".saying.agent").get_by_role("button", name="Copy the message").click()
    expect(page.locator(".saying.agent header .copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()").strip() == HOSTILE.strip()


def test_what_is_not_sent_is_kept_and_a_stop_says_so(
    open_page: OpenPage, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}")
    message = page.locator("#message")
    message.fill("half a thought")
    page.goto("/blocks")
    page.goto(f"/agents/{agent.id}")
    expect(message).to_have_value("half a thought")
    with scripted_model.hold(after=3):
        say(page, "ECHO one two three")
        expect(page.locator(".saying.user time")).to_have_count(1)
        expect(page.locator(".saying.agent .text")).to_contain_text("one")
        page.reload()
        is_bound(page)
        expect(page.locator("#chat-state")).to_have_text("working…")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#chat-state")).to_have_text("stopped")
    page.reload()
    expect(message).to_have_value("")


def test_what_is_begun_before_the_scripts_are_there_is_kept(open_page: OpenPage, new_agent: NewAgent) -> None:
    agent = new_agent()
    page = open_page("/agents")

    def write_first(route: Route) -> None:
        page.locator("#message").fill("half a thought")
        route.continue_()

    page.route("**/agent.js*", write_first, times=1)
    page.goto(f"/agents/{agent.id}")
    is_bound(page)
    page.reload()
    expect(page.locator("#message")).to_have_value("half a thought")


def test_a_stop_before_the_server_has_the_message_stops_it_all_the_same(
    open_page: OpenPage, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    page = open_page(f"/agents/{new_agent().id}")
    held: list[Route] = []
    page.route("**/messages", lambda route: held.append(route), times=1)
    with scripted_model.hold(after=1):
        with page.expect_request("**/messages"):
            say(page, "ECHO one two three")
        page.get_by_role("button", name="Stop").click()
        held[0].continue_()
        expect(page.locator("#chat-state")).to_have_text("stopped")


CUT = """const whole = window.fetch;
window.fetch = async (path, options) => {
  const response = await whole(path, options);
  if (!/messages$|stream/.test(path) || window.cut) return response;
  window.cut = true;
  const reader = response.body.getReader();
  let held = "";
  return new Response(new ReadableStream({ async pull(to) {
    const { value } = await reader.read();
    held += new TextDecoder().decode(value);
    to.enqueue(value);
    if (held.includes("two")) to.error(new TypeError("network error"));
  } }));
}"""
"""Break the connection by which a turn is told first, once it has said "two"."""


@pytest.mark.parametrize("whose", ["one's own", "somebody else's"])
def test_a_turn_is_shown_to_its_end_where_its_connection_breaks(
    server: ServerProcess,
    open_page: OpenPage,
    http: httpx.Client,
    new_agent: NewAgent,
    scripted_model: ScriptedModel,
    whose: str,
) -> None:
    agent = new_agent()
    page = open_page("/login", url=server.url)
    page.add_init_script(CUT)
    page.goto(f"/agents/{agent.id}")
    is_live(page)
    with scripted_model.hold("ECHO", after=4) as held:
        if whose == "one's own":
            say(page, "ECHO one two three four")
        else:
            said = {"input": "ECHO one two three four", "stream_tokens": True}
            http.post(f"/v1/agents/{agent.id}/messages/async", json=said).raise_for_status()
        expect(page.locator("#chat-state")).to_have_text("working…")
        page.locator("#message").fill("written meanwhile")
        page.locator("#search").focus()
        held.release()
    expect(page.locator(".saying.agent .text")).to_have_text("one two three four")
    expect(page.locator("#send")).to_be_enabled()
    expect(page.locator(".saying.user .text")).to_have_text("ECHO one two three four")
    expect(page.locator("#message")).to_have_value("written meanwhile")
    expect(page.locator("#send-problem")).to_be_hidden()
    expect(page.locator("#search")).to_be_focused()


def test_a_turn_and_its_run_are_followed_through_a_server_that_dies(
    open_page: OpenPage, start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server(env=QUICK)
    with httpx.Client(base_url=server.url, timeout=60) as http:
        agent = http.post("/v1/agents", json={"model": MODEL}).raise_for_status().json()["id"]
        page = open_page(f"/agents/{agent}", url=server.url)
        with scripted_model.hold(after=4):
            say(page, "ECHO one two three four")
            expect(page.locator(".saying.agent .text")).to_contain_text("two")
            (run,) = http.get("/v1/runs", params={"agent_id": agent}).json()
            follower = open_page(f"/runs/{run['id']}", url=server.url)
            expect(follower.locator("#messages")).to_contain_text("two")
            server.kill()
            expect(page.locator("#chat-state")).to_contain_text("The server cannot be reached.")
            expect(page.locator("#message")).to_have_value("")
            with follower.expect_event("requestfailed"):
                pass
            server.start()
            expect(page.locator(".in-vain .user .text")).to_have_text("ECHO one two three four")
            expect(page.locator("#send")).to_be_enabled()
            expect(follower.locator(".status-failed").first).to_be_visible()


def test_what_the_server_has_is_not_said_again_where_its_answer_is_lost(
    server: ServerProcess, open_page: OpenPage, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}", url=server.url)
    page.route("**/messages", lambda route: (route.fetch(), route.abort()), times=1)
    say(page, "ECHO once")
    expect(page.locator(".saying.agent .text")).to_have_text("once")
    expect(page.locator("#message")).to_have_value("")
    page.route("**/messages", lambda route: route.fulfill(content_type="text/event-stream", body=""), times=1)
    say(page, "ECHO never")
    expect(page.locator("#send-problem")).to_contain_text("did not reach the server")
    expect(page.locator("#message")).to_have_value("ECHO never")
    page.route(re.compile("/messages$|/stream$"), lambda route: route.abort())
    say(page, "ECHO nowhere")
    expect(page.locator("#chat-state")).to_contain_text("cannot be reached")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#send-problem")).to_contain_text("cannot be reached")
    expect(page.locator("#message")).to_have_value("ECHO nowhere")
    said = [each.get("content") for each in http.get(f"/v1/agents/{agent.id}/messages").json()]
    assert (said.count("ECHO once"), said.count("ECHO never"), said.count("ECHO nowhere")) == (1, 0, 0)


def test_what_is_refused_comes_back_before_what_was_written_since_and_a_stop_can_be_tried_again(
    server: ServerProcess, open_page: OpenPage, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    page = open_page(f"/agents/{new_agent().id}", url=server.url)
    held: list[Route] = []
    page.route("**/messages", lambda route: held.append(route), times=1)
    with page.expect_request("**/messages"):
        say(page, "what was sent")
    page.locator("#message").fill("what was written since")
    held[0].fulfill(status=503)
    expect(page.locator("#message")).to_have_value("what was sent\n\nwhat was written since")
    expect(page.locator("#send-problem")).to_contain_text("503")
    with scripted_model.hold(after=3):
        say(page, "ECHO one two three")
        expect(page.locator(".saying.agent .text")).to_contain_text("one")
        page.route("**/cancel", lambda route: route.fulfill(status=503), times=1)
        stop = page.get_by_role("button", name="Stop")
        stop.click()
        expect(page.locator("#send-problem")).to_contain_text("503")
        expect(stop).to_be_focused()
        stop.press("Enter")
        expect(page.locator("#chat-state")).to_have_text("stopped")
        expect(page.locator("#message")).to_be_focused()


def test_a_decision_that_did_not_arrive_can_be_taken_again(
    server: ServerProcess, open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="first")
    agent = new_agent(block_ids=[block.id])
    ask_first(http, agent.id, "memory_insert")
    page = open_page(f"/agents/{agent.id}", url=server.url)
    say(page, call("memory_insert", label=block.label, new_string="second"))
    reason = page.locator(".reason:visible")
    reason.fill("not now")
    page.route("**/messages", lambda route: route.fulfill(status=503), times=1)
    reason.press("Enter")
    expect(page.locator("#send-problem")).to_contain_text("503")
    expect(page.locator(".saying.tool summary")).to_be_focused()
    expect(reason).to_have_value("not now")
    reason.press("Enter")
    expect(page.locator(".saying.tool .tool-state")).to_have_text("✗ failed")
    expect(page.locator("#send-problem")).to_be_hidden()


def test_what_is_refused_comes_back_whole_and_goes_with_who_signs_out(
    open_page: OpenPage, start_server: StartServer
) -> None:
    server = start_server(env={**QUICK, "FOLKMOOT_API_KEY": "the key", "FOLKMOOT_MAX_BODY": "2000"})
    with httpx.Client(base_url=server.url, timeout=60, headers={"Authorization": "Bearer the key"}) as http:
        agent = http.post("/v1/agents", json={"model": "offline/notetaker"}).raise_for_status().json()["id"]

    def sign_in() -> None:
        page.get_by_label("API key").fill("the key")
        page.get_by_role("button", name="Sign in").click()

    page = open_page(f"/agents/{agent}", url=server.url)
    sign_in()
    is_bound(page)
    expect(page.get_by_text("Pictures…")).to_be_visible()
    page.evaluate(GIVE, ["paste", "heron.png", PNG])
    expect(page.locator("#pictures canvas")).to_have_count(1)
    large = {"name": "large.png", "mimeType": "image/png", "buffer": b64decode(PNG) + b"\0" * 1480}
    page.locator("#add-pictures").set_input_files([large])
    expect(page.locator("#send-problem")).to_contain_text("With large.png the pictures have")
    expect(page.locator("#pictures canvas")).to_have_count(1)

    page.locator("#message").fill("x" * 2000)
    page.locator("#message").press("Enter")
    expect(page.locator("#send-problem")).to_contain_text("larger than 2,000 bytes")
    expect(page.locator("#message")).to_have_value("x" * 2000)
    expect(page.locator("#pictures").get_by_role("img", name="heron.png")).to_be_visible()
    expect(page.locator(".saying.user")).to_have_count(0)
    page.reload()
    expect(page.locator("#message")).to_have_value("x" * 2000)

    page.get_by_role("button", name="Sign out").click()
    sign_in()
    page.goto(f"/agents/{agent}")
    is_bound(page)
    expect(page.locator("#message")).to_have_value("")


def test_conversations_are_tabs_that_are_begun_forked_named_and_closed(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}")
    tabs = page.get_by_role("navigation", name="Conversations").get_by_role("link")
    say(page, "ECHO of herons")
    expect(page.locator(".saying.agent .text")).to_have_text("of herons")
    page.locator("#message").fill("half a thought")
    page.get_by_role("button", name="New", exact=True).click()
    expect(page.locator(".saying:is(.user, .agent)")).to_have_count(0)
    expect(page.locator("#message")).to_have_value("")
    with scripted_model.hold(after=1):
        say(page, "ECHO of storks and more")
        expect(tabs.last).to_have_class("busy")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#chat-state")).to_have_text("stopped")
        expect(page.locator(".unanswered")).to_contain_text("It was stopped.")
    say(page, "ECHO of storks")
    expect(page.locator(".saying.agent .text").last).to_have_text("of storks")
    tabs.filter(has_text="main").click()
    expect(page.locator("#message")).to_have_value("half a thought")
    expect(page.locator(".saying.agent .text")).to_have_text("of herons")

    page.get_by_role("button", name="Fork").click()
    expect(tabs).to_have_text(["main", "ECHO of storks", "main (fork)"])
    expect(page.locator(".saying.agent .text")).to_have_text("of herons")
    page.get_by_text("Rename…").click()
    page.locator(".conversations").get_by_label("Name").fill("birds <b>")
    page.keyboard.press("Enter")
    expect(tabs).to_have_text(["main", "ECHO of storks", "birds <b>"])
    page.get_by_role("button", name="Close").click()
    expect(tabs).to_have_count(2)
    page.get_by_text("1 more").click()
    page.get_by_role("link", name="birds <b>").click()
    page.get_by_role("button", name="Open again").click()
    expect(tabs).to_have_count(3)
    assert [each["summary"] for each in http.get("/v1/conversations", params={"agent_id": agent.id}).json()] == [
        "birds <b>",
        None,
    ]


def test_the_memory_beside_a_conversation_is_what_it_reads(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block, shared = new_block(value="for all"), new_block(value="shared")
    agent = new_agent(block_ids=[block.id, shared.id])
    own = {"summary": "apart", "isolated_block_labels": [block.label]}
    begun = http.post("/v1/conversations", params={"agent_id": agent.id}, json=own).raise_for_status().json()
    (copy,) = begun["isolated_block_ids"]
    http.patch(f"/v1/blocks/{copy}", json={"value": "for this one"}).raise_for_status()
    page = open_page(f"/agents/{agent.id}?conversation={begun['id']}")
    is_live(page)
    expect(page.locator(".memory-line")).to_have_text(["for this one", "shared"])
    expect(page.get_by_text("only here")).to_have_count(1)
    expect(page.get_by_role("button", name=f"Detach {block.label}")).to_have_count(0)
    http.patch(f"/v1/blocks/{copy}", json={"value": "changed here"}).raise_for_status()
    expect(page.locator(".memory-line")).to_have_text(["changed here", "shared"])
    http.patch(f"/v1/blocks/{shared.id}", json={"value": "changed for all"}).raise_for_status()
    expect(page.locator(".memory-line")).to_have_text(["changed here", "changed for all"])
    page.get_by_role("link", name="main").click()
    expect(page.locator(".memory-line")).to_have_text(["for all", "changed for all"])


def test_what_was_said_is_said_again_differently_in_a_fork_with_its_pictures(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}")
    say(page, "ECHO first")
    expect(page.locator(".saying.agent .text")).to_have_text("first")
    page.locator("#add-pictures").set_input_files(
        [
            {"name": "heron.png", "mimeType": "image/png", "buffer": b64decode(PNG)},
            {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"},
        ]
    )
    expect(page.locator("#send-problem")).to_have_text("notes.txt is not a PNG, JPEG, GIF or WebP picture.")
    page.evaluate(GIVE, ["drop", "stork.png", PNG])
    expect(page.locator("#pictures canvas")).to_have_count(2)
    page.evaluate(GIVE, ["paste", "egret.png", PNG])
    page.get_by_role("button", name="Remove egret.png").click()
    say(page, "ECHO two birds")
    expect(page.locator(".saying.agent .text").last).to_have_text("two birds")
    expect(page.locator(".saying.user img")).to_have_count(2)
    for picture in page.locator(".saying img").all():
        expect(picture).to_have_js_property("naturalWidth", 3)
    page.locator(".saying.user").last.hover()
    page.get_by_role("link", name="Edit and send again").last.click()
    expect(page.locator("#message")).to_have_value("ECHO two birds")
    expect(page.locator("#message")).to_be_focused()
    expect(page.locator("#editing")).to_contain_text("2 pictures go along")
    is_live(page)
    page.locator("#message").fill("ECHO two herons")
    page.locator("#message").press("Enter")
    expect(page).to_have_url(re.compile(r"\?conversation=conv-"))
    expect(page.locator(".saying.agent .text")).to_have_text(["first", "two herons"])
    expect(page.locator(".saying.user .text")).to_have_text(["ECHO first", "ECHO two herons"])
    expect(page.locator(".saying.user img")).to_have_count(2)
    sent = scripted_model.requests[-1]["messages"]
    (said,) = [message["content"] for message in sent if isinstance(message["content"], list)]
    assert [part["type"] for part in said] == ["image_url", "image_url", "text"]
    assert "two birds" not in str(sent)
    page.get_by_role("link", name="main").click()
    expect(page.locator(".saying.agent .text")).to_have_text(["first", "two birds"])


def test_a_picture_that_is_still_being_read_goes_with_the_message(
    server: ServerProcess, open_page: OpenPage, new_agent: NewAgent
) -> None:
    page = open_page(f"/agents/{new_agent().id}", url=server.url)
    is_bound(page)
    page.evaluate(
        """() => {
            const whole = createImageBitmap;
            const held = new Promise((done) => { window.release = done; });
            window.createImageBitmap = (file) => held.then(() => whole(file));
        }"""
    )
    page.evaluate(GIVE, ["paste", "heron.png", PNG])
    say(page, "ECHO a heron")
    page.locator("#message").press("Enter")
    page.evaluate("release()")
    expect(page.locator(".saying.user img")).to_have_count(1)
    expect(page.locator(".saying.agent .text")).to_have_text("a heron")
    expect(page.locator("#pictures canvas")).to_have_count(0)


def test_what_one_has_begun_to_say_is_not_shown_to_who_signs_in_next(
    open_page: OpenPage, start_server: StartServer
) -> None:
    """Also where the session of the first one ended by itself, so that no button forgot it."""
    server = start_server(env={"FOLKMOOT_API_KEY": "the-key", "FOLKMOOT_SHUTDOWN_WAIT": "1"})
    with httpx.Client(base_url=server.url, timeout=60, headers={"authorization": "Bearer the-key"}) as http:
        ada, bob = (http.post("/v1/keys", json={"name": name}).json()["key"] for name in ("ada", "bob"))
        agent = http.post("/v1/agents", json={"model": MODEL}).json()["id"]
    page = open_page(f"/agents/{agent}", url=server.url)

    def sign_in(key: str) -> None:
        page.context.clear_cookies()
        page.goto(f"/agents/{agent}")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        is_bound(page)

    sign_in(ada)
    page.locator("#message").fill("what only ada knows")
    sign_in(ada)
    expect(page.locator("#message")).to_have_value("what only ada knows")
    sign_in(bob)
    expect(page.locator("#message")).to_have_value("")
    assert "what only ada knows" not in page.evaluate("JSON.stringify(localStorage)")


def test_where_a_conversation_was_begun_anew_is_marked(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    path = f"/v1/agents/{agent.id}"
    http.post(f"{path}/messages", json={"input": "ECHO before"}).raise_for_status()
    page = open_page(f"/agents/{agent.id}")
    mark = page.get_by_role("separator").filter(has_text="does not read what stands above")
    expect(mark).to_have_count(0)
    http.patch(f"{path}/reset-messages", json={}).raise_for_status()
    page.reload()
    expect(page.locator("#messages > :last-child")).to_have_role("separator")
    http.post(f"{path}/messages", json={"input": "ECHO anew"}).raise_for_status()
    page.reload()
    expect(mark.locator("xpath=following-sibling::*[1]")).to_contain_text("ECHO anew")
    expect(page.locator("#messages")).to_contain_text("ECHO before")
