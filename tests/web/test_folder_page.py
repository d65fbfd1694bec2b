"""A folder's page: files go there, and how far they are read, and who has them open, is seen as it happens."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Route, expect

from support.fixtures import NewAgent
from support.polling import until
from support.server import ServerProcess
from web.conftest import OpenPage, is_bound, is_live

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

TEXT = "# Kettles\n\nThe red kettle is for tea.\n"


def new_folder(http: httpx.Client) -> str:
    answer = http.post("/v1/folders", json={"name": f"folder_{uuid4().hex[:10]}", "description": "How it is run"})
    folder_id: str = answer.raise_for_status().json()["id"]
    return folder_id


def folder_with_file(http: httpx.Client) -> tuple[str, str]:
    """Return a new folder and a file in it that was read."""
    folder_id = new_folder(http)
    answer = http.post(f"/v1/folders/{folder_id}/upload", files={"file": ("tea.md", TEXT.encode())})
    file_id: str = answer.raise_for_status().json()["id"]
    until(lambda: not http.get("/v1/jobs", params={"source_id": folder_id, "active": True}).json())
    return folder_id, file_id


def test_chosen_files_are_sent_and_seen_to_be_read(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent
) -> None:
    folder_id = new_folder(http)
    agent = new_agent(folder_ids=[folder_id])
    page = open_page(f"/folders/{folder_id}")
    is_live(page)
    page.evaluate(
        """() => new MutationObserver(() => {
            window.sawBar ||= Boolean(document.querySelector("#files svg.bar"));
        }).observe(document.body, { childList: true, subtree: true })"""
    )
    files = [
        {"name": name, "mimeType": "text/plain", "buffer": data}
        for name, data in (
            ("tea.md", TEXT.encode()),
            ("big.txt", b"line\n" * 1_000_000),
            ("x.png", b"\x89PNG\r\n\x1a\n\0"),
        )
    ]
    page.locator("#file").set_input_files(files)  # type: ignore[arg-type]
    expect(page.locator("#sending")).to_contain_text("is no text")
    tea, big = (page.locator("#files tr", has_text=name) for name in ("tea.md", "big.txt"))
    expect(tea).to_contain_text("1 chunk")
    expect(tea).to_contain_text(agent.name)
    expect(big).to_contain_text("chunks")
    expect(big).to_have_attribute("data-status", "completed", timeout=60_000)
    assert page.evaluate("window.sawBar"), "how far it was read was seen"
    http.patch(f"/v1/agents/{agent.id}/files/close-all").raise_for_status()
    expect(tea).not_to_contain_text(agent.name)
    tea.get_by_role("link", name="tea.md").click()
    expect(page.locator(".chunk")).to_contain_text("The red kettle is for tea.")
    expect(page.locator(".chunk")).to_contain_text("lines 1 to 3 · Kettles")


def test_files_that_are_dropped_are_sent(open_page: OpenPage, http: httpx.Client) -> None:
    folder_id = new_folder(http)
    page = open_page(f"/folders/{folder_id}")
    is_live(page)
    page.evaluate(
        """() => {
            const carried = new DataTransfer();
            carried.items.add(new File(["dropped words"], "dropped.txt", { type: "text/plain" }));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.locator("#files tr", has_text="dropped.txt")).to_contain_text("1 chunk")


def test_a_file_is_deleted_and_a_folder_attached_where_they_stand(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent
) -> None:
    folder_id, _ = folder_with_file(http)
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}")
    is_live(page)
    page.locator("#folders summary", has_text="Attach").click()
    page.locator("#attach-folder").select_option(folder_id)
    page.locator("#folders").get_by_role("button", name="Attach", exact=True).click()
    expect(page.locator("#folders")).to_contain_text("Open: tea.md")
    expect(page.locator("#tools")).to_contain_text("open_files")
    page.goto(f"/folders/{folder_id}")
    is_live(page)
    expect(page.locator("#files tr", has_text="tea.md")).to_contain_text(agent.name)
    is_asked = page.get_by_role("dialog", name="Delete tea.md?")
    page.get_by_role("button", name="Delete tea.md").click()
    is_asked.get_by_role("button", name="Keep it as it is").click()
    page.get_by_role("button", name="Delete tea.md").click()
    expect(is_asked).to_contain_text("gone for good")
    assert http.get(f"/v1/folders/{folder_id}/files").json(), "who is asked has not answered"
    is_asked.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#files")).to_contain_text("No files yet")
    page.get_by_role("button", name=f"Detach from {agent.name}").click()
    expect(page.locator("#beside")).to_contain_text("No agent has it yet")


def test_without_scripts_a_file_is_sent_and_a_problem_told(open_page: OpenPage, http: httpx.Client) -> None:
    folder_id = new_folder(http)
    page = open_page(f"/folders/{folder_id}", java_script_enabled=False)
    page.locator("#file").set_input_files({"name": "tea.md", "mimeType": "text/plain", "buffer": TEXT.encode()})
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#files")).to_contain_text("tea.md")
    page.locator("#file").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n\0"})
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#upload-problem")).to_contain_text("x.png")
    expect(page.locator("#files")).not_to_contain_text("x.png")


def test_what_a_file_says_is_text_and_never_html(http: httpx.Client) -> None:
    folder_id = new_folder(http)
    name, text = "<img src=x>.txt", "<script>alert(1)</script>"
    answer = http.post(f"/v1/folders/{folder_id}/upload", files={"file": ("a.txt", text)}, params={"name": name})
    file_id = answer.raise_for_status().json()["id"]
    until(lambda: not http.get("/v1/jobs", params={"source_id": folder_id, "active": True}).json())
    for path in (f"/folders/{folder_id}", f"/folders/{folder_id}/files/{file_id}", "/folders"):
        page = http.get(path).raise_for_status().text
        assert "<script>alert" not in page
        assert "<img src=x>" not in page
    assert "&lt;script&gt;" in http.get(f"/folders/{folder_id}/files/{file_id}").text


def test_settings_name_the_embedding_that_all_files_are_embedded_with(open_page: OpenPage, http: httpx.Client) -> None:
    folder_id, file_id = folder_with_file(http)
    page = open_page(f"/folders/{folder_id}", java_script_enabled=False)
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Embedding model").fill("openai/text-embedding-3-small")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#beside")).to_contain_text("openai/text-embedding-3-small")
    until(lambda: not http.get("/v1/jobs", params={"source_id": folder_id, "active": True}).json())
    file = http.get(f"/v1/folders/{folder_id}/files/{file_id}").json()
    assert (file["processing_status"], file["chunks_embedded"]) == ("completed", 1)
    assert http.get(f"/v1/folders/{folder_id}").json()["description"] == "How it is run", "what is not changed stays"


def test_who_leaves_while_files_are_sent_is_asked(
    server: ServerProcess, open_page: OpenPage, http: httpx.Client
) -> None:
    page = open_page(f"/folders/{new_folder(http)}", url=server.url)
    is_bound(page)
    held: list[Route] = []
    page.route("**/upload", lambda route: held.append(route))
    with page.expect_request("**/upload"):
        page.locator("#file").set_input_files({"name": "tea.md", "mimeType": "text/plain", "buffer": TEXT.encode()})
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.get_by_role("link", name="Blocks", exact=True).click(no_wait_after=True)
    while not asked:
        page.wait_for_timeout(20)
    assert asked == ["beforeunload"]
    held[0].continue_()
    expect(page.locator("#files")).to_contain_text("tea.md")
    with page.expect_navigation():
        page.get_by_role("link", name="Blocks", exact=True).click()
