"""What an agent has open of the files of its folders: by itself, by its owner, with a new upload."""

from __future__ import annotations

from typing import Any

import httpx
from assertions import UNKNOWN, assert_error
from letta_client import Letta
from uploading import NewFolder, Upload

from support.fixtures import NewAgent, one_store


def held(http: httpx.Client, agent_id: str, **query: Any) -> list[dict[str, Any]]:
    answer = http.get(f"/v1/agents/{agent_id}/files", params=query).raise_for_status()
    files: list[dict[str, Any]] = answer.json()["files"]
    return files


def names(files: list[dict[str, Any]]) -> list[str]:
    return [each["file_name"].partition("/")[2] for each in files]


def opened(http: httpx.Client, agent_id: str) -> set[str]:
    return set(names(held(http, agent_id, is_open=True)))


def test_files_are_opened_with_their_folder_and_when_they_come(
    http: httpx.Client, client: Letta, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder()
    upload(folder, "before.txt", "The heron stands still.")
    agent = new_agent()
    client.agents.folders.attach(folder["id"], agent_id=agent.id)
    upload(folder, "after.txt", "one\ntwo\n")
    after, before = client.agents.files.list(agent_id=agent.id)
    assert (before.file_name, before.is_open) == (f"{folder['name']}/before.txt", True)
    assert before.visible_content == "[Viewing file start (out of 1 lines)]\n1: The heron stands still."
    assert after.visible_content == "[Viewing file start (out of 2 lines)]\n1: one\n2: two"
    assert (before.start_line, before.end_line, before.folder_id) == (None, None, folder["id"])


def test_the_least_recently_used_file_is_closed_first(
    http: httpx.Client, client: Letta, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder()
    files = {name: upload(folder, name, name)["id"] for name in ("a", "b", "c", "d")}
    agent = new_agent(max_files_open=2)
    client.agents.folders.attach(folder["id"], agent_id=agent.id)
    assert opened(http, agent.id) == {"c", "d"}, "the newest, as many as there is room for"

    def open_(name: str) -> list[str]:
        answer = http.patch(f"/v1/agents/{agent.id}/files/{files[name]}/open").raise_for_status()
        return [each.partition("/")[2] for each in answer.json()]

    assert open_("c") == []
    assert open_("a") == ["d"]
    assert opened(http, agent.id) == {"a", "c"}
    assert open_("b") == ["c"]
    upload(folder, "e", "e")
    assert opened(http, agent.id) == {"b", "e"}
    for _ in range(2):
        answer = http.patch(f"/v1/agents/{agent.id}/files/{files['b']}/close").json()
        assert answer == {"message": f"File id={files['b']} successfully closed"}
    assert opened(http, agent.id) == {"e"}
    http.patch(f"/v1/agents/{agent.id}", json={"max_files_open": 1}).raise_for_status()
    assert open_("a") == ["e"]
    assert http.patch(f"/v1/agents/{agent.id}/files/close-all").json() == [f"{folder['name']}/a"]
    assert http.patch(f"/v1/agents/{agent.id}/files/close-all").json() == []
    assert {each["visible_content"] for each in held(http, agent.id)} == {None}


def test_a_list_is_paged_by_the_identifiers_that_it_shows(
    http: httpx.Client, client: Letta, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder()
    agent, other = new_agent(folder_ids=[folder["id"]]), new_agent(folder_ids=[folder["id"]])
    for name in "abcde":
        upload(folder, name, name)
    whole = held(http, agent.id, order="asc")
    assert names(whole) == list("abcde")
    paged = [each.file_id for each in client.agents.files.list(agent_id=agent.id, limit=2, order="asc")]
    assert paged == [each["file_id"] for each in whole]
    first = http.get(f"/v1/agents/{agent.id}/files", params={"limit": 2, "order": "asc"}).json()
    assert (first["has_more"], first["next_cursor"]) == (True, whole[1]["id"])
    second = http.get(
        f"/v1/agents/{agent.id}/files", params={"limit": 3, "order": "asc", "cursor": first["next_cursor"]}
    ).json()
    assert (names(second["files"]), second["has_more"]) == (list("cde"), False)
    ids = {each["id"] for each in whole} | {each["id"] for each in held(http, other.id)}
    assert len(ids) == 10, "each agent holds a file by itself"
    assert all(identifier.startswith("file_agent-") for identifier in ids)


def test_a_view_has_as_many_characters_as_the_agent_may_see(
    http: httpx.Client, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder()
    agent = new_agent(folder_ids=[folder["id"]], per_file_view_window_char_limit=200)
    upload(folder, "long.txt", "".join(f"line {number} of a longer text\n" for number in range(1, 5001)))
    upload(folder, "one line.txt", "x" * 50_000 + "\nthe second line\n")
    one_line, long = held(http, agent.id)
    lines = long["visible_content"].splitlines()
    assert lines[0] == "[Viewing file start (out of 5000 lines)]"
    assert lines[1] == "1: line 1 of a longer text"
    assert "no room" in lines[-1]
    assert 100 < len("\n".join(lines[1:-1])) <= 200
    assert len(one_line["visible_content"]) < 400
    http.patch(f"/v1/agents/{agent.id}", json={"per_file_view_window_char_limit": 5000}).raise_for_status()
    one_line, _ = held(http, agent.id)
    first, second = one_line["visible_content"].splitlines()[1:]
    assert first == f"1: {'x' * 2000}…"
    assert second == "2: the second line"


def test_what_is_deleted_or_detached_is_open_nowhere(
    http: httpx.Client, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder()
    agent = new_agent(folder_ids=[folder["id"]])
    kept, gone = upload(folder, "kept", "k"), upload(folder, "gone", "g")
    http.delete(f"/v1/folders/{folder['id']}/{gone['id']}").raise_for_status()
    assert names(held(http, agent.id)) == ["kept"]
    http.patch(f"/v1/agents/{agent.id}/folders/detach/{folder['id']}").raise_for_status()
    assert held(http, agent.id) == []
    assert_error(http.patch(f"/v1/agents/{agent.id}/files/{kept['id']}/open"), 404, kept["id"])
    assert_error(http.patch(f"/v1/agents/{agent.id}/files/{kept['id']}/close"), 404, kept["id"])


@one_store
def test_what_cannot_be_opened(http: httpx.Client, new_agent: NewAgent, new_folder: NewFolder, upload: Upload) -> None:
    folder = new_folder()
    file = upload(folder, "a", "a")
    stranger = new_agent()
    for verb in ("open", "close"):
        assert_error(http.patch(f"/v1/agents/{stranger.id}/files/{file['id']}/{verb}"), 404, file["id"])
        assert_error(http.patch(f"/v1/agents/{stranger.id}/files/file-{UNKNOWN}/{verb}"), 404, UNKNOWN)
        assert_error(http.patch(f"/v1/agents/agent-{UNKNOWN}/files/{file['id']}/{verb}"), 404, "Agent")
    assert_error(http.patch(f"/v1/agents/agent-{UNKNOWN}/files/close-all"), 404, "Agent")
