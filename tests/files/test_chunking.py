"""Cutting texts: nothing is lost, no chunk is longer than its bound, and lines are counted as an editor does."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.files.chunking import CHARACTERS_OF_A_TOKEN, SHORTEST, Chunk, Chunker

TEXTS = st.lists(
    st.sampled_from(
        ["# Title\n", "## Part #\n", "```\n", "\n", "word ", "A sentence. ", "x" * 70, "日本。", " ", "\t"]
    ),
    max_size=80,
).map("".join)


def cut(text: str, tokens: int, step: int, *, headings: bool = True) -> tuple[list[Chunk], Chunker]:
    chunker = Chunker(tokens, headings=headings)
    chunks: list[Chunk] = []
    for start in range(0, len(text), step):
        chunks += chunker.feed(text[start : start + step])
    return [*chunks, *chunker.finish()], chunker


@given(TEXTS, st.integers(1, 40), st.integers(1, 300))
def test_the_chunks_of_a_text_are_the_text_however_it_comes(text: str, tokens: int, step: int) -> None:
    chunks, chunker = cut(text, tokens, step)
    assert "".join(chunk.text for chunk in chunks) == text
    assert all(0 < len(chunk.text) <= max(tokens * CHARACTERS_OF_A_TOKEN, SHORTEST) for chunk in chunks)
    assert chunks == cut(text, tokens, len(text) + 1)[0]
    lines = text.split("\n")
    assert chunker.lines == len(lines) - (lines[-1] == "")
    assert chunker.characters == len(text)
    for chunk in chunks:
        assert chunk.first_line == text.count("\n", 0, chunk.start) + 1
        assert chunk.last_line == text.count("\n", 0, chunk.start + len(chunk.text) - 1) + 1


@pytest.mark.parametrize("character", ["日", "한", "😀"])
def test_characters_that_are_tokens_of_their_own_make_shorter_chunks(character: str) -> None:
    chunks, _ = cut(character * 1000, 100, 300)
    assert [len(chunk.text) for chunk in chunks] == [100] * 10
    mixed, _ = cut(f"word{character}" * 200, 100, 300)
    assert [len(chunk.text) for chunk in mixed] == [250] * 4


def test_a_chunk_begins_at_a_heading_and_stands_under_those_above() -> None:
    text = "# House\n\n" + "Words. " * 12 + "\n## Kitchen\n\n" + "Words. " * 12 + "\n# Garden\n\nHerons.\n"
    chunks, _ = cut(text, 30, 10_000)
    assert [(chunk.text.splitlines()[0], chunk.heading) for chunk in chunks] == [
        ("# House", "House"),
        ("## Kitchen", "House › Kitchen"),
        ("# Garden", "Garden"),
    ]


def test_headings_in_code_and_in_plain_text_are_none() -> None:
    code = "# Title\n```\n# a comment\n```\n"
    assert [chunk.heading for chunk in cut(code, 300, 100)[0]] == ["Title"]
    assert [chunk.heading for chunk in cut(code, 300, 100, headings=False)[0]] == [None]


def test_a_text_is_cut_at_paragraphs_lines_sentences_and_words_in_this_order() -> None:
    for text, begins in (
        ("a b. c\n" * 6 + "\n" + "d e. f\n" * 6, "d e"),
        ("a b c d. " * 5 + "\n" + "e f g. " * 6, "e f"),
        ("It is so. " + "word word word word word word word. " * 1 + "Then it is over now and again.", "Then"),
        ("word " * 20, "word"),
    ):
        chunks, _ = cut(text, 16, 1000, headings=False)
        assert chunks[1].text.startswith(begins), chunks


@pytest.mark.parametrize(
    "text",
    ["x" * 2_000_000, "# " * 1_000_000, "#" * 2_000_000, "# a" + " " * 2_000_000, ". " * 1_000_000, "\n" * 2_000_000],
    ids=["one line", "hashes", "hash", "spaces", "full stops", "empty lines"],
)
def test_texts_that_were_made_to_take_long_take_a_moment(text: str) -> None:
    begun = time.process_time()
    chunks, _ = cut(text, 300, 262_144)
    assert "".join(chunk.text for chunk in chunks) == text
    assert time.process_time() - begun < 20, "a fraction of a second, or hours"
