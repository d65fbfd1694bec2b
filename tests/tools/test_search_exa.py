"""Search by Exa: against a stand-in for its server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from folkmoot.errors import ToolFailed
from folkmoot.tools.search import SearchQuery, SearchResult
from folkmoot.tools.search.exa import ExaSearch

if TYPE_CHECKING:
    from tools.fake_http import FakeHttp

KEY = "exa-secret-key"


def search(fake: FakeHttp, timeout: float = 30.0) -> ExaSearch:
    return ExaSearch(KEY, fake.address, timeout)


async def test_results_are_read_and_highlights_are_the_text(fake: FakeHttp) -> None:
    page = {
        "id": "1",
        "title": "A",
        "url": "https://a.org",
        "publishedDate": "2024-01-01",
        "highlights": ["x", "y"],
    }
    fake.answer({"results": [page, {"id": "2", "title": None, "url": "https://b.org", "text": "whole"}]})
    assert await search(fake).search(SearchQuery("moots", num_results=2)) == [
        SearchResult("A", "https://a.org", "x\n…\ny", "2024-01-01"),
        SearchResult("https://b.org", "https://b.org", "whole"),
    ]
    assert fake.paths == ["/search"]
    assert fake.headers[0]["x-api-key"] == KEY
    assert fake.bodies == [{"query": "moots", "numResults": 2, "contents": {"highlights": True}}]


async def test_every_option_is_passed_on(fake: FakeHttp) -> None:
    fake.answer({"results": []})
    await search(fake).search(
        SearchQuery(
            "q",
            num_results=99,
            category="research paper",
            include_text=True,
            exclude_domains=["https://c.org/x"],
            start_published_date="2024-01-01",
            end_published_date="2024-02-01",
            user_location="DE",
        )
    )
    assert fake.bodies == [
        {
            "query": "q",
            "numResults": 25,
            "category": "publication",
            "contents": {"text": {"maxCharacters": 10_000}},
            "excludeDomains": ["c.org"],
            "startPublishedDate": "2024-01-01",
            "endPublishedDate": "2024-02-01",
            "userLocation": "DE",
        }
    ]


@pytest.mark.parametrize(
    ("category", "sent"),
    [
        ("news", {"category": "news"}),
        ("linkedin profile", {"category": "people"}),
        ("github", {"includeDomains": ["github.com"]}),
        ("tweet", {"includeDomains": ["x.com", "twitter.com"]}),
        ("pdf", {}),
    ],
)
async def test_categories_that_exa_has_dropped_are_not_sent(
    fake: FakeHttp, category: Any, sent: dict[str, Any]
) -> None:
    fake.answer({"results": []})
    await search(fake).search(SearchQuery("q", category=category))
    body = fake.bodies[0]
    assert {key: body[key] for key in ("category", "includeDomains") if key in body} == sent


async def test_of_two_lists_of_domains_one_is_sent_and_both_hold(fake: FakeHttp) -> None:
    fake.answer({"results": [{"id": url, "url": url} for url in ("https://a.org", "https://b.a.org", "https://c.org")]})
    query = SearchQuery("q", include_domains=["a.org"], exclude_domains=["b.a.org"])
    assert [result.url for result in await search(fake).search(query)] == ["https://a.org"]
    assert fake.bodies[0]["includeDomains"] == ["a.org"]
    assert "excludeDomains" not in fake.bodies[0]


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (
            401,
            {"error": f"bad key {KEY}"},
            "did not accept the API key in EXA_API_KEY (it said: bad key <key>).",
        ),
        (402, {}, "no credit left."),
        (429, {"message": "slow down"}, "limiting requests"),
        (400, {"error": "Invalid startPublishedDate"}, "status 400 (it said: Invalid startPublishedDate)."),
        (503, {"error": None}, "status 503."),
        (200, {}, "not of the form"),
        (200, [], "not of the form"),
        (200, {"results": [3]}, "not of the form"),
        (200, {"results": 3}, "not of the form"),
    ],
)
async def test_what_went_wrong_is_told_without_the_key(fake: FakeHttp, status: int, answer: Any, told: str) -> None:
    fake.answer(answer, status)
    with pytest.raises(ToolFailed) as failure:
        await search(fake).search(SearchQuery("q"))
    assert told in failure.value.message
    assert KEY not in failure.value.message


@pytest.mark.parametrize(("status", "told"), [(200, "could not be used"), (502, "status 502.")])
async def test_a_page_of_html_is_told(fake: FakeHttp, status: int, told: str) -> None:
    fake.status, fake.body = status, b"<html>Bad gateway</html>"
    with pytest.raises(ToolFailed, match=told):
        await search(fake).search(SearchQuery("q"))


async def test_a_slow_server_is_not_waited_for(fake: FakeHttp) -> None:
    fake.delay = 1.0
    with pytest.raises(ToolFailed, match=r"within 0\.2 seconds"):
        await search(fake, 0.2).search(SearchQuery("q"))


async def test_a_server_that_sends_byte_by_byte_is_not_waited_for(fake: FakeHttp) -> None:
    fake.answer({"results": []})
    fake.drip = 0.1
    with pytest.raises(ToolFailed, match=r"within 0\.3 seconds"):
        await search(fake, 0.3).search(SearchQuery("q"))


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://[::1", "nonsense://x"])
async def test_nobody_there_is_told(address: str) -> None:
    with pytest.raises(ToolFailed, match="Exa"):
        await ExaSearch(KEY, address).search(SearchQuery("q"))


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
async def test_a_key_that_cannot_be_sent_is_told_without_it(fake: FakeHttp, key: str) -> None:
    with pytest.raises(ToolFailed) as failure:
        await ExaSearch(key, fake.address).search(SearchQuery("q"))
    assert key not in failure.value.message


async def test_an_empty_query_is_refused_before_anything_is_sent(fake: FakeHttp) -> None:
    with pytest.raises(ToolFailed, match="needs a query"):
        await search(fake).search(SearchQuery(" "))
    assert fake.paths == []
