"""Search by words on PostgreSQL: rows that its index of words has, and how well each of them fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Float, FromClause, Select, Table, case, cast, func, literal_column, or_, select

from folkmoot.store.words import is_found_whole, pieces_of

SATURATION = 1.2
"""How soon a word that stands there again counts no more; Okapi BM25's k1, as FTS5 has it."""

LENGTH = 0.75
"""How much a text that is longer than others counts less; its b."""


def matching(statement: Select[Any], table: Table, words: Sequence[str]) -> Select[Any]:
    """Return `statement` limited to rows with one of `words`, the best first, with their `text_score`."""
    configuration: ColumnElement[Any] = literal_column("'simple'::regconfig")
    quoted = " | ".join(way for word in words for way in _ways(word))
    is_indexed = func.to_tsvector(configuration, table.c.search_text).op("@@")(func.to_tsquery(configuration, quoted))
    # Looked at before the text is taken apart, where the plan goes by another index than that of words.
    contained = or_(*(func.strpos(table.c.search_text, word) > 0 for word in words))
    counted = _counted(table, words)
    often = [counted.c[f"often_{number}"] for number in range(len(words))]
    score = _bm25(counted.c.length, often).label("text_score")
    return statement.add_columns(score).where(is_indexed, contained).order_by(score.desc())


def _ways(word: str) -> list[str]:
    """Return how PostgreSQL is asked for a word: as it is, and by its pieces."""
    whole = [f"'{word}'"] if is_found_whole(word) else []
    pieces = " & ".join(f"'{piece}'" for piece in pieces_of(word))
    return [*whole, f"({pieces})"] if pieces else whole


def _counted(table: Table, words: Sequence[str]) -> FromClause:
    """Return a text's length, and how often each word stands in it.

    Both are worked out once for each row: `OFFSET 0` keeps the planner from writing them wherever they are named.
    """
    text = table.c.search_text
    size = func.octet_length(text)  # which is known; that a text has so many characters has to be counted

    def often(word: str) -> ColumnElement[Any]:
        without = func.octet_length(func.replace(text, word, ""))
        return cast(size - without, Float) / cast(func.octet_length(word), Float)

    named = [often(word).label(f"often_{number}") for number, word in enumerate(words)]
    counts = select(cast(func.length(text), Float).label("length"), *named).correlate(table)
    return counts.offset(literal_column("0")).lateral("counted")


def _bm25(length: ColumnElement[float], often: Sequence[ColumnElement[float]]) -> ColumnElement[float]:
    """Return how well a text fits by Okapi BM25, over the texts that were found.

    PostgreSQL's own rank knows no rarity, and takes each text apart again, which is most of such a search's time.
    """
    beside_others = (1 - LENGTH) + LENGTH * length / cast(func.avg(length).over(), Float)
    found = cast(func.count().over(), Float)

    def part(often: ColumnElement[float]) -> ColumnElement[float]:
        having = cast(func.count().filter(often > 0).over(), Float)
        weight = func.ln(1 + found / having) * often * (1 + SATURATION) / (often + SATURATION * beside_others)
        return case((often > 0, weight), else_=0.0)

    total = part(often[0])
    for each in often[1:]:
        total = total + part(each)
    return total
