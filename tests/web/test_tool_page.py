"""Tools on the page, in a browser: made, read in colours, run with a form made from the schema, changed, deleted."""

from __future__ import annotations

import re
import sys
from uuid import uuid4

import httpx
import pytest
from letta_client import Letta
from playwright.sync_api import expect

from support.fixtures import MODEL
from web.conftest import OpenPage

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def source_of(name: str) -> str:
    return f'''def {name}(item: str, amount: int = 1, kind: Literal["fresh", "dried"] = "fresh", tags: list[str] = []):
    """Look up <b>what</b> something costs.

    Args:
        item: What to look up.
    """
    print("looking for", item)
    if amount < 0:
        raise ValueError("less than nothing")
    return {{"item": item, "price": 4 * amount, "kind": kind, "tags": tags}}
'''


def fresh() -> str:
    return f"price_{uuid4().hex[:10]}"


def test_a_tool_is_made_and_what_is_wrong_is_shown_at_its_line(open_page: OpenPage, http: httpx.Client) -> None:
    name = fresh()
    page = open_page("/tools")
    page.get_by_role("link", name="New tool").click()
    source = page.get_by_label("Source", exact=True)
    source.fill(f'import os\n\ndef {name}(item: Robot):\n    """Look."""\n')
    page.get_by_role("button", name="Make tool").click()
    expect(page.locator("#problem-source_code")).to_contain_text("parameter 'item'")
    expect(page.locator(".near .marked")).to_contain_text(f"def {name}(item: Robot)")
    expect(page.locator(".near .marked")).to_have_attribute("value", "3")
    expect(source).to_have_value(re.compile("Robot"))
    source.fill(source_of(name))
    page.get_by_label("Hosts it may reach").fill("http://nonsense")
    page.get_by_role("button", name="Make tool").click()
    expect(page.locator("#problem-hosts")).to_contain_text("http://nonsense")
    page.get_by_label("Hosts it may reach").fill("")
    page.get_by_label("Tags, with commas between").fill("shop, demo")
    page.get_by_role("button", name="Make tool").click()
    expect(page).to_have_url(re.compile(r"/tools/tool-"))
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    (tool,) = http.get("/v1/tools", params={"name": name}).json()
    assert (tool["source_code"], tool["tags"]) == (source_of(name), ["shop", "demo"])


@pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")
def test_a_tool_is_run_with_a_form_that_is_made_of_its_schema(open_page: OpenPage, client: Letta) -> None:
    name = fresh()
    tool = client.tools.create(source_code=source_of(name))
    agent = client.agents.create(model=MODEL, tool_ids=[tool.id], name=f"seller-{name}")
    page = open_page(f"/tools/{tool.id}")
    expect(page.locator(".source li")).to_have_count(10)
    expect(page.locator(".code-nf")).to_have_text(name)
    expect(page.locator(".about-tool")).to_have_text("Look up <b>what</b> something costs.")
    page.get_by_label("item").fill("tea")
    page.get_by_label(re.compile("^amount")).fill("3")
    page.get_by_label(re.compile("^kind")).select_option("dried")
    page.get_by_label(re.compile("^tags")).fill("oops")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert").first).to_contain_text("tags: write it as JSON")
    expect(page.get_by_label("item")).to_have_value("tea")
    page.get_by_label(re.compile("^tags")).fill('["a"]')
    page.get_by_label("As", exact=True).select_option(agent.name)
    page.get_by_role("button", name="Run").click()
    value = page.get_by_label("Value", exact=True)
    expect(value).to_contain_text('"price": 12')
    expect(value).to_contain_text('"kind": "dried"')
    expect(page.get_by_label("Printed", exact=True)).to_have_text("looking for tea\n")
    page.get_by_label(re.compile("^amount")).fill("-1")
    page.get_by_label("As", exact=True).select_option("")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_label("Error", exact=True)).to_contain_text("ValueError: less than nothing")


def test_a_tool_is_changed_and_deleted(open_page: OpenPage, client: Letta) -> None:
    name, other = fresh(), fresh()
    tool = client.tools.create(
        source_code=source_of(name), tags=["keep"], pip_requirements=[{"name": "six", "version": "1.17.0"}]
    )
    client.tools.update(tool.id, extra_body={"metadata_": {"mine": 1}})
    page = open_page(f"/tools/{tool.id}")
    expect(page.get_by_text(re.compile("are installed|are being installed|could not be installed"))).to_be_visible()
    page.get_by_role("link", name="Edit").click()
    expect(page.get_by_label("Packages it needs")).to_have_value("six==1.17.0")
    page.get_by_label("Packages it needs").fill("")
    page.get_by_label("What a call may use").fill("seconds=2.5, memory=none")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#problem-limits")).to_contain_text("memory is none")
    page.get_by_label("What a call may use").fill("seconds=2.5, processes=3")
    page.get_by_label("Source", exact=True).fill(source_of(other))
    page.get_by_label("Calls wait for somebody").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(other)
    changed = client.tools.retrieve(tool.id)
    assert (changed.name, changed.tags, changed.default_requires_approval) == (other, ["keep"], True)
    limits = {"seconds": 2.5, "processes": 3}
    assert changed.metadata_ == {"mine": 1, "allowed_hosts": [], "limits": limits}  # type: ignore[attr-defined]
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page).to_have_url(re.compile(r"/tools$"))
    assert client.tools.list(name=other).items == []


def test_a_tool_in_typescript_is_made_and_read_in_its_own_colours(open_page: OpenPage, client: Letta) -> None:
    name = fresh()
    page = open_page("/tools/new")
    page.get_by_label("Language").select_option("TypeScript")
    page.get_by_label("Source", exact=True).fill(f"\nexport function {name}(when: Date) {{}}\n")
    page.get_by_label("Packages it needs").fill("@scope/name@^1.2, ms@2")
    page.get_by_role("button", name="Make tool").click()
    expect(page.locator("#problem-source_code")).to_contain_text("the type Date")
    expect(page.locator(".near .marked")).to_have_attribute("value", "2")
    expect(page.get_by_label("Language")).to_have_value("typescript")
    page.get_by_label("Source", exact=True).fill(f"export function {name}(when: string): string {{ return when; }}\n")
    page.get_by_role("button", name="Make tool").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    expect(page.locator(".source .code-kt, .source .code-kd, .source .code-k").first).to_be_visible()
    (tool,) = client.tools.list(name=name).items
    assert tool.source_type == "typescript"
    packages = [(each.name, each.version) for each in tool.npm_requirements or ()]
    assert (packages, tool.pip_requirements) == ([("@scope/name", "^1.2"), ("ms", "2")], None)


def test_the_list_is_filtered_by_name_and_kind(open_page: OpenPage, client: Letta) -> None:
    name = fresh()
    client.tools.create(source_code=source_of(name))
    page = open_page("/tools")
    expect(page.locator("tbody tr").first).to_contain_text(name)
    page.get_by_placeholder("Filter by name…").fill("memory_ins")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("link", name="Your own").click()
    expect(page.get_by_text("No tool has a name like that.")).to_be_visible()
    page.goto("/tools?kind=built-in")
    expect(page.locator("tbody")).not_to_contain_text(name)
    page.get_by_role("link", name="memory_insert", exact=True).click()
    expect(page.get_by_text("with an agent’s memory").or_(page.get_by_role("button", name="Run"))).to_be_visible()
    expect(page.get_by_role("link", name="Edit")).to_have_count(0)
