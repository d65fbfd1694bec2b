"""Questions for names are answered, whatever comes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.sandbox import names

HEAD = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0)
QUESTION = HEAD + b"\x03API\x04test\x00" + struct.pack("!HH", 1, 1)


def known(name: str) -> str | None:
    return "127.64.0.1" if name == "api.test" else None


def test_a_name_is_answered_with_its_address() -> None:
    answer = names.answer(QUESTION, known)
    assert answer is not None
    assert struct.unpack("!HHHHHH", answer[:12]) == (7, 0x8180, 1, 1, 0, 0)
    assert answer[12 : len(QUESTION)] == QUESTION[12:]
    assert answer[len(QUESTION) :] == bytes.fromhex("c00c 0001 0001 0000003c 0004 7f400001")


def test_a_name_without_an_address_of_that_kind_has_no_answer_and_an_unknown_one_is_unknown() -> None:
    six = names.answer(QUESTION[:-4] + struct.pack("!HH", 28, 1), known)
    unknown = names.answer(QUESTION.replace(b"API", b"ABI"), known)
    assert six is not None and unknown is not None
    assert struct.unpack("!HHHHHH", six[:12]) == (7, 0x8180, 1, 0, 0, 0)
    assert struct.unpack("!HHHHHH", unknown[:12]) == (7, 0x8183, 1, 0, 0, 0)


@pytest.mark.parametrize("end", range(len(QUESTION)))
def test_half_a_question_is_none(end: int) -> None:
    assert names.answer(QUESTION[:end], known) is None


@given(st.binary(max_size=600), st.booleans())
def test_whatever_comes_is_answered_or_not(data: bytes, headed: bool) -> None:
    question = HEAD + data if headed else data
    answer = names.answer(question, lambda name: "127.64.0.1" if len(name) % 2 else None)
    assert answer is None or (answer[:2] == question[:2] and len(answer) <= len(question) + 16)
