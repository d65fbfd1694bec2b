"""Search over a folder of documents, with nothing but the standard library.

Each `.md` or `.txt` file is a document, each of its paragraphs a passage. SQLite's FTS5 ranks the passages,
and a document is as good as its best three together. Its title is its first heading. Two kinds of lines are
read and not shown:

    Source: https://example.org/page     the document's address; `document:<file>` without it
    Published: 2024-09-23                the day it was published
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
import sqlite3
import textwrap
import threading
import weakref
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from folkmoot.errors import ToolFailed
from folkmoot.tools.search.query import SearchQuery, SearchResult

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_FILE = 5_000_000
"""Bytes; larger files are left out."""

LONGEST_PASSAGE = 1000
MOST_TERMS = 64
PASSAGES_SHOWN = 3
TITLE_WEIGHT = 3.0

_ENDINGS = (".md", ".txt")
# unicode61 takes a run of Chinese or Japanese for one word; here each of its characters counts as a word.
_IDEOGRAPHS = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W_{_IDEOGRAPHS}]{{1,100}}")
_HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*")
_HEADING_LINE = re.compile(r"^#{1,6}\s.*$", re.MULTILINE)
_FACT = re.compile(r"^(Source|Published):[ \t]*(\S+)[ \t]*$", re.MULTILINE)
_COMMON = frozenset(
    {
        "a",
        "about",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "between",
        "by",
        "did",
        "do",
        "does",
        "find",
        "for",
        "from",
        "had",
        "has",
        "have",
        "how",
        "in",
        "information",
        "into",
        "is",
        "it",
        "its",
        "of",
        "on",
        "or",
        "that",
        "the",
        "their",
        "there",
        "these",
        "this",
        "to",
        "was",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
    }
)

# bm25() is lower for a better match.
_RANKED = "SELECT rowid, bm25(passage, ?, 1.0) AS score FROM passage WHERE passage MATCH ? ORDER BY score, rowid"

log = logging.getLogger(__name__)

Stamp = tuple[str, int, int]
"""A file's path inside the folder, its time of change and its size."""


@dataclass(frozen=True, slots=True)
class Document:
    """One file's text, in passages."""

    name: str
    title: str
    url: str
    published: str | None
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Index:
    """The documents as they were at `stamps`, and a table whose row n is the nth of `rows`."""

    stamps: list[Stamp]
    documents: list[Document]
    rows: list[tuple[int, int]]
    table: sqlite3.Connection


class OfflineSearch:
    """One folder. It is read at the first search, and again when a file in it has changed.

    The filters of a query are left aside: documents have no domains, categories or countries.
    """

    source = "offline documents"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._index: _Index | None = None

    async def search(self, query: SearchQuery) -> list[SearchResult]:
        """Search the documents, in a thread of its own."""
        terms = search_terms(query.words)
        return await asyncio.to_thread(self._search, terms, query.limit, query.include_text)

    def _search(self, terms: list[str], limit: int, whole: bool) -> list[SearchResult]:
        with self._lock:
            index = self._fresh_index()
            ranked = _rank(index, terms)
        results = []
        for number, passages in list(ranked.items())[:limit]:
            document = index.documents[number]
            shown = range(len(document.passages)) if whole else sorted(passages[:PASSAGES_SHOWN])
            text = "\n\n".join(document.passages[passage] for passage in shown)
            results.append(SearchResult(document.title, document.url, text, document.published))
        return results

    def _fresh_index(self) -> _Index:
        """Return the index, built anew if the folder is not as it was."""
        if not self._folder.is_dir():
            raise ToolFailed(f"The offline search has no folder {self._folder}. FOLKMOOT_SEARCH_FOLDER sets it.")
        stamps = sorted(_stamps(self._folder))
        if self._index is None or self._index.stamps != stamps:
            if self._index is not None:
                self._index.table.close()
                self._index = None
            self._index = _build(self._folder, stamps)
            weakref.finalize(self, self._index.table.close)
        if not self._index.documents:
            raise ToolFailed(f"The offline search found no .md or .txt documents in {self._folder}.")
        return self._index


@functools.cache
def offline_search(folder: Path | None = None) -> OfflineSearch:
    """Return the search over a folder, the same one each time; over the shipped documents when None."""
    return OfflineSearch(folder.expanduser() if folder else shipped_documents())


def shipped_documents() -> Path:
    """Return the folder of the documents that come with Folkmoot."""
    return Path(str(files("folkmoot").joinpath("tools", "documents")))


def search_terms(text: str) -> list[str]:
    """Return the words of a query, without the most common ones unless there are no others."""
    words = list(dict.fromkeys(_words(text)))
    return [word for word in words if word not in _COMMON][:MOST_TERMS] or words[:MOST_TERMS]


def read_document(name: str, text: str) -> Document:
    """Read one file's text."""
    facts = {match[1]: match[2] for match in _FACT.finditer(text)}
    text = _HEADING_LINE.sub(r"\n\n\g<0>\n\n", _FACT.sub("", text))
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    title = ""
    passages: list[str] = []
    for paragraph in filter(None, paragraphs):
        heading = _HEADING.fullmatch(paragraph)
        if heading and not title:
            title = heading[1]
        else:
            passages += textwrap.wrap(heading[1] if heading else paragraph, LONGEST_PASSAGE)
    title = title or Path(name).stem.replace("-", " ").replace("_", " ")
    return Document(
        name,
        title,
        facts.get("Source", f"document:{name}"),
        facts.get("Published"),
        tuple(passages or [title]),
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _stamps(folder: Path) -> Iterator[Stamp]:
    """Yield a stamp for each document in the folder and the folders in it, hidden ones left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith(".") or not name.lower().endswith(_ENDINGS):
                continue
            path = Path(place, name)
            try:
                state = path.stat()
            except OSError as error:  # a dangling link, or a file deleted just now
                log.warning("The offline search leaves out %s: %s", path, error)
                continue
            yield path.relative_to(folder).as_posix(), state.st_mtime_ns, state.st_size


def _build(folder: Path, stamps: list[Stamp]) -> _Index:
    """Read the files and index their passages."""
    documents = []
    for name, _, size in stamps:
        if size > LARGEST_FILE:
            log.warning("The offline search leaves out %s: it is larger than %d bytes.", name, LARGEST_FILE)
            continue
        try:
            text = (folder / name).read_text(encoding="utf-8-sig", errors="replace")
        except OSError as error:
            log.warning("The offline search leaves out %s: %s", name, error)
            continue
        if text.strip():
            documents.append(read_document(name, text))

    rows: list[tuple[int, int]] = []
    table = sqlite3.connect(":memory:", check_same_thread=False)
    table.execute("CREATE VIRTUAL TABLE passage USING fts5(title, text, content='', tokenize='porter unicode61')")
    for number, document in enumerate(documents):
        title = " ".join(_words(document.title))
        for passage, text in enumerate(document.passages):
            values = (len(rows), title, " ".join(_words(text)))
            table.execute("INSERT INTO passage (rowid, title, text) VALUES (?, ?, ?)", values)
            rows.append((number, passage))
    return _Index(stamps, documents, rows, table)


def _rank(index: _Index, terms: list[str]) -> dict[int, list[int]]:
    """Return the documents that hold any of the terms, best first, each with its passages, best first."""
    if not terms:
        return {}
    # Quoted, a term is never read as FTS5's query language, whatever search_terms lets through.
    match = " OR ".join(f'"{term}"' for term in terms)
    found: dict[int, list[int]] = {}
    scores: dict[int, float] = {}
    for row, score in index.table.execute(_RANKED, (TITLE_WEIGHT, match)):
        number, passage = index.rows[row]
        passages = found.setdefault(number, [])
        if len(passages) < PASSAGES_SHOWN:
            scores[number] = scores.get(number, 0.0) + score
        passages.append(passage)
    return {number: found[number] for number in sorted(found, key=lambda number: (scores[number], number))}
