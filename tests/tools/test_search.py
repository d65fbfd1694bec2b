"""Which search is chosen, and what the model reads of its results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.settings import Settings
from folkmoot.tools.search import SearchQuery, SearchResult, choose_search, render
from folkmoot.tools.search.exa import ExaSearch
from folkmoot.tools.search.offline import OfflineSearch, offline_search
from folkmoot.tools.search.query import clean
from folkmoot.tools.search.searxng import SearxngSearch

if TYPE_CHECKING:
    from pathlib import Path


def settings(**fields: Any) -> Settings:
    return Settings(**fields)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # away from a developer's .env
    monkeypatch.delenv("FOLKMOOT_SEARCH_URL", raising=False)
    monkeypatch.delenv("FOLKMOOT_SEARCH_FOLDER", raising=False)


def test_the_agents_key_goes_before_the_servers() -> None:
    both = choose_search(settings(search_url="http://s"), {"EXA_API_KEY": "mine"}, {"EXA_API_KEY": "theirs"})
    assert isinstance(both, ExaSearch)
    assert both._key == "mine"
    server = choose_search(settings(search_url="http://s"), {"EXA_API_KEY": " "}, {"EXA_API_KEY": "theirs\n"})
    assert isinstance(server, ExaSearch)
    assert server._key == "theirs"


def test_searxng_is_used_when_there_is_no_key() -> None:
    assert isinstance(choose_search(settings(search_url="http://s"), {}, {"EXA_API_KEY": ""}), SearxngSearch)


def test_documents_are_used_when_there_is_nothing_else(tmp_path: Path) -> None:
    assert choose_search(settings(), {}, {}) is offline_search(None)
    own = choose_search(settings(search_folder=tmp_path), {}, {})
    assert isinstance(own, OfflineSearch)
    assert own is offline_search(tmp_path)


def test_results_are_rendered_as_json() -> None:
    results = [
        SearchResult("A", "https://a.org", "words é", "2024-01-01"),
        SearchResult("B", "document:b.md", ""),
    ]
    text = render(SearchQuery("moot"), results, "exa")
    assert "é" in text
    assert json.loads(text) == {
        "query": "moot",
        "results": [
            {"title": "A", "url": "https://a.org", "text": "words é", "published_date": "2024-01-01"},
            {"title": "B", "url": "document:b.md", "text": ""},
        ],
        "source": "exa",
    }


@pytest.mark.parametrize(("whole", "count", "longest"), [(False, 1, 1500), (True, 1, 8000), (True, 25, 1200)])
def test_texts_are_cut_to_a_length_the_model_can_read(whole: bool, count: int, longest: int) -> None:
    results = [SearchResult("t", "u", "word " * 10_000)] * count
    text = render(SearchQuery("q", include_text=whole), results, "exa")
    assert len(text) < 40_000
    for entry in json.loads(text)["results"]:
        assert longest - 10 < len(entry["text"]) <= longest
        assert entry["text"].endswith("word…")


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_any_text_can_be_rendered_and_stored(query: str, text: str) -> None:
    rendered = render(SearchQuery(query), [SearchResult(text, text, text, text)], "exa")
    rendered.encode()
    assert json.loads(rendered)["results"][0]["text"] == clean(text).strip()


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_any_domain_and_address_can_be_compared(domain: str, address: str) -> None:
    SearchQuery("q", include_domains=[domain], exclude_domains=[domain]).allows(address)


@pytest.mark.parametrize(
    ("domain", "address", "allowed"),
    [
        ("example.org", "https://example.org/a", True),
        ("example.org", "https://sub.example.org", True),
        ("www.example.org", "https://example.org:8080/", True),
        ("*.example.org", "https://sub.example.org", True),
        ("https://Example.ORG/path", "http://EXAMPLE.org", True),
        ("example.org", "https://badexample.org", False),
        ("example.org", "https://example.org.evil.net", False),
        ("example.org", "document:a.md", False),
    ],
)
def test_a_domain_covers_what_lies_within_it(domain: str, address: str, allowed: bool) -> None:
    assert SearchQuery("q", include_domains=[domain]).allows(address) is allowed
    assert SearchQuery("q", exclude_domains=[domain]).allows(address) is not allowed
