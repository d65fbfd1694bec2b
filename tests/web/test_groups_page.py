"""Who tends whose memory, as the pages tell it; and a run that is read and taken back with a button."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import expect

from groups.test_sleeptime import block_of, consolidated, new_owl_of, partner_of, rethink
from runs.talking import ok, say
from web.conftest import OpenPage

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def test_a_sleep_time_agent_s_run_is_read_and_taken_back(open_page: OpenPage, http: httpx.Client) -> None:
    owl = new_owl_of(http, 1)
    partner = partner_of(http, owl)
    (run_id,) = say(http, owl["id"], rethink("Ada likes tea."))["usage"]["run_ids"]
    consolidated(http, run_id)

    page = open_page(f"/agents/{owl['id']}")
    groups = page.get_by_role("region", name="Groups")
    expect(groups).to_contain_text("Its memory is tended by night owl-sleeptime")
    groups.get_by_role("link", name="night owl-sleeptime").click()
    expect(page.get_by_role("region", name="Groups")).to_contain_text("Tends the memory of night owl")
    assert page.url.endswith(partner["id"])

    page.goto(page.url.replace(f"/agents/{partner['id']}", f"/runs/{run_id}"))
    told = page.locator(".saying.told")
    expect(told).to_contain_text("what was said since it last looked")
    expect(told).to_contain_text("user: CALL memory_rethink")
    expect(told).not_to_contain_text("said_since")
    written = page.get_by_role("region", name="What it wrote")
    expect(written).to_contain_text("human v2")
    written.get_by_role("button", name="Take back what it wrote").click()
    expect(page.locator("#undone")).to_have_text("human: taken back, now v3")
    assert block_of(http, owl)["value"] == "Ada"
    ok(http.delete(f"/v1/agents/{owl['id']}"))
