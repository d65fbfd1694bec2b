"""Search by meaning, and the job that makes it possible: whatever the provider does, nothing is lost or held up."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from meaning import EMBEDDING, fill, job_of, new_archive, search, texts, until_embedded, until_failing

from support.clients import plain_client
from support.fixtures import NewAgent, StartServer, one_store
from support.scripted_model import ScriptedModel

MEANINGS = {"feline": "cat", "tom": "cat", "canine": "dog", "hound": "dog", "vessel": "ship"}


@pytest.fixture
def embeddings(scripted_model: ScriptedModel) -> Any:
    """What the scripted model embeds."""
    scripted_model.embeddings.meanings = MEANINGS
    return scripted_model.embeddings


LABELLED = {
    "a feline sleeps": "cat",
    "the tom sleeps long": "cat",
    "a canine barks": "dog",
    "the hound runs": "dog",
    "a vessel sails": "ship",
    "invoice 4711 was paid": "4711",
    "invoice 4712 is open": "4712",
}
"""A small labelled set: what each text is about. No text has the word of its label but the invoices'."""


def test_each_mode_finds_what_it_can_and_both_together_find_all(http: httpx.Client, embeddings: Any) -> None:
    archive_id = new_archive(http)
    fill(http, archive_id, *LABELLED)
    until_embedded(http, archive_id)
    about = {label: {text for text, other in LABELLED.items() if other == label} for label in LABELLED.values()}

    def first(query: str, mode: str) -> set[str]:
        """Return the best results, as many as are right."""
        return set(texts(search(http, query, archive_id, search_mode=mode, limit=len(about[query]))))

    for meant in ("cat", "dog", "ship"):
        assert first(meant, "text") == set(), "no text has the word"
        assert first(meant, "vector") == first(meant, "hybrid") == about[meant]
    for named in ("4711", "4712"):
        assert first(named, "text") == first(named, "hybrid") == about[named]
    both = search(http, "feline 4711", archive_id, limit=3)
    assert {"a feline sleeps", "invoice 4711 was paid"} <= set(texts(both))


@one_store
def test_with_the_offline_embedding_a_passage_is_found_by_what_it_means(http: httpx.Client) -> None:
    listed = http.get("/v1/models/embedding").json()
    assert [model["embedding_dim"] for model in listed if model["handle"] == "offline/wordllama"] == [256]
    archive_id = new_archive(http, "offline/wordllama")
    answers = ["The cat was ill, so we called the veterinarian.", "Revenue of the company rose by ten percent."]
    fill(http, archive_id, *answers)
    until_embedded(http, archive_id)
    assert texts(search(http, "a sick kitten", archive_id, search_mode="text")) == []
    for mode in ("vector", "hybrid"):
        assert texts(search(http, "a sick kitten", archive_id, search_mode=mode, limit=1)) == answers[:1]
        assert texts(search(http, "money earned", archive_id, search_mode=mode, limit=1)) == answers[1:]


def test_results_say_why_they_are_there(http: httpx.Client, embeddings: Any) -> None:
    archive_id = new_archive(http)
    fill(http, archive_id, "a feline sleeps", "the tom wakes", "nothing of the kind")
    until_embedded(http, archive_id)
    first, *_ = search(http, "feline", archive_id, limit=2)
    why = first["metadata"]
    assert (why["text_rank"], why["words"]) == (1, ["feline"])
    assert why["vector_rank"] in (1, 2) and 0 < why["similarity"] <= 1.0001
    assert first["score"] == pytest.approx(1 / 61 + 1 / (60 + why["vector_rank"]))
    by_meaning = search(http, "feline", archive_id, search_mode="vector", limit=2)
    assert [each["metadata"]["text_rank"] for each in by_meaning] == [None, None]
    assert by_meaning[0]["score"] == by_meaning[0]["metadata"]["similarity"]


def test_filters_come_before_the_ranking(http: httpx.Client, embeddings: Any) -> None:
    archive_id = new_archive(http)
    fill(http, archive_id, *(f"a feline sleeps {number}" for number in range(60)))
    fill(http, archive_id, "a hound that met a feline once upon a time", tags=["rare"])
    fill(http, archive_id, "a feline of old", created_at="2001-01-01T00:00:00Z")
    until_embedded(http, archive_id)
    for mode in ("text", "vector", "hybrid"):
        (rare,) = search(http, "feline", archive_id, search_mode=mode, tags=["rare"], limit=1)
        assert rare["passage"]["tags"] == ["rare"], mode
        assert texts(search(http, "feline", archive_id, search_mode=mode, end_date="2002-01-01T00:00:00Z")) == [
            "a feline of old"
        ]
        assert search(http, "feline", archive_id, search_mode=mode, author="nobody") == []


def test_passages_are_found_by_words_while_the_provider_is_down(http: httpx.Client, embeddings: Any) -> None:
    archive_id = new_archive(http)
    embeddings.is_down = True
    fill(http, archive_id, "a feline sleeps", "a canine barks")
    assert "503" in until_failing(http, archive_id) or "failed" in until_failing(http, archive_id)
    assert http.get(f"/v1/archives/{archive_id}").json()["embedded_count"] == 0
    assert texts(search(http, "feline", archive_id)) == ["a feline sleeps"]
    refused = http.post("/v1/passages/search", json={"query": "cat", "archive_id": archive_id, "search_mode": "vector"})
    assert refused.status_code == 502
    embeddings.is_down = False
    until_embedded(http, archive_id)
    assert texts(search(http, "cat", archive_id, search_mode="vector", limit=1)) == ["a feline sleeps"]
    assert http.get(f"/v1/archives/{archive_id}").json()["embedded_count"] == 2


@one_store
def test_a_provider_that_never_answers_is_waited_for_no_longer_than_set(
    start_server: StartServer, embeddings: Any
) -> None:
    server = start_server(env={"FOLKMOOT_MODEL_TIMEOUT": "1"})
    embeddings.is_silent = True
    with plain_client(server.url) as http:
        agent = http.post("/v1/agents", json={"name": "a", "model": "openai/gpt-4o-mini"}).json()["id"]
        archive_id = new_archive(http)
        http.patch(f"/v1/agents/{agent}/archives/attach/{archive_id}").raise_for_status()
        fill(http, archive_id, "a feline sleeps", "a canine barks")
        assert "did not answer" in until_failing(http, archive_id)
        found = http.get(f"/v1/agents/{agent}/archival-memory/search", params={"query": "feline"}).json()
        assert [each["content"] for each in found["results"]] == ["a feline sleeps"]
        assert "did not answer" in found["without_meaning"]
        embeddings.is_silent = False
        until_embedded(http, archive_id)
        assert texts(search(http, "cat", archive_id, search_mode="vector", limit=1)) == ["a feline sleeps"]


VECTOR = {"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}


WRONG = {
    "limiting": (429, {"error": {"message": "slow down", "type": "rate_limit"}}),
    "key": (401, {"error": {"message": "bad key"}}),
    "no model": (404, {"error": {"message": "no such model"}}),
    "failed": (500, {"error": {"message": "broken"}}),
    "3 vectors for 1 texts": (200, {"data": [VECTOR, {**VECTOR, "index": 1}, {**VECTOR, "index": 2}]}),
    "0 vectors for 1 texts": (200, {"data": []}),
    "finite": (200, {"data": [{**VECTOR, "embedding": [float("nan"), 1.0]}]}),
    "not all 0": (200, {"data": [{**VECTOR, "embedding": [0.0, 0.0]}]}),
    "cannot be read": (200, {"data": [{**VECTOR, "embedding": "%%%"}]}),
    "no list of numbers": (200, {"data": [{**VECTOR, "embedding": ["a"]}]}),
    "dimensions": (200, {"data": [{**VECTOR, "embedding": []}]}),
    "no vectors": (200, {"answer": "none"}),
}
"""What a provider may get wrong, by a word of how that is told: the status and the body of its answer."""


@one_store
def test_what_a_provider_gets_wrong_is_told_and_tried_again(http: httpx.Client, embeddings: Any) -> None:
    """All of it at once, since each job rests for a second or more before it is tried again."""
    archives = {word: new_archive(http) for word in WRONG}
    told = {word: f"a feline sleeps {place}" for place, word in enumerate(WRONG)}
    embeddings.wrong = {told[word]: wrong for word, wrong in WRONG.items()}
    embeddings.wrong["text"] = WRONG["no model"]  # the probe that tells a refused text from a model that is gone
    for word, archive_id in archives.items():
        fill(http, archive_id, told[word])
    for word, archive_id in archives.items():
        assert word in until_failing(http, archive_id)
    embeddings.wrong = {}
    for word, archive_id in archives.items():
        until_embedded(http, archive_id)
        assert texts(search(http, "cat", archive_id, search_mode="vector")) == [told[word]]


@one_store
def test_vectors_of_other_dimensions_than_before_are_refused(http: httpx.Client, embeddings: Any) -> None:
    archive_id = new_archive(http)
    fill(http, archive_id, "a feline sleeps")
    until_embedded(http, archive_id)
    embeddings.dimensions = 64
    fill(http, archive_id, "the tom wakes")
    assert "64 dimensions" in until_failing(http, archive_id)
    assert texts(search(http, "wakes", archive_id)) == ["the tom wakes"]
    for embedding in (None, EMBEDDING):  # the remedy that the error names
        assert http.patch(f"/v1/archives/{archive_id}", json={"embedding": embedding}).status_code == 200
    until_embedded(http, archive_id)
    assert set(texts(search(http, "cat", archive_id, search_mode="vector"))) == {"a feline sleeps", "the tom wakes"}


@one_store
def test_a_text_that_a_model_refuses_does_not_hold_up_the_others(http: httpx.Client, embeddings: Any) -> None:
    archive_id = new_archive(http)
    embeddings.longest, embeddings.refused = 6000, "poison"
    _, poisoned, long = fill(http, archive_id, "a feline sleeps", "poison", "vessel " * 1000 + "a tom at the end")
    until_embedded(http, archive_id)
    passages = {each["id"]: each for each in http.get(f"/v1/archives/{archive_id}/passages").json()}
    assert "cannot be embedded" in passages[poisoned]["embedding_error"]
    assert passages[long]["embedding_error"] is None, "its beginning was embedded"
    assert texts(search(http, "cat", archive_id, search_mode="vector", limit=1)) == ["a feline sleeps"]
    assert search(http, "ship", archive_id, search_mode="vector", limit=1)[0]["passage"]["id"] == long
    assert search(http, "poison", archive_id)[0]["passage"]["id"] == poisoned
    assert http.get(f"/v1/archives/{archive_id}").json()["embedded_count"] == 3


def test_an_archive_stays_searchable_while_it_is_embedded_anew(http: httpx.Client, embeddings: Any) -> None:
    archive_id = new_archive(http)
    fill(http, archive_id, "a feline sleeps", "a canine barks")
    until_embedded(http, archive_id)
    embeddings.answer_next(503, {"error": {"message": "down"}}, times=1)
    changed = http.patch(f"/v1/archives/{archive_id}", json={"embedding": "openai/text-embedding-3-large"})
    assert changed.json()["embedding_config"]["embedding_model"] == "text-embedding-3-large"
    until_failing(http, archive_id)
    embeddings.dimensions = 96
    until_embedded(http, archive_id)
    assert texts(search(http, "cat", archive_id, search_mode="vector", limit=1)) == ["a feline sleeps"]
    none = http.patch(f"/v1/archives/{archive_id}", json={"embedding": None}).json()
    assert (none["embedding"], none["embedding_config"]) == (None, None)
    until_embedded(http, archive_id)
    assert texts(search(http, "feline", archive_id)) == ["a feline sleeps"]


def test_deleted_passages_and_archives_are_not_found(http: httpx.Client, embeddings: Any) -> None:
    archive_id = new_archive(http)
    first, second = fill(http, archive_id, "a feline sleeps", "the tom wakes")
    until_embedded(http, archive_id)
    http.delete(f"/v1/archives/{archive_id}/passages/{first}").raise_for_status()
    assert texts(search(http, "cat", archive_id, search_mode="vector")) == ["the tom wakes"]
    embeddings.is_down = True
    fill(http, archive_id, "another feline")
    until_failing(http, archive_id)
    http.delete(f"/v1/archives/{archive_id}").raise_for_status()
    assert job_of(http, archive_id) is None, "its job ended with it"
    everywhere = http.post("/v1/passages/search", json={"query": "feline", "search_mode": "text"}).json()
    assert archive_id not in {each["passage"]["archive_id"] for each in everywhere}
    assert second


def test_an_agent_finds_by_meaning_in_all_its_archives(
    http: httpx.Client, embeddings: Any, new_agent: NewAgent
) -> None:
    agent = new_agent()
    archives = [new_archive(http), new_archive(http, "openai/text-embedding-3-large"), new_archive(http, None)]
    for number, archive_id in enumerate(archives):
        http.patch(f"/v1/agents/{agent.id}/archives/attach/{archive_id}").raise_for_status()
        fill(http, archive_id, f"a feline sleeps {number}", f"a vessel sails {number}")
    stranger = new_archive(http)
    fill(http, stranger, "a feline of somebody else")
    for archive_id in (*archives, stranger):
        until_embedded(http, archive_id)
    path = f"/v1/agents/{agent.id}/archival-memory/search"
    found = http.get(path, params={"query": "cat", "top_k": 2}).json()
    assert {each["content"] for each in found["results"]} == {"a feline sleeps 0", "a feline sleeps 1"}
    assert found["without_meaning"] is None
    embeddings.is_down = True
    by_words = http.get(path, params={"query": "feline"}).json()
    assert {each["content"] for each in by_words["results"]} == {f"a feline sleeps {number}" for number in range(3)}
    assert "failed" in by_words["without_meaning"]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_the_servers_default_embedding_is_for_archives_that_name_none(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server(env={"FOLKMOOT_DEFAULT_EMBEDDING": EMBEDDING})
    with plain_client(server.url) as http:
        made = http.post("/v1/archives", json={"name": "by default"}).json()
        assert (made["embedding"], made["embedding_config"]["handle"]) == (EMBEDDING, EMBEDDING)
        agent = http.post("/v1/agents", json={"model": "openai/gpt-4o-mini"}).json()["id"]
        kept = http.post(f"/v1/agents/{agent}/archival-memory", json={"text": "x"}).json()[0]
        assert kept["embedding_config"]["handle"] == EMBEDDING
        until_embedded(http, kept["archive_id"])


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_another_process_goes_on_with_what_a_killed_one_was_embedding(
    start_server: StartServer, scripted_model: ScriptedModel, database_url: str
) -> None:
    from asyncio import run

    from chaos.moot import rows

    scripted_model.embeddings.is_down = True
    one, two = start_server(), start_server()
    with plain_client(one.url) as http:
        archive_id = new_archive(http)
        fill(http, archive_id, *(f"text {number}" for number in range(100)))
    one.kill()
    scripted_model.embeddings.is_down = False
    run(rows(database_url, "UPDATE jobs SET due_at = 1 WHERE due_at IS NOT NULL"))
    with plain_client(two.url) as http:
        until_embedded(http, archive_id)
        assert http.get(f"/v1/archives/{archive_id}").json()["embedded_count"] == 100
        assert texts(search(http, "text 7", archive_id, search_mode="vector", limit=1)) == ["text 7"]
