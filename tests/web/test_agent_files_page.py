"""An agent leaves as a file by a button and comes back by another, with what could not be taken said item by item."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from support.fixtures import NewAgent
from web.conftest import OpenPage

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def test_an_agent_is_exported_and_imported_by_buttons(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, tmp_path: Path
) -> None:
    agent = new_agent(name="Gardener & Co.", memory_blocks=[{"label": "notes", "value": "Thyme is by the door."}])
    page = open_page(f"/agents/{agent.id}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export").click()
    file = tmp_path / download.value.suggested_filename
    assert file.name == "Gardener-Co.af"
    download.value.save_as(file)
    content = json.loads(file.read_text())
    content["tools"].append({"id": "tool-90", "name": "gone", "tool_type": "custom", "source_code": None})
    file.write_text(json.dumps(content))

    page.goto(page.url.partition("/agents/")[0] + "/agents")
    page.get_by_role("link", name="Import…").click()
    page.get_by_label("Agent file").set_input_files(file)
    page.get_by_label("Name", exact=True).fill("Twin")
    page.get_by_role("button", name="Import").click()
    expect(page.locator("#refused")).to_contain_text("Tool 'gone' (custom): has no source")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Twin")
    assert len(http.get("/v1/agents", params={"name": "Twin"}).json()) == 0

    page.get_by_label("Agent file").set_input_files(file)
    page.get_by_label("Leave out what cannot be taken").check()
    page.get_by_role("button", name="Import").click()
    expect(page.locator("#left-out li")).to_have_text(
        ["Tool 'gone' (custom): has no source, and none of that name is here."]
    )
    page.locator("#made").get_by_role("link", name="Twin").click()
    expect(page.get_by_label("Text of notes")).to_have_text("Thyme is by the door.")


def test_what_is_no_agent_file_is_refused_by_name(open_page: OpenPage, complaints: list[str], tmp_path: Path) -> None:
    file = tmp_path / "photo.zip"
    file.write_bytes(b"PK\x03\x04")
    page = open_page("/agents/import")
    page.get_by_label("Agent file").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("alert")).to_contain_text("is a ZIP archive, not an agent file")
    complaints.clear()  # the browser notes the status
