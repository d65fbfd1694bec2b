"""Archives and passages over HTTP, with the official client: made, filled, shared, searched by words, deleted."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import Letta, NotFoundError

from support.fixtures import NewAgent, one_store

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def unique(name: str = "archive") -> str:
    return f"{name}_{uuid4().hex[:12]}"


def fill(http: httpx.Client, archive_id: str, *passages: dict[str, Any]) -> list[dict[str, Any]]:
    answer = http.post(f"/v1/archives/{archive_id}/passages/batch", json={"passages": list(passages)})
    assert answer.status_code == 200, answer.text
    made: list[dict[str, Any]] = answer.json()
    return made


def texts(found: list[dict[str, Any]]) -> list[str]:
    return [each.get("content") or each["passage"]["text"] for each in found]


def test_an_archive_has_what_its_creator_said(client: Letta, http: httpx.Client) -> None:
    made = client.archives.create(name="field notes", description="Notes from the field")
    assert made.id.startswith("archive-")
    assert (made.name, made.description, made.embedding_config) == ("field notes", "Notes from the field", None)
    assert client.archives.retrieve(made.id).name == "field notes"
    changed = client.archives.update(made.id, name="notes 2", description="changed")
    assert (changed.name, changed.description, changed.created_at) == ("notes 2", "changed", made.created_at)
    other = client.archives.create(name="notes 2")
    assert [each.id for each in client.archives.list(name="notes 2")] == [other.id, made.id], "names are not unique"
    assert client.archives.delete(made.id) is None
    with pytest.raises(NotFoundError):
        client.archives.retrieve(made.id)
    assert http.delete(f"/v1/archives/{made.id}").status_code == 404
    client.archives.delete(other.id)


@one_store
def test_what_an_archive_cannot_be_is_refused(http: httpx.Client) -> None:
    for body, status, word in (
        ({}, 422, "name"),
        ({"name": ""}, 422, "name"),
        ({"name": "x", "embedding": "nobody/none"}, 400, "nobody"),
        ({"name": "x", "embedding": "anthropic"}, 400, "provider/model"),
        ({"name": "x", "description": "d" * 10_001}, 422, "description"),
    ):
        answer = http.post("/v1/archives", json=body)
        assert (answer.status_code, word in answer.text) == (status, True), (body, answer.text)
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/agents"),
        ("GET", "/passages"),
        ("GET", "/deletions"),
        ("DELETE", f"/passages/passage-{UNKNOWN}"),
    ):
        body = {"name": "x"} if method == "PATCH" else None
        assert http.request(method, f"/v1/archives/archive-{UNKNOWN}{path}", json=body).status_code == 404, path
        assert http.request(method, f"/v1/archives/nonsense{path}", json=body).status_code == 422, path


def test_passages_keep_their_text_tags_dates_and_author(client: Letta, http: httpx.Client) -> None:
    archive = client.archives.create(name=unique())
    heron = client.archives.passages.create(
        archive.id, text="The heron fishes at dawn.", tags=["bird", "dawn", "bird"], metadata={"page": 3}
    )
    assert (heron.text, heron.tags, heron.metadata, heron.archive_id) == (
        "The heron fishes at dawn.",
        ["bird", "dawn"],
        {"page": 3},
        archive.id,
    )
    owl = client.archives.passages.create(archive.id, text="The owl hunts.", created_at="2024-01-02T03:04:05Z")
    assert owl.created_at is not None and owl.created_at.isoformat() == "2024-01-02T03:04:05+00:00"
    listed = http.get(f"/v1/archives/{archive.id}/passages").json()
    assert [each["id"] for each in listed] == [owl.id, heron.id], "by the time that it is from"
    assert listed[0]["author"]["type"] == "api" and listed[0]["tags"] is None
    assert http.get(f"/v1/archives/{archive.id}").json()["passage_count"] == 2
    author = listed[0]["author"]["name"]
    assert len(http.get(f"/v1/archives/{archive.id}/passages", params={"author": author}).json()) == 2
    assert http.get(f"/v1/archives/{archive.id}/passages", params={"author": "nobody"}).json() == []
    assert len(http.get(f"/v1/archives/{archive.id}/passages", params={"tags": "dawn"}).json()) == 1


@one_store
def test_what_a_passage_cannot_be_is_refused(http: httpx.Client) -> None:
    archive_id = http.post("/v1/archives", json={"name": unique()}).json()["id"]
    for body, word in (
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text"),
        ({"text": "x" * 100_001}, "text"),
        ({"text": "x", "created_at": 1700000000}, "created_at"),
        ({"text": "x", "tags": [""]}, "tags"),
        ({"text": "x", "tags": [str(number) for number in range(101)]}, "tags"),
    ):
        for path, sent in (("", body), ("/batch", {"passages": [{"text": "ok"}, body]})):
            answer = http.post(f"/v1/archives/{archive_id}/passages{path}", json=sent)
            assert (answer.status_code, word in answer.text) == (422, True), answer.text
    answer = http.post(f"/v1/archives/{archive_id}/passages", json={"text": "x", "created_at": "not a date"})
    assert (answer.status_code, "created_at" in answer.text) == (400, True), answer.text
    assert http.get(f"/v1/archives/{archive_id}/passages").json() == [], "of a batch, all are kept or none"
    assert fill(http, archive_id) == []


@one_store
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"),
    ],
)
def test_a_time_that_is_no_year_of_utc_any_more_is_the_last_one_that_is(
    http: httpx.Client, given: str, shown: str
) -> None:
    archive_id = http.post("/v1/archives", json={"name": unique()}).json()["id"]
    made = http.post(f"/v1/archives/{archive_id}/passages", json={"text": "x", "created_at": given})
    assert made.json()["created_at"] == shown
    assert http.get(f"/v1/archives/{archive_id}/passages").json()[0]["created_at"] == shown


def test_a_deletion_is_recorded_and_walks_go_on_behind_it(http: httpx.Client) -> None:
    archive_id = http.post("/v1/archives", json={"name": unique()}).json()["id"]
    made = fill(http, archive_id, *({"text": f"number {number}", "tags": ["n"]} for number in range(4)))
    assert [each["text"] for each in made] == [f"number {number}" for number in range(4)]
    path = f"/v1/archives/{archive_id}/passages"
    first = http.get(path, params={"limit": 2}).json()
    assert http.delete(f"{path}/{made[1]['id']}").status_code == 204
    assert http.delete(f"{path}/{made[1]['id']}").status_code == 404
    rest = http.get(path, params={"limit": 2, "after": first[-1]["id"]}).json()
    assert [each["id"] for each in rest] == [made[2]["id"], made[3]["id"]]
    (record,) = http.get(f"/v1/archives/{archive_id}/deletions").json()
    assert (record["id"], record["author"], "text" in record) == (made[1]["id"], made[1]["author"], False)
    assert record["deleted_by"]["type"] == "api"
    assert http.get(f"/v1/archives/{archive_id}").json()["passage_count"] == 3
    other = http.post("/v1/archives", json={"name": unique()}).json()["id"]
    assert http.delete(f"/v1/archives/{other}/passages/{made[0]['id']}").status_code == 404, "of another archive"


def test_an_agent_has_several_archives_and_shares_them(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    one, two = new_agent(), new_agent()
    shared, own = (client.archives.create(name=unique()) for _ in range(2))
    for agent in (one, two, one):
        assert client.agents.archives.attach(shared.id, agent_id=agent.id) is None
    client.agents.archives.attach(own.id, agent_id=one.id)
    assert {each.id for each in client.archives.list(agent_id=one.id)} == {shared.id, own.id}
    assert [each.id for each in client.archives.list(agent_id=two.id)] == [shared.id]
    listed = http.get(f"/v1/archives/{shared.id}/agents").json()
    assert {each["id"] for each in listed} == {one.id, two.id}
    client.agents.passages.create(one.id, text="Shared by one.")
    fill(http, own.id, {"text": "Only of one."})
    assert [each.text for each in client.agents.passages.list(one.id)] == ["Shared by one.", "Only of one."]
    assert [each.text for each in client.agents.passages.list(two.id)] == ["Shared by one."]
    assert client.agents.archives.detach(shared.id, agent_id=two.id) is None
    client.agents.archives.detach(shared.id, agent_id=two.id)
    assert client.agents.passages.list(two.id) == []
    for change in (client.agents.archives.attach, client.agents.archives.detach):
        with pytest.raises(NotFoundError):
            change(f"archive-{UNKNOWN}", agent_id=one.id)
        with pytest.raises(NotFoundError):
            change(shared.id, agent_id=f"agent-{UNKNOWN}")


def test_access_says_who_may_add(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    archive_id = http.post("/v1/archives", json={"name": unique()}).json()["id"]
    attach = f"/v1/agents/{agent.id}/archives/attach/{archive_id}"
    assert http.patch(attach, json={"access": "read"}).status_code == 200
    added = http.post(f"/v1/agents/{agent.id}/archival-memory", json={"text": "x"})
    assert (added.status_code, "access" in added.text) == (409, True)
    assert http.patch(attach, json={"access": "append"}).status_code == 200
    assert http.post(f"/v1/agents/{agent.id}/archival-memory", json={"text": "x"}).status_code == 200
    assert http.patch(attach, json={"access": "own"}).status_code == 422
    (listed,) = http.get("/v1/archives", params={"agent_id": agent.id}).json()
    assert listed["access"] == "append"


def test_an_agents_first_passage_makes_its_archive(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent, other = new_agent(), new_agent()
    (made,) = client.agents.passages.create(agent.id, text="Ada keeps bees.", tags=["hobby"])
    (archive,) = client.archives.list(agent_id=agent.id)
    assert (archive.name, made.archive_id) == (f"{agent.name}'s Archive", archive.id)
    client.agents.passages.create(agent.id, text="Second.")
    assert len(list(client.archives.list(agent_id=agent.id))) == 1
    client.agents.archives.attach(archive.id, agent_id=other.id)
    client.agents.delete(agent.id)
    assert client.archives.retrieve(archive.id).id == archive.id, "another agent has it"
    (own,) = client.agents.passages.create(other.id, text="x")
    assert own.archive_id == archive.id


def test_an_archive_that_was_made_for_an_agent_goes_with_it(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    (made,) = client.agents.passages.create(agent.id, text="Gone with it.")
    client.agents.delete(agent.id)
    with pytest.raises(NotFoundError):
        client.archives.retrieve(str(made.archive_id))


def test_passages_are_found_by_their_words_tags_and_dates(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    archive = client.archives.create(name=unique())
    client.agents.archives.attach(archive.id, agent_id=agent.id)
    fill(
        http,
        archive.id,
        {"text": "One fish swims.", "tags": ["fish"]},
        {"text": "The heron eats fish and more fish.", "tags": ["bird"]},
        {"text": "Red fish.", "tags": ["fish", "red"], "created_at": "2023-05-06T07:08:09Z"},
        {"text": "An owl.", "tags": ["bird", "night"]},
    )
    path = f"/v1/agents/{agent.id}/archival-memory/search"

    def search(query: str, **more: Any) -> list[str]:
        answer = http.get(path, params={"query": query, **more})
        assert answer.status_code == 200, answer.text
        assert answer.json()["count"] == len(answer.json()["results"])
        return texts(answer.json()["results"])

    assert set(search("fish")) == {"One fish swims.", "The heron eats fish and more fish.", "Red fish."}
    assert search("heron owl", top_k=1) in (["An owl."], ["The heron eats fish and more fish."])
    assert set(search("fish", tags=["bird", "red"])) == {"The heron eats fish and more fish.", "Red fish."}
    assert search("fish", tags=["fish", "red"], tag_match_mode="all") == ["Red fish."]
    assert search("fish", start_datetime="2023-01-01", end_datetime="2024-01-01") == ["Red fish."]
    assert "Red fish." not in search("fish", start_datetime="2024-01-01")
    assert search("") == search("   ") == search("...") == []
    assert search("fish", author="nobody") == []
    for params in ({"top_k": 0}, {"tag_match_mode": "none"}, {"start_datetime": "soon"}):
        assert http.get(path, params={"query": "fish", **params}).status_code == 422
    assert http.get(path).status_code == 422
    first = http.get(path, params={"query": "fish"}).json()["results"][0]
    assert first["why"]["words"] == ["fish"] and first["why"]["text_rank"] == 1 and first["score"] > 0


def test_who_asks_for_hundreds_of_passages_gets_them_and_at_most_a_thousand(
    http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    archive = http.post("/v1/archives/", json={"name": unique()}).json()["id"]
    http.patch(f"/v1/agents/{agent.id}/archives/attach/{archive}").raise_for_status()
    for some in (1000, 1):
        fill(http, archive, *({"text": f"Heron {n}."} for n in range(some)))
    path = f"/v1/agents/{agent.id}/archival-memory/search"
    for asked, found in ((200, 200), (10**6, 1000)):
        answer = http.get(path, params={"query": "heron", "top_k": asked}).json()
        assert (len({each["id"] for each in answer["results"]}), answer["count"]) == (found, found)


def test_a_rare_word_counts_more_than_a_frequent_one_and_in_a_short_text_more_than_in_a_long_one(
    http: httpx.Client,
) -> None:
    kettle, heron = (
        f"{word}{uuid4().hex[:8]}" for word in ("kettle", "heron")
    )  # how rare a word is, all passages of the server decide
    archive_id = http.post("/v1/archives", json={"name": unique()}).json()["id"]
    often = f"{kettle} {kettle} {kettle} and nothing else of note"
    rare = f"one {heron} stands in the water for a long while"
    longer = f"{rare} {'and then it waits a little ' * 20}"
    fill(http, archive_id, {"text": longer}, {"text": rare}, *({"text": f"{often} {number}"} for number in range(8)))
    wanted = {"query": f"{kettle} {heron}", "archive_id": archive_id, "search_mode": "text"}
    found = http.post("/v1/passages/search", json=wanted).raise_for_status().json()
    assert texts(found)[0] == rare
    assert longer in texts(found)
    scores = [each["score"] for each in found]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 0


def test_all_archives_are_searched_at_once_or_those_named(client: Letta, http: httpx.Client) -> None:
    word = f"zz{uuid4().hex[:10]}"
    one, two = (client.archives.create(name=unique()).id for _ in range(2))
    fill(http, one, {"text": f"{word} old", "created_at": "2020-01-01T00:00:00Z"}, {"text": "something else"})
    fill(http, two, {"text": f"{word} new"})

    def search(**body: Any) -> list[dict[str, Any]]:
        """Search by words: what other tests keep may be near in meaning to anything."""
        answer = http.post("/v1/passages/search", json={"search_mode": "text", **body})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found

    assert set(texts(search(query=word))) == {f"{word} old", f"{word} new"}
    assert texts(search(query=word, archive_id=two)) == [f"{word} new"]
    assert texts(search(query=word, end_date="2021-01-01T00:00:00Z")) == [f"{word} old"]
    assert texts(search(archive_id=one)) == [f"{word} old", "something else"], "without a query, the oldest first"
    assert search(query=word)[0]["metadata"]["words"] == [word]
    found = client.passages.search(query=word, archive_id=one)
    assert [each.passage.text for each in found] == [f"{word} old"]
    assert http.post("/v1/passages/search", json={"query": "x", "limit": 101}).status_code == 422
    unknown = http.post("/v1/passages/search", json={"query": "x", "archive_id": f"archive-{UNKNOWN}"})
    assert unknown.status_code == 404
    vector = http.post("/v1/passages/search", json={"query": word, "archive_id": one, "search_mode": "vector"})
    assert (vector.status_code, "embedding" in vector.text) == (400, True)


def test_a_passage_of_an_agent_is_deleted_by_its_agents_address(http: httpx.Client, new_agent: NewAgent) -> None:
    agent, other = new_agent(), new_agent()
    (made,) = http.post(f"/v1/agents/{agent.id}/archival-memory", json={"text": "x", "tags": ["t"]}).json()
    path = f"archival-memory/{made['id']}"
    assert http.delete(f"/v1/agents/{other.id}/{path}").status_code == 404
    assert http.delete(f"/v1/agents/{agent.id}/{path}").json()["message"].endswith("successfully deleted")
    assert http.delete(f"/v1/agents/{agent.id}/{path}").status_code == 404
    assert http.get(f"/v1/agents/{agent.id}/archival-memory").json() == []
