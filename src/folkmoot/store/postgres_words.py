"""Search by words on PostgreSQL: rows that its index of words has, and how well each of them fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Float, Select, Table, case, cast, func, literal_column, or_

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
    score = _bm25(table.c.search_text, words).label("text_score")
    contained = or_(*(_has(table.c.search_text, word) for word in words))
    return statement.add_columns(score).where(is_indexed, contained).order_by(score.desc())


def _ways(word: str) -> list[str]:
    """Return how PostgreSQL is asked for a word: as it is, and by its pieces."""
    whole = [f"'{word}'"] if is_found_whole(word) else []
    pieces = " & ".join(f"'{piece}'" for piece in pieces_of(word))
    return [*whole, f"({pieces})"] if pieces else whole


def _has(text: ColumnElement[str], word: str) -> ColumnElement[bool]:
    return func.strpos(text, word) > 0


def _bm25(text: ColumnElement[str], words: Sequence[str]) -> ColumnElement[float]:
    """Return how well a text fits by Okapi BM25, over the texts that were found.

    PostgreSQL's own rank knows no rarity, and takes each text apart again, which is most of such a search's time.
    """
    length = cast(func.length(text), Float)
    beside_others = (1 - LENGTH) + LENGTH * length / cast(func.avg(func.length(text)).over(), Float)
    found = cast(func.count().over(), Float)

    def part(word: str) -> ColumnElement[float]:
        often = (length - func.length(func.replace(text, word, ""))) / float(len(word))
        having = cast(func.count().filter(_has(text, word)).over(), Float)
        weight = func.ln(1 + found / having) * often * (1 + SATURATION) / (often + SATURATION * beside_others)
        return case((_has(text, word), weight), else_=0.0)

    total = part(words[0])
    for word in words[1:]:
        total = total + part(word)
    return total
