"""Files are found by meaning once they are embedded, and by words before that, whatever the provider does."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from uploading import NewFolder, Upload, follow, when_read

from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, StartServer, one_store
from support.scripted_model import ScriptedModel

EMBEDDING = "openai/text-embedding-3-small"


@pytest.fixture
def embeddings(scripted_model: ScriptedModel) -> Any:
    """What the scripted model embeds."""
    scripted_model.embeddings.meanings = {"feline": "cat", "tom": "cat", "hound": "dog", "vessel": "ship"}
    return scripted_model.embeddings


@pytest.fixture
def search_in() -> Callable[[httpx.Client, str, str], list[str]]:
    """Have an agent search its files, and return the first line of each passage that it found."""

    def ask(http: httpx.Client, agent_id: str, query: str) -> list[str]:
        said = {"input": f"CALL semantic_search_files {json.dumps({'query': query, 'limit': 1})}"}
        messages = http.post(f"/v1/agents/{agent_id}/messages", json=said).raise_for_status().json()["messages"]
        answer = next(each for each in messages if each["message_type"] == "tool_return_message")
        assert answer["status"] == "success", answer["tool_return"]
        return [part.split(":\n", 1)[1] for part in answer["tool_return"].split("\n\n") if ":\n" in part]

    return ask


@pytest.fixture
def search(http: httpx.Client, search_in: Any) -> Callable[[str, str], list[str]]:
    """The same on the shared server."""
    return partial(search_in, http)


def when(http: httpx.Client, file: dict[str, Any], is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    found: dict[str, Any] = follow(http, f"/v1/folders/{file['source_id']}/files/{file['id']}", is_so)
    return found


def test_words_and_meaning_find_what_each_can(
    http: httpx.Client, embeddings: Any, search: Any, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder, other = new_folder(embedding=EMBEDDING), new_folder(embedding=EMBEDDING)
    agent = new_agent(folder_ids=[folder["id"]])
    for name, text in (("a", "a feline sleeps"), ("b", "the hound runs"), ("c", "invoice 4711 was paid")):
        read = upload(folder, name, text)
        assert (read["processing_status"], read["total_chunks"], read["chunks_embedded"]) == ("completed", 1, 1)
    upload(other, "hidden", "a tom of others")
    assert search(agent.id, "cat") == ["a feline sleeps"]
    assert search(agent.id, "dog") == ["the hound runs"]
    assert search(agent.id, "4711") == ["invoice 4711 was paid"]
    upload(folder, "a", "a vessel sails", duplicate_handling="replace")
    assert search(agent.id, "ship") == ["a vessel sails"]
    assert search(agent.id, "cat") != ["a feline sleeps"]
    jobs = http.get("/v1/jobs", params={"source_id": folder["id"]}).json()
    assert {each["status"] for each in jobs if each["kind"] == "file_embedding"} == {"completed"}


def test_headings_are_part_of_the_meaning(
    http: httpx.Client, embeddings: Any, search: Any, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder(embedding=EMBEDDING, embedding_chunk_size=16)
    agent = new_agent(folder_ids=[folder["id"]])
    text = "# feline\n\n" + "It sleeps long. " * 5 + "\n\n# vessel\n\n" + "It is long. " * 5
    read = upload(folder, "a.md", text)
    assert read["chunks_embedded"] == read["total_chunks"] > 2
    assert any("feline" in each for each in embeddings.texts if not each.startswith("# feline"))
    assert search(agent.id, "cat") != []


@one_store
@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, {"error": {"message": "away"}}, ["503"]),
        (429, {"error": {"message": "slow down"}}, ["limit"]),
        (200, {"object": "list", "data": [], "model": "x", "usage": {}}, ["vector"]),
        (200, {"object": "list", "data": [{"embedding": [0.1, None], "index": 0}], "model": "x"}, ["vector"]),
        (200, {"object": "list", "data": [{"embedding": [0.0, 0.0], "index": 0}], "model": "x"}, ["vector"]),
        (200, "nonsense", []),
    ],
    ids=["away", "too many", "too few", "no number", "zeros", "nonsense"],
)
def test_a_provider_that_fails_delays_nothing_and_loses_nothing(
    http: httpx.Client,
    embeddings: Any,
    search: Any,
    new_agent: NewAgent,
    new_folder: NewFolder,
    upload: Upload,
    status: int,
    body: Any,
    words: list[str],
) -> None:
    folder = new_folder(embedding=EMBEDDING)
    agent = new_agent(folder_ids=[folder["id"]])
    embeddings.answer_next(status, body, times=2)
    file = upload(folder, "a", "a feline sleeps", wait=False)
    waiting = when(http, file, lambda now: now["error_message"] is not None)
    assert (waiting["processing_status"], waiting["chunks_embedded"], waiting["version"]) == ("embedding", 0, 1)
    assert "found by words" in waiting["error_message"]
    assert search(agent.id, "feline") == ["a feline sleeps"]
    done = when(http, file, lambda now: now["processing_status"] == "completed")
    assert (done["error_message"], done["chunks_embedded"]) == (None, 1)
    assert search(agent.id, "cat") == ["a feline sleeps"]


@one_store
def test_vectors_of_other_dimensions_are_not_mixed(
    http: httpx.Client, embeddings: Any, search: Any, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder(embedding=EMBEDDING)
    agent = new_agent(folder_ids=[folder["id"]])
    upload(folder, "a", "a feline sleeps")
    embeddings.dimensions = 64
    file = upload(folder, "b", "the hound runs", wait=False)
    waiting = when(http, file, lambda now: now["error_message"] is not None)
    assert "64 dimensions" in waiting["error_message"]
    assert search(agent.id, "hound") == ["the hound runs"]
    embeddings.dimensions = 1536
    assert when(http, file, lambda now: now["processing_status"] == "completed")["chunks_embedded"] == 1
    assert search(agent.id, "dog") == ["the hound runs"]


@one_store
def test_a_text_that_the_model_refuses_keeps_no_other_from_its_vector(
    http: httpx.Client, embeddings: Any, search: Any, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder(embedding=EMBEDDING, embedding_chunk_size=16)
    agent = new_agent(folder_ids=[folder["id"]])
    embeddings.refused = "unspeakable"
    read = upload(
        folder, "a", "a feline sleeps here for long\n" * 2 + "\n" + "unspeakable things of any kind here\n" * 2
    )
    assert (read["processing_status"], read["chunks_embedded"]) == ("completed", read["total_chunks"])
    assert "feline" in search(agent.id, "cat")[0]
    assert "unspeakable" in search(agent.id, "unspeakable")[0]


def test_a_file_that_goes_while_it_is_embedded_leaves_nothing(
    http: httpx.Client, embeddings: Any, search: Any, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder(embedding=EMBEDDING)
    agent = new_agent(folder_ids=[folder["id"]])
    embeddings.is_down = True
    file = upload(folder, "a", "a feline sleeps", wait=False)
    when(http, file, lambda now: now["error_message"] is not None)
    assert http.delete(f"/v1/folders/{folder['id']}/{file['id']}").status_code == 204
    embeddings.is_down = False
    follow(http, f"/v1/jobs?source_id={folder['id']}&active=true", lambda found: found == [])
    assert search(agent.id, "feline") == []


def test_a_folder_stays_searchable_while_it_is_embedded_anew(
    start_server: StartServer, embeddings: Any, search_in: Any
) -> None:
    """By meaning too, although it is changed twice; and none of the earlier vectors is left in the end."""
    with plain_client(start_server().url) as http:

        def stored() -> float:
            size: float = http.get("/v1/embeddings/total_storage_size", headers={"storage-unit": "B"}).json()
            return size

        def change(embedding: str | None) -> None:
            answer = http.patch(f"/v1/folders/{folder['id']}", json={"embedding": embedding})
            assert answer.status_code == 200, answer.text
            assert answer.json()["embedding_config"]["handle"] == embedding

        def until_done() -> None:
            follow(http, f"/v1/jobs?source_id={folder['id']}&active=true", lambda found: found == [])

        folder = http.post("/v1/folders", json={"name": "anew", "embedding": EMBEDDING}).json()
        agent = http.post("/v1/agents", json={"name": "a", "model": MODEL, "folder_ids": [folder["id"]]}).json()
        files = [("a", b"a feline sleeps"), ("b", b"the hound runs")]
        address = f"/v1/folders/{folder['id']}/upload"
        read = [when_read(http, http.post(address, files={"file": each}).json()) for each in files]
        assert stored() == 2 * (1536 * 4 + 1536 // 8)
        embeddings.down_for = " "  # of the texts, which have several words; queries of one are answered
        change("openai/text-embedding-3-large")
        change(EMBEDDING)
        waiting = [when(http, each, lambda now: now["processing_status"] == "embedding") for each in read]
        assert [each["chunks_embedded"] for each in waiting] == [0, 0]
        assert search_in(http, agent["id"], "cat") == ["a feline sleeps"]
        assert search_in(http, agent["id"], "dog") == ["the hound runs"]
        embeddings.down_for = None
        until_done()
        assert [when_read(http, each)["chunks_embedded"] for each in read] == [1, 1]
        assert search_in(http, agent["id"], "cat") == ["a feline sleeps"]
        assert stored() == 2 * (1536 * 4 + 1536 // 8)
        change(None)
        until_done()
        assert stored() == 0
        assert search_in(http, agent["id"], "feline") == ["a feline sleeps"]
