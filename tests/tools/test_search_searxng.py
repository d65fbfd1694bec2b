"""Search by a SearXNG server, against a stand-in."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from folkmoot.errors import ToolFailed
from folkmoot.tools.search import SearchQuery, SearchResult
from folkmoot.tools.search.searxng import LARGEST_ANSWER, SearxngSearch

if TYPE_CHECKING:
    from tools.fake_http import FakeHttp


def entry(url: str, **more: Any) -> dict[str, Any]:
    return {"url": url, "title": f"At {url}", "content": "words", "engine": "e", **more}


async def test_results_are_read(fake: FakeHttp) -> None:
    fake.answer({"results": [entry("https://a.org/", publishedDate="2024-05-06T00:00:00"), {"url": "https://b.org"}]})
    assert await SearxngSearch(fake.address).search(SearchQuery("moot & folk")) == [
        SearchResult("At https://a.org/", "https://a.org/", "words", "2024-05-06T00:00:00"),
        SearchResult("https://b.org", "https://b.org", ""),
    ]
    assert fake.paths == ["/search"]
    assert fake.queries == [{"q": "moot & folk", "format": "json"}]


@pytest.mark.parametrize("ending", ["/", "/search", "/search/"])
async def test_the_address_may_end_in_several_ways(fake: FakeHttp, ending: str) -> None:
    fake.answer({"results": []})
    assert await SearxngSearch(fake.address + ending).search(SearchQuery("a")) == []
    assert fake.paths == ["/search"]


async def test_domains_are_asked_for_and_filtered(fake: FakeHttp) -> None:
    urls = [
        "https://a.org/1",
        "https://www.a.org/2",
        "https://nota.org/3",
        "https://b.org/4",
        "https://x.a.org/5",
    ]
    fake.answer({"results": [entry(url) for url in urls]})
    query = SearchQuery("q", include_domains=["https://www.A.org/", "c.org", " "], exclude_domains=["x.a.org"])
    found = await SearxngSearch(fake.address).search(query)
    assert [result.url for result in found] == ["https://a.org/1", "https://www.a.org/2"]
    assert fake.queries[0]["q"] == "q (site:a.org OR site:c.org) -site:x.a.org"


async def test_dates_filter_pages_that_tell_theirs(fake: FakeHttp) -> None:
    days = ["2023-12-31T23:00:00", "2024-01-01T00:00:00", "2024-06-30T10:00:00", "2024-07-01T00:00:00", None]
    fake.answer({"results": [entry(f"https://a.org/{day}", publishedDate=day) for day in days]})
    query = SearchQuery("q", start_published_date="2024-01-01T00:00:00Z", end_published_date="2024-06-30")
    found = await SearxngSearch(fake.address).search(query)
    assert [result.published for result in found] == [days[1], days[2], None]


async def test_categories_become_searxngs_own_or_operators(fake: FakeHttp) -> None:
    fake.answer({"results": []})
    search = SearxngSearch(fake.address)
    await search.search(SearchQuery("q", category="research paper"))
    await search.search(SearchQuery("q", category="github"))
    await search.search(SearchQuery("q", category="company"))
    assert fake.queries == [
        {"q": "q", "format": "json", "categories": "science"},
        {"q": "q site:github.com", "format": "json"},
        {"q": "q", "format": "json"},
    ]


async def test_only_as_many_results_as_asked_for(fake: FakeHttp) -> None:
    fake.answer({"results": [entry(f"https://a.org/{n}") for n in range(40)]})
    assert len(await SearxngSearch(fake.address).search(SearchQuery("q", num_results=3))) == 3
    assert len(await SearxngSearch(fake.address).search(SearchQuery("q", num_results=100))) == 25


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (403, b"", "`json` to `formats` under `search` in its settings.yml"),
        (429, b"", "limiting requests"),
        (500, b"", "status 500"),
        (404, b"", "status 404"),
        (200, b"<html>", "FOLKMOOT_SEARCH_URL"),
        (200, b"", "FOLKMOOT_SEARCH_URL"),
        (200, b"[1]", "FOLKMOOT_SEARCH_URL"),
        (200, b"{}", "FOLKMOOT_SEARCH_URL"),
        (200, b'{"results": 3}', "FOLKMOOT_SEARCH_URL"),
        (200, b"\xff\xfe\x00", "FOLKMOOT_SEARCH_URL"),
        (200, b"[" * 100_000, "FOLKMOOT_SEARCH_URL"),
        (200, b" " * (LARGEST_ANSWER + 1), "more than 5,000,000 bytes"),
        (200, b'{"results": [], "unresponsive_engines": [["google", "CAPTCHA"], 3]}', "google (CAPTCHA)"),
    ],
)
async def test_what_went_wrong_is_told(fake: FakeHttp, status: int, body: bytes, told: str) -> None:
    fake.status, fake.body = status, body
    with pytest.raises(ToolFailed) as failure:
        await SearxngSearch(fake.address).search(SearchQuery("q"))
    assert told in failure.value.message


async def test_entries_that_make_no_sense_are_left_out(fake: FakeHttp) -> None:
    fake.answer({"results": [3, None, {"title": "no address"}, {"url": 5, "title": 6, "content": ["x"]}]})
    assert [result.url for result in await SearxngSearch(fake.address).search(SearchQuery("q"))] == ["5"]


async def test_a_slow_server_is_not_waited_for(fake: FakeHttp) -> None:
    fake.delay = 1.0
    with pytest.raises(ToolFailed, match=r"within 0\.1 seconds"):
        await SearxngSearch(fake.address, timeout=0.1).search(SearchQuery("q"))


async def test_a_server_that_sends_byte_by_byte_is_not_waited_for(fake: FakeHttp) -> None:
    fake.answer({"results": []})
    fake.drip = 0.1
    with pytest.raises(ToolFailed, match=r"within 0\.3 seconds"):
        await SearxngSearch(fake.address, timeout=0.3).search(SearchQuery("q"))


async def test_nobody_there_is_told_without_the_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ToolFailed, match="could not be reached") as failure:
            await SearxngSearch(f"http://me:hush@127.0.0.1:{port}").search(SearchQuery("q"))
    assert f"127.0.0.1:{port}" in failure.value.message
    assert "hush" not in failure.value.message


@pytest.mark.parametrize("address", ["http://[::1", "http://", "nonsense://x", "http://exa mple", "http://a:b:c"])
async def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(ToolFailed, match="FOLKMOOT_SEARCH_URL"):
        await SearxngSearch(address).search(SearchQuery("q"))


async def test_a_query_that_cannot_be_encoded_is_sent_without_that_part(fake: FakeHttp) -> None:
    fake.answer({"results": []})
    await SearxngSearch(fake.address).search(SearchQuery("a\ud800b"))
    assert fake.queries[0]["q"] == "a?b"
