"""Deltas: what a history row stores of a version."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.memory.deltas import apply_delta, encode

FEW = st.text(st.sampled_from(["a", "b", "\n", "\r", "\u2028", "e", "\u0301", "é", "👩", "\u200d", '"', "\\", "\x00"]))
texts = FEW | st.text()


@pytest.mark.parametrize(
    ("old", "new", "delta"),
    [
        pytest.param("same", "same", "[]", id="no change"),
        pytest.param("", "a", '[[0,0,"a"]]', id="from nothing"),
        pytest.param("a", "", '[[0,1,""]]', id="to nothing"),
        pytest.param("a\nb", "a\nb\nc", r'[[3,3,"\nc"]]', id="append"),
        pytest.param("one two", "one 2", '[[4,7,"2"]]', id="replace"),
        pytest.param("aaa", "aa", '[[2,3,""]]', id="prefix and suffix overlap"),
        pytest.param("👩\u200d🚀", "👩\u200d🔬", '[[2,3,"🔬"]]', id="counts code points"),
    ],
)
def test_encode(old: str, new: str, delta: str) -> None:
    assert encode(old, new) == delta


@given(texts, texts)
def test_delta_round_trip(old: str, new: str) -> None:
    delta = encode(old, new)
    assert apply_delta(old, delta) == new
    assert delta == encode(old, new)


@given(texts, texts, texts, texts)
def test_delta_of_a_local_edit_holds_the_edit_only(head: str, old: str, new: str, tail: str) -> None:
    splices = json.loads(encode(head + old + tail, head + new + tail))
    assert apply_delta(head + old + tail, json.dumps(splices)) == head + new + tail
    assert sum(len(text) for _, _, text in splices) <= len(new)
    assert sum(end - start for start, end, _ in splices) <= len(old)


@given(texts, texts)
def test_delta_is_minimal_at_both_ends(old: str, new: str) -> None:
    for start, end, text in json.loads(encode(old, new)):
        removed = old[start:end]
        assert not (removed and text) or (removed[0] != text[0] and removed[-1] != text[-1])


def test_apply_takes_several_splices() -> None:
    assert apply_delta("abcdef", '[[0,1,"A"],[3,3,"-"],[5,6,""]]') == "Abc-de"


@pytest.mark.parametrize(
    "delta",
    [
        "not json",
        "{}",
        "[1]",
        "[[0,1]]",
        '[["0",1,"x"]]',
        "[[0,1,2]]",
        '[[0,4,"x"]]',
        '[[2,1,"x"]]',
        '[[-1,1,"x"]]',
        '[[1,2,"x"],[0,1,"y"]]',
    ],
)
def test_apply_refuses_what_is_no_delta_of_this_text(delta: str) -> None:
    with pytest.raises(ValueError):
        apply_delta("abc", delta)
