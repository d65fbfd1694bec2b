"""The page of servers of tools in a browser: add one, see its tools, sign in, let it go."""

from __future__ import annotations

import re
import sys
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from support.fixtures import NewAgent, StartServer
from support.tool_servers import PLAIN_SERVER, SIGN_IN_SERVER, program, running
from web.conftest import OpenPage

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def fill_in(page: Page, name: str) -> None:
    """Write a program into the form and send it."""
    page.get_by_label("Name", exact=True).fill(name)
    expect(page.get_by_label("Command")).to_be_hidden()
    page.get_by_label("It is").select_option("stdio")
    expect(page.get_by_label("Address", exact=True)).to_be_hidden()
    page.get_by_label("Command").fill(sys.executable)
    page.get_by_label("Arguments, one a line").fill(f"{PLAIN_SERVER}\nstdio")
    page.get_by_label("Environment, one a line").fill("K=hush-hush")
    page.get_by_label("Hosts that it may reach").fill("api.example.org\n*.example.com:8443")
    page.get_by_role("button", name="Add server").click()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_server_is_added_looked_at_and_removed(open_page: OpenPage, http: httpx.Client, scripts: bool) -> None:
    name = f"server {uuid4().hex[:8]}"
    page = open_page("/tools/servers", java_script_enabled=scripts)
    fill_in(page, name)
    row = page.get_by_role("row").filter(has_text=name)
    row.get_by_text(re.compile(r"\d+ tools")).click()
    expect(row.get_by_text("env_value", exact=True)).to_be_visible()
    expect(page.get_by_text("hush-hush")).to_have_count(0)
    (made,) = (each for each in http.get("/v1/mcp-servers").json() if each["server_name"] == name)
    assert made["allowed_hosts"] == ["api.example.org", "*.example.com:8443"]
    row.get_by_role("button", name=f"Refresh {name}").click()
    expect(row.get_by_text("Nothing has changed.")).to_be_visible()
    expect(row.get_by_text("lies_far cannot be used")).to_be_visible()
    row.get_by_role("link", name=f"Remove {name}").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text(name)).to_have_count(0)
    assert name not in http.get("/v1/mcp-servers").text


def test_what_is_wrong_stands_beside_its_field_and_what_was_written_stays(open_page: OpenPage) -> None:
    page = open_page("/tools/servers")
    page.get_by_label("Name", exact=True).fill("mine")
    page.get_by_label("Address", exact=True).fill("http://127.0.0.1:1/mcp")
    page.get_by_role("button", name="Add server").click()
    expect(page.locator("#problem-server_url")).to_contain_text("not a public address")
    expect(page.get_by_label("Name", exact=True)).to_have_value("mine")
    page.get_by_label("Headers, one a line").fill("no sign")
    page.get_by_role("button", name="Add server").click()
    expect(page.locator("#problem-custom_headers")).to_contain_text("one a line")
    page.get_by_label("Name", exact=True).fill("")
    page.get_by_role("button", name="Add server").click()
    expect(page.locator("#problem-server_name")).to_be_visible()
    page.get_by_label("It is").select_option("stdio")
    page.get_by_role("button", name="Add server").click()
    expect(page.locator("#problem-command")).to_have_text("Fill this in.")


def test_the_list_says_what_went_wrong_and_who_lost_what(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent
) -> None:
    name = f"server {uuid4().hex[:8]}"
    body = {"server_name": name, "config": {**program(), "command": "/nonexistent/program"}}
    server = http.post("/v1/mcp-servers", json=body).json()
    page = open_page("/tools/servers")
    row = page.get_by_role("row").filter(has_text=name)
    expect(row.get_by_text("is not found in")).to_be_visible()
    row.get_by_role("button", name=f"Refresh {name}").click()
    expect(row.get_by_text("is not found in")).to_be_visible()
    http.delete(f"/v1/mcp-servers/{server['id']}")


def test_somebody_signs_in_in_the_browser(open_page: OpenPage, start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_PRIVATE_MCP_SERVERS": "true"})
    with running(SIGN_IN_SERVER, "http") as address:
        page = open_page("/tools/servers", url=server.url)
        page.get_by_label("Name", exact=True).fill("signed")
        page.get_by_label("Address", exact=True).fill(address)
        page.get_by_role("button", name="Add server").click()
        expect(page.get_by_text("status 401")).to_be_visible()
        page.get_by_role("button", name="Connect signed").click()
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Sign in at 127.0.0.1").click()
        expect(opened.value.get_by_role("heading", name="Signed in")).to_be_visible()
        for _ in range(50):  # its tools are looked at behind
            page.goto("/tools/servers")
            if page.get_by_text("2 tools").count():
                break
        expect(page.get_by_text("2 tools")).to_be_visible()
