"""Blame: which version last wrote each line."""

from __future__ import annotations

import random
import time
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.memory import blame as blame_module
from folkmoot.memory.blame import Blame, BlameLine, LineHistory, blame
from folkmoot.memory.deltas import encode
from folkmoot.memory.edits import bare_lines

lines = st.lists(st.sampled_from(["a", "b", "c", "", "\r", "e\u0301", "\u2028"]), max_size=8)
texts = st.builds(lambda newline, parts: newline.join(parts), st.sampled_from(["\n", "\r\n"]), lines) | st.text()
histories = st.lists(texts, min_size=1, max_size=6)


def numbered(*versions: str) -> list[tuple[int, str]]:
    return list(enumerate(versions, 1))


@pytest.mark.parametrize(
    ("versions", "who"),
    [
        pytest.param([""], [], id="empty"),
        pytest.param(["a\nb"], [1, 1], id="one version"),
        pytest.param(["a", "a\nb", "a\nb\nc"], [1, 2, 3], id="appends: the last line keeps its writer"),
        pytest.param(["a\nc", "a\nb\nc"], [1, 2, 1], id="insert"),
        pytest.param(["a\nb\nc", "a\nB\nc"], [1, 2, 1], id="replace"),
        pytest.param(["a\nb\nc", "a\nc"], [1, 1], id="remove"),
        pytest.param(["a\nb", "x\ny", "a\nb"], [3, 3], id="revert"),
        pytest.param(["a\nb\nc\nd\ne", "a\nB\nc\nD\ne"], [1, 2, 1, 2, 1], id="two places"),
        pytest.param(["a\nb", "a\r\nb\r\n"], [1, 1], id="line endings only"),
        pytest.param(["a\rb", "a\rB"], [2], id="a lone CR ends no line"),
        pytest.param(["é", "e\u0301"], [2], id="another form of the character"),
        pytest.param(["a\na", "a\na\na"], [1, 1, 2], id="a line repeated"),
    ],
)
def test_blame(versions: list[str], who: list[int]) -> None:
    assert [line.version for line in blame(numbered(*versions))] == who


def test_blame_of_no_versions_is_empty() -> None:
    assert blame([]) == []


@given(histories)
def test_lines_join_to_the_last_text(versions: list[str]) -> None:
    result = blame(numbered(*versions))
    assert "".join(line.text for line in result) == versions[-1]
    assert result == blame(numbered(*versions))


@given(histories)
def test_each_line_stands_in_every_version_since_the_one_blamed(versions: list[str]) -> None:
    result = blame(numbered(*versions))
    for line, bare in zip(result, bare_lines(versions[-1]), strict=True):
        for text in versions[line.version - 1 :]:
            assert bare in bare_lines(text)


@given(histories)
def test_a_version_that_changes_nothing_is_not_blamed(versions: list[str]) -> None:
    assert blame(numbered(*versions, versions[-1])) == blame(numbered(*versions))


@given(histories, texts)
def test_advancing_a_kept_state_gives_the_same(versions: list[str], last: str) -> None:
    state = Blame()
    for version, text in numbered(*versions):
        state = state.advance(version, text)
    kept = Blame(state.text, state.versions)
    assert kept.advance(len(versions) + 1, last).lines() == blame(numbered(*versions, last))


def replayed(versions: list[str]) -> LineHistory:
    """The same history told by its changes."""
    history = LineHistory()
    history.set_text(1, versions[0])
    for number, (before, after) in enumerate(pairwise(versions), 2):
        history.change(number, encode(before, after))
    return history


@given(histories)
@pytest.mark.parametrize("chunk", [1, 3, 512])
def test_changes_tell_the_same_as_whole_texts(chunk: int, versions: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blame_module, "_CHUNK", chunk)
        history = replayed(versions)
        lines = blame(numbered(*versions))
        assert history.text() == versions[-1]
        assert (history.count(), history.lines(0, len(lines))) == (len(lines), lines)
        assert history.lines(2, 3) == lines[2:5]


def test_a_change_of_an_ending_alone_does_not_hide_equal_lines_below() -> None:
    versions = ["a\r\nb\nb", "a\nb\nb\nb"]
    assert replayed(versions).lines(0, 9) == blame(numbered(*versions))


def test_a_change_of_a_long_text_looks_at_few_of_its_lines() -> None:
    text = "".join(f"line {number}\n" for number in range(50_000))
    history = LineHistory()
    history.set_text(1, text)
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blame_module, "bare_lines", lambda text: seen.append(len(text)) or bare_lines(text))
        history.change(2, encode(text, text[:300_000] + "new\n" + text[300_000:]))
    assert sum(seen) < 100
    assert history.count() == 50_001


STEPS = st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=6)


@given(st.lists(STEPS, max_size=8))
def test_blame_of_unique_lines_is_exact(batches: list[list[tuple[int, bool]]]) -> None:
    """Lines that never repeat or move leave one right answer: the version that brought each in."""
    model: list[tuple[int, str]] = []
    versions, fresh = list[str](), count()
    for version, steps in enumerate(batches, 1):
        for where, grow in steps:
            if grow or not model:
                model.insert(where % (len(model) + 1), (version, f"line {next(fresh)}"))
            else:
                del model[where % len(model)]
        versions.append("\n".join(text for _, text in model))
    assert [line.version for line in blame(numbered(*versions))] == [version for version, _ in model]


def test_large_move_keeps_the_writers_of_the_longer_part() -> None:
    short, long = [f"short {n}" for n in range(400)], [f"long {n}" for n in range(600)]
    versions = numbered("\n".join(short), "\n".join(short + long), "\n".join(long + short))
    assert [line.version for line in blame(versions)] == [2] * 600 + [3] * 400


def test_large_rewrite_with_repeated_lines_keeps_writers() -> None:
    old = [part for n in range(500) for part in (f"- item {n}", "")]
    new = [part for n in range(500) for part in (f"- item {n}" if n % 5 else f"- other {n}", "")]
    wanted = [part for n in range(500) for part in (1 if n % 5 else 2, 1)]
    assert [line.version for line in blame(numbered("\n".join(old) + "\n", "\n".join(new) + "\n"))] == wanted


def test_lines_that_stand_often_are_found_again() -> None:
    repeated = "p\nq\n" * 100
    result = blame(numbered(f"a\n{repeated}b", f"c\n{repeated}d"))
    assert [line.version for line in result] == [2] + [1] * 200 + [2]


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_large_rewrite_keeps_the_writers_of_lines_that_stay(newline: str) -> None:
    old = [f"line {n}" for n in range(5000)]
    new = [line if n % 3 else f"new {n}" for n, line in enumerate(old)]
    new[1:1] = ["brand new"] * 10
    wanted = [2] + [2] * 10 + [1 if n % 3 else 2 for n in range(1, 5000)]
    assert [line.version for line in blame(numbered(newline.join(old), newline.join(new)))] == wanted


def test_ten_thousand_small_edits_are_fast() -> None:
    randomness, text = random.Random(7), [f"line {n}" for n in range(100)]
    versions = []
    for version in range(1, 10_001):
        where = randomness.randrange(100)
        text[where] = f"line {where} by {version}"
        versions.append((version, "\n".join(text)))
    started = time.process_time()
    result = blame(versions)
    assert time.process_time() - started < 5  # seconds of the processor; 0.2 are usual
    assert all(line.version == int(line.text.split()[-1]) for line in result)


@pytest.mark.parametrize(
    "versions",
    [
        pytest.param(["a\nb\n" * 20_000, "c\nb\n" * 20_000], id="nothing unique"),
        pytest.param(["a\nb\n" * 150, "a\nc\n" * 150], id="difflib's worst"),
        pytest.param(
            [
                "".join(f"x{n}\ny{n}\n" for n in range(5000)),
                "".join(f"x{n + 1}\nz{n}\nx{n}\n" for n in range(5000)),
            ],
            id="lines unique only in the rest",
        ),
    ],
)
def test_repetitive_texts_stay_fast(versions: list[str]) -> None:
    started = time.process_time()
    result = blame(numbered(*versions))
    assert time.process_time() - started < 5  # seconds of the processor; 0.1 are usual
    assert "".join(line.text for line in result) == versions[-1]


def test_blame_line_is_a_value() -> None:
    assert blame(numbered("a")) == [BlameLine(1, "a")]
