"""What is said in a chat: hostile Markdown that loads and runs nothing, copies, drafts, a stop that says so."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import expect

from support.fixtures import NewAgent
from support.scripted_model import ScriptedModel
from web.conftest import OpenPage
from web.test_agent_page import say

pytestmark = [
    pytest.mark.parametrize("store", ["sqlite"], indirect=True),
    pytest.mark.xdist_group("browser"),
]

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


def test_markdown_is_shown_and_neither_loads_nor_runs_anything(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}", permissions=["clipboard-read", "clipboard-write"])
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
    with scripted_model.hold(after=1):
        say(page, "ECHO one two three")
        expect(page.locator(".saying.user time")).to_have_count(1)
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#chat-state")).to_have_text("stopped")
    page.reload()
    expect(message).to_have_value("")
