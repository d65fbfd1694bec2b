"""Members in a browser: beside agents on the Moot, live; and their own page, where they are made and revoked."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, ViewportSize, expect

from folkmoot.web.views.members import OFFERED
from support.clients import plain_client
from support.fixtures import MODEL, NewBlock, StartServer
from support.server import ServerProcess
from web.conftest import OpenPage, is_live
from web.test_moot_page import QUICK

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def member(http: httpx.Client, name: str, *blocks: Any, access: str = "write") -> dict[str, Any]:
    grants = [{"block": block.id, "access": access} for block in blocks]
    made: dict[str, Any] = http.post("/v1/keys", json={"name": name, "blocks": grants}).json()
    return made


def row_of(page: Page, name: str) -> Any:
    return page.locator("tr").filter(has_text=name)


def test_members_stand_beside_agents_and_write_live(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock
) -> None:
    block = new_block(value="first")
    name = f"claude-{uuid4().hex[:6]}"
    key = member(http, name, block, access="append")
    page = open_page(f"/?q={block.label}")
    is_live(page)
    mine = page.locator(f"[id='{key['id']}']")
    expect(mine).to_contain_text(name)
    expect(mine.locator(".tag")).to_have_text("member")
    line = page.locator(f"path[data-from='{key['id']}'][data-to='{block.id}']")
    expect(line).to_have_class(re.compile(r"\bappend\b"))
    edit = {"kind": "insert", "new_string": "second"}
    bearer = {"authorization": f"Bearer {key['key']}"}
    http.post(f"/v1/blocks/{block.id}/edits", json=edit, headers=bearer).raise_for_status()
    row = page.locator(f"[id='{block.id}']")
    expect(row.locator(".last-words")).to_have_text(f"{name} +1 line")
    colour = re.findall(r"\bc\d+\b", mine.get_attribute("class") or "")[0]
    assert colour != "c0"
    expect(row).to_have_class(re.compile(rf"\b{colour}\b"))
    page.goto(f"/blocks/{block.id}")
    expect(page.locator(".line-of-text").nth(1)).to_have_class(re.compile(rf"\b{colour}\b"))
    page.goto(f"/?q={name}")
    expect(page.locator(f"[id='{block.id}']")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_a_member_is_made_and_revoked(
    open_page: OpenPage, server: ServerProcess, http: httpx.Client, new_block: NewBlock, scripts: bool
) -> None:
    block = new_block(value="one")
    listed = http.get("/v1/blocks", params={"limit": 1000}).json()
    offered = len(listed) <= OFFERED  # the server is shared, and the form offers the oldest blocks
    name = f"cursor-{uuid4().hex[:6]}"
    archive = http.post("/v1/archives", json={"name": f"library {name}"}).raise_for_status().json()
    page = open_page("/members", java_script_enabled=scripts)
    form, title = page.locator(".make-form").bounding_box(), page.get_by_role("heading", name="Members").bounding_box()
    assert form is not None
    assert title is not None
    assert form["x"] == title["x"], "below its title, and not in the middle"
    page.get_by_role("button", name="Make member").click()
    expect(page.locator("#problem-name")).to_have_text("Fill this in.")
    page.get_by_label("Name", exact=True).fill(name)
    if offered:
        page.get_by_label(f"Access to {block.label}").select_option("append")
    page.get_by_label(f"Access to {archive['name']}").select_option("read")
    page.get_by_role("button", name="Make member").click()
    key = page.get_by_label("The key").inner_text()
    assert key.startswith("fm-")
    bearer = {"authorization": f"Bearer {key}"}
    if offered:
        assert http.get(f"/v1/blocks/{block.id}", headers=bearer).status_code == 200
        expect(row_of(page, name)).to_contain_text(f"{block.label} · append")
    expect(row_of(page, name)).to_contain_text(f"{archive['name']} · read")
    if scripts:
        expect(page.locator("html")).to_contain_class("page-bound")
        page.reload()
        expect(row_of(page, name)).to_have_count(1)  # loaded anew, it makes no second key
    page.goto("/members")
    assert key not in page.content()
    page.get_by_role("button", name=f"Revoke {name}").click()
    if scripts:
        page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row_of(page, name)).to_contain_text("revoked")
    assert http.get(f"/v1/blocks/{block.id}", headers=bearer).status_code == 401


def test_a_long_name_leaves_room_for_the_access_on_a_narrow_screen(
    start_server: StartServer, open_page: OpenPage
) -> None:
    server = start_server(env=QUICK)
    name = "an agent that somebody has given a name of many words"
    with plain_client(server.url) as http:
        for each in (name, "Ada"):
            made = {"name": each, "model": MODEL, "memory_blocks": [{"label": "persona", "value": ""}]}
            http.post("/v1/agents", json=made).raise_for_status()
    page = open_page("/members", url=server.url, viewport=ViewportSize(width=400, height=800))
    menu = page.get_by_label(f"Access to persona of {name}").bounding_box()
    assert menu is not None
    assert menu["x"] + menu["width"] <= 400, menu


def test_only_admins_see_members(start_server: StartServer, open_page: OpenPage) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "the-key"})
    with plain_client(server.url, headers={"authorization": "Bearer the-key"}) as admin:
        reader = admin.post("/v1/keys", json={"name": "eye", "role": "reader"}).json()["key"]
    page = open_page("/login", url=server.url)
    page.locator("input[name=key]").fill(reader)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("navigation")).to_contain_text("Blocks")
    expect(page.get_by_role("navigation")).not_to_contain_text("Members")
    response = page.goto("/members")
    assert response is not None
    assert response.status == 403
