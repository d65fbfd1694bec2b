"""The search over a folder of documents."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import ToolFailed
from folkmoot.tools.search import SearchQuery, SearchResult
from folkmoot.tools.search.offline import (
    OfflineSearch,
    offline_search,
    read_document,
    search_terms,
    shipped_documents,
)

SHIPPED = OfflineSearch(shipped_documents())


def find(words: str, search: OfflineSearch = SHIPPED, **options: int) -> list[SearchResult]:
    return asyncio.run(search.search(SearchQuery(words, **options)))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tea.md").write_text(
        "# Tea\n\nTea is a drink.\n\nSource: https://tea.example/a\nPublished: 2024-01-02\n"
    )
    (tmp_path / "coffee.txt").write_text("Coffee is a drink too.")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("the connection between memory blocks and Letta", "memory-blocks-and-letta"),
        ("memory blocks Letta", "memory-blocks-and-letta"),
        ("Find information about the connection between memory blocks and Letta.", "memory-blocks-and-letta"),
        ("the origin of Letta", "origin-of-letta"),
        ("Find information about the origin of Letta.", "origin-of-letta"),
        ("who founded Letta?", "origin-of-letta"),
        ("MemGPT paper arXiv", "memgpt-paper"),
        ("virtual context management", "virtual-context-management"),
        ("how large is a context window in tokens", "context-windows"),
        ("archival versus recall memory", "archival-and-recall-memory"),
        ("share a block between several agents", "shared-memory-blocks"),
        ("read-only policies", "read-only-blocks"),
        ("multi-agent shared state", "shared-state-in-multi-agent-systems"),
        ("Hearsay-II", "blackboard-systems"),
        ("what is a folkmoot", "moots-and-folkmoots"),
        ("prompt caching", "prompt-caching"),
        ("MVCC", "concurrent-edits"),
    ],
)
def test_shipped_documents_answer_their_topic_first(words: str, name: str) -> None:
    assert find(words)[0].url == f"document:{name}.md"


def test_common_words_count_only_when_there_are_no_others() -> None:
    assert search_terms("What is the origin of Letta?") == ["origin", "letta"]
    assert search_terms("What is it?") == ["what", "is", "it"]


def test_the_tutorials_topics_are_answered_by_the_first_passage() -> None:
    assert find("the origin of Letta")[0].text.startswith("Letta began as MemGPT, a research project at UC Berkeley")
    assert find("memory blocks and Letta")[0].text.startswith("Memory blocks are the units in which Letta keeps")


def test_each_shipped_document_has_a_title_and_begins_with_one_sentence() -> None:
    paths = sorted(shipped_documents().glob("*.md"))
    assert len(paths) >= 12
    for path in paths:
        text = path.read_text(encoding="utf-8")
        document = read_document(path.name, text)
        assert text.startswith(f"# {document.title}\n\n")
        first = document.passages[0]
        assert first.endswith(".")
        assert ". " not in first.replace("et al. ", "").replace("et al., ", "")
        assert 100 <= len(text.split()) <= 250


def test_titles_addresses_and_dates_are_read(folder: Path) -> None:
    search = OfflineSearch(folder)
    assert find("tea", search) == [SearchResult("Tea", "https://tea.example/a", "Tea is a drink.", "2024-01-02")]
    assert find("coffee", search) == [SearchResult("coffee", "document:coffee.txt", "Coffee is a drink too.")]


def test_a_document_is_found_by_its_title_and_by_another_form_of_a_word(folder: Path) -> None:
    (folder / "cups.md").write_text("# Porcelain\nCups hold it.")
    assert [result.title for result in find("porcelains", OfflineSearch(folder))] == ["Porcelain"]


def test_files_that_change_appear_or_go_are_noticed(folder: Path) -> None:
    search = OfflineSearch(folder)
    assert find("cocoa", search) == []
    (folder / "inner").mkdir()
    (folder / "inner" / "cocoa.md").write_text("# Cocoa\n\nCocoa is sweet.")
    assert [result.url for result in find("cocoa", search)] == ["document:inner/cocoa.md"]
    (folder / "inner" / "cocoa.md").write_text("# Cocoa\n\nCocoa is dark!")
    os.utime(folder / "inner" / "cocoa.md", ns=(1, 1))
    assert find("cocoa", search)[0].text == "Cocoa is dark!"
    (folder / "inner" / "cocoa.md").unlink()
    assert find("cocoa", search) == []


def test_an_unchanged_folder_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = OfflineSearch(folder)
    find("tea", search)
    monkeypatch.setattr(Path, "read_text", None)
    assert find("tea", search)


def test_hidden_and_other_files_are_left_out(folder: Path) -> None:
    (folder / ".secret.md").write_text("vanilla")
    (folder / ".git").mkdir()
    (folder / ".git" / "a.md").write_text("vanilla")
    (folder / "a.py").write_text("vanilla")
    (folder / "gone.md").symlink_to(folder / "nowhere")
    (folder / "latin.txt").write_bytes(b"caf\xe9 vanilla")
    assert [result.url for result in find("vanilla", OfflineSearch(folder))] == ["document:latin.txt"]


def test_the_whole_text_is_given_when_asked_for(folder: Path) -> None:
    (folder / "long.md").write_text("# Long\n\n" + "\n\n".join(f"Paragraph {n} on mint." for n in range(20)))
    search = OfflineSearch(folder)
    assert find("mint", search)[0].text.count("mint") == 3
    assert find("mint", search, include_text=True)[0].text.count("mint") == 20


def test_a_long_paragraph_is_cut_into_passages(folder: Path) -> None:
    (folder / "long.txt").write_text("filler " * 3000 + "saffron " + "filler " * 3000)
    text = find("saffron", OfflineSearch(folder))[0].text
    assert "saffron" in text
    assert len(text) <= 1000


def test_japanese_is_found_by_part_of_a_sentence(folder: Path) -> None:
    (folder / "memory.md").write_text("# 記憶\n\nエージェントは共有メモリを使う。", encoding="utf-8")
    assert [result.title for result in find("共有", OfflineSearch(folder))] == ["記憶"]


@pytest.mark.parametrize("limit", [-1, 0, 1])
def test_at_least_one_result_is_given(limit: int) -> None:
    assert len(find("memory", num_results=limit)) == 1


@pytest.mark.parametrize("words", ["", " \n", "\t"])
def test_an_empty_query_is_refused(words: str) -> None:
    with pytest.raises(ToolFailed, match="needs a query"):
        find(words)


def test_a_missing_or_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match=r"has no folder .*FOLKMOOT_SEARCH_FOLDER"):
        find("tea", OfflineSearch(tmp_path / "none"))
    with pytest.raises(ToolFailed, match=r"no \.md or \.txt documents"):
        find("tea", OfflineSearch(tmp_path))


def test_one_folder_has_one_search(tmp_path: Path) -> None:
    assert offline_search(tmp_path) is offline_search(tmp_path)
    assert find("moot", offline_search(None))


async def test_searches_at_the_same_time_agree(folder: Path) -> None:
    search = OfflineSearch(folder)
    found = await asyncio.gather(*(search.search(SearchQuery("drink")) for _ in range(20)))
    assert all(results == found[0] and len(results) == 2 for results in found)


@given(st.text(st.characters(codec=None)) | st.text("\"*()^:-+{}\0 ANDORNOTEAR\\'🎉", max_size=30))
def test_any_query_is_searched_or_refused_as_empty(words: str) -> None:
    try:
        find(words)
    except ToolFailed as failure:
        assert not words.strip()
        assert "needs a query" in failure.message


@given(st.text())
def test_any_text_makes_a_document(text: str) -> None:
    document = read_document("a.md", text)
    assert document.title
    assert document.passages
