"""Folders over HTTP, under both of their names: create, find, list, update, delete, and whose they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest
from assertions import UNKNOWN, assert_error
from letta_client import ConflictError, Letta
from uploading import NewFolder, Upload

from support.fixtures import NewAgent, one_store

FILE_TOOLS = {"open_files", "grep_files", "semantic_search_files"}


def named() -> str:
    return f"folder_{uuid4().hex[:12]}"


def test_a_folder_is_what_its_creator_said(client: Letta) -> None:
    name = named()
    made = client.folders.create(
        name=name,
        description="House handbook",
        instructions="Look here first.",
        metadata={"k": 1},
        embedding="openai/text-embedding-3-small",
        embedding_chunk_size=120,
    )
    assert made.id.startswith("source-")
    assert (made.name, made.description, made.instructions) == (name, "House handbook", "Look here first.")
    assert made.metadata == {"k": 1}
    assert made.embedding_config.handle == "openai/text-embedding-3-small"
    assert made.embedding_config.embedding_chunk_size == 120
    assert client.folders.retrieve(made.id) == made
    assert made in list(client.folders.list(name=name))


def test_both_names_show_the_same_folders(http: httpx.Client, new_folder: NewFolder) -> None:
    folder = new_folder(description="d")
    source = http.get(f"/v1/sources/{folder['id']}").json()
    assert source == folder | {"vector_db_provider": "native"}
    made = http.post("/v1/sources", json={"name": named()}).json()
    assert http.get(f"/v1/folders/{made['id']}").json() == {
        name: value for name, value in made.items() if name != "vector_db_provider"
    }
    assert http.get("/v1/sources", params={"name": folder["name"]}).json() == [source]
    assert http.get(f"/v1/sources/name/{folder['name']}").json() == folder["id"]
    assert http.get(f"/v1/folders/name/{folder['name']}").json() == folder["id"]


def test_a_name_is_taken_once_however_many_ask_at_once(server: object, http: httpx.Client, client: Letta) -> None:
    name = named()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/folders", json={"name": name}).status_code, range(8)))
    assert sorted(answers) == [200] + [409] * 7
    with pytest.raises(ConflictError):
        client.folders.create(name=name)
    assert len(list(client.folders.list(name=name))) == 1


def test_changes_are_those_that_are_named(http: httpx.Client, new_folder: NewFolder) -> None:
    folder = new_folder(description="d", instructions="i", metadata={"k": 1}, embedding_chunk_size=99)
    changed = http.patch(f"/v1/folders/{folder['id']}", json={"description": "d2", "metadata": {"k": 2}}).json()
    assert (changed["description"], changed["instructions"], changed["metadata"]) == ("d2", "i", {"k": 2})
    assert changed["embedding_config"] == folder["embedding_config"]
    assert http.patch(f"/v1/sources/{folder['id']}", json={"name": named()}).json()["name"] != folder["name"]
    other = new_folder()
    assert_error(http.patch(f"/v1/folders/{other['id']}", json={"name": new_folder()["name"]}), 409, "name")
    assert http.get(f"/v1/folders/{other['id']}").json() == other


def test_lists_are_paged_and_counted(http: httpx.Client, new_folder: NewFolder) -> None:
    made = [new_folder()["id"] for _ in range(3)]
    behind = http.get("/v1/folders", params={"after": made[0], "limit": 1000}).json()
    assert [each["id"] for each in behind][:2] == made[1:] or {*made[1:]} <= {each["id"] for each in behind}
    newest = http.get("/v1/folders", params={"order": "desc", "limit": 1000}).json()
    places = [each["id"] for each in newest]
    assert places.index(made[2]) < places.index(made[1]) < places.index(made[0])
    assert http.get("/v1/folders/count").json() >= 3


def test_metadata_adds_up(http: httpx.Client, new_folder: NewFolder, upload: Upload) -> None:
    folder = new_folder()
    for name in ("a.txt", "b.txt"):
        upload(folder, name, "12345")
    for path in ("/v1/folders/metadata", "/v1/sources/metadata"):
        plain, detailed = (
            http.get(path, params={"include_detailed_per_source_metadata": wanted}).json() for wanted in (False, True)
        )
        for told, files in ((plain, set()), (detailed, {"a.txt", "b.txt"})):
            mine = next(each for each in told["sources"] if each["source_id"] == folder["id"])
            assert (mine["source_name"], mine["file_count"], mine["total_size"]) == (folder["name"], 2, 10)
            assert {each["file_name"] for each in mine["files"]} == files
        assert plain["total_size"] >= 10
        assert plain["total_sources"] == len(plain["sources"])


@one_store
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        ("POST", "/v1/folders", {}, 422, "name"),
        ("POST", "/v1/folders", {"name": ""}, 422, "name"),
        ("POST", "/v1/folders", {"name": "a/b"}, 422, "name"),
        ("POST", "/v1/folders", {"name": "x" * 256}, 422, "name"),
        ("POST", "/v1/folders", {"name": "ok", "embedding_chunk_size": 1}, 422, "embedding_chunk_size"),
        ("POST", "/v1/folders", {"name": "a\0b"}, 422, "NUL"),
        ("GET", "/v1/folders/nonsense", None, 422, "folder_id"),
        ("GET", f"/v1/folders/source-{UNKNOWN}", None, 404, "not found"),
        ("PATCH", f"/v1/folders/source-{UNKNOWN}", {"name": "x"}, 404, "not found"),
        ("DELETE", f"/v1/folders/source-{UNKNOWN}", None, 404, "not found"),
        ("GET", "/v1/folders/name/nothing-has-this-name", None, 404, "nothing-has-this-name"),
        ("GET", f"/v1/folders/source-{UNKNOWN}/files", None, 404, "not found"),
        ("GET", f"/v1/folders/source-{UNKNOWN}/passages", None, 404, "not found"),
        ("GET", f"/v1/folders/source-{UNKNOWN}/agents", None, 404, "not found"),
        ("GET", f"/v1/sources/source-{UNKNOWN}", None, 404, "not found"),
    ],
)
def test_what_is_refused(
    http: httpx.Client, method: str, path: str, body: dict[str, object] | None, status: int, word: str
) -> None:
    assert_error(http.request(method, path, json=body), status, word)


def test_tools_come_with_the_first_folder_and_go_with_the_last(
    http: httpx.Client, client: Letta, new_agent: NewAgent, new_folder: NewFolder
) -> None:
    agent, first, second = new_agent(), new_folder(), new_folder()

    def tools() -> set[str]:
        return {tool.name for tool in client.agents.tools.list(agent.id) if tool.name is not None}

    before = tools()
    assert before.isdisjoint(FILE_TOOLS)
    for _ in range(2):
        client.agents.folders.attach(first["id"], agent_id=agent.id)
        assert tools() == before | FILE_TOOLS
    http.patch(f"/v1/agents/{agent.id}/sources/attach/{second['id']}").raise_for_status()
    held = http.get(f"/v1/agents/{agent.id}/folders", params={"order": "asc"}).json()
    assert [each["id"] for each in held] == [first["id"], second["id"]]
    assert http.get(f"/v1/agents/{agent.id}/sources", params={"order": "asc"}).json() == held
    whole = http.get(f"/v1/agents/{agent.id}", params={"include": "agent.sources"}).json()
    assert [each["id"] for each in whole["sources"]] == [first["id"], second["id"]]
    assert http.get(f"/v1/folders/{first['id']}/agents").json() == [agent.id]
    for _ in range(2):
        client.agents.folders.detach(first["id"], agent_id=agent.id)
        assert tools() == before | FILE_TOOLS
    http.patch(f"/v1/agents/{agent.id}/sources/detach/{second['id']}").raise_for_status()
    assert tools() == before


def test_a_deleted_folder_leaves_its_agents_with_its_files_and_the_tools(
    http: httpx.Client, client: Letta, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    gone, kept = new_folder(), new_folder()
    file = upload(gone, "a.txt", "words\n" * 5000)
    alone = new_agent(folder_ids=[gone["id"]])
    other = new_agent(source_ids=[gone["id"], kept["id"]])
    assert [each["file_id"] for each in http.get(f"/v1/agents/{alone.id}/files").json()["files"]] == [file["id"]]
    http.delete(f"/v1/folders/{gone['id']}").raise_for_status()
    assert_error(http.delete(f"/v1/folders/{gone['id']}"), 404)
    assert_error(http.get(f"/v1/folders/{gone['id']}/files/{file['id']}"), 404)
    for agent, tools, folders in ((alone, set(), []), (other, FILE_TOOLS, [kept["id"]])):
        assert {tool.name for tool in client.agents.tools.list(agent.id)} & FILE_TOOLS == tools
        assert [each["id"] for each in http.get(f"/v1/agents/{agent.id}/folders").json()] == folders
        assert http.get(f"/v1/agents/{agent.id}/files").json()["files"] == []
    http.post("/v1/folders", json={"name": gone["name"]}).raise_for_status()


def test_an_agents_folders_can_be_set_as_a_whole(
    http: httpx.Client, new_agent: NewAgent, new_folder: NewFolder
) -> None:
    first, second = new_folder(), new_folder()
    agent = new_agent(folder_ids=[first["id"]])
    changed = http.patch(f"/v1/agents/{agent.id}", json={"folder_ids": [second["id"]]}).json()
    assert [each["id"] for each in changed["sources"]] == [second["id"]]
    assert http.patch(f"/v1/agents/{agent.id}", json={"folder_ids": []}).json()["sources"] == []
    unknown = {"folder_ids": [f"source-{UNKNOWN}"]}
    assert_error(http.patch(f"/v1/agents/{agent.id}", json=unknown), 404)
    assert_error(http.post("/v1/agents", json={"name": "x", "model": agent.model, **unknown}), 404)


@one_store
def test_what_agents_cannot_be_given(http: httpx.Client, new_agent: NewAgent, new_folder: NewFolder) -> None:
    agent, folder = new_agent(), new_folder()
    for verb in ("attach", "detach"):
        assert_error(http.patch(f"/v1/agents/{agent.id}/folders/{verb}/source-{UNKNOWN}"), 404, "Folder")
        assert_error(http.patch(f"/v1/agents/agent-{UNKNOWN}/folders/{verb}/{folder['id']}"), 404, "Agent")
    assert_error(http.get(f"/v1/agents/agent-{UNKNOWN}/folders"), 404, "Agent")
    assert_error(http.get(f"/v1/agents/agent-{UNKNOWN}/files"), 404, "Agent")
