"""Edits of a block's text: example tables first, then properties that hold for every text."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from folkmoot.memory.edits import (
    KINDS,
    Append,
    Edit,
    Insert,
    Patch,
    Refusal,
    Replace,
    Rethink,
    Revert,
    SetText,
    Undo,
    apply,
    bare_lines,
    describe,
    split_lines,
)

# Every newline style there is, characters that look like one, combining characters, wide and joined ones.
PIECES = [
    "\n",
    "\r\n",
    "\r",
    "\u2028",
    "\u2029",
    "\x85",
    "\x0b",
    "e\u0301",
    "é",
    "\u0323",
    "👩‍🚀",
    "a",
    "b",
    " ",
    "\t",
]


def texts(max_size: int = 12) -> st.SearchStrategy[str]:
    anything = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=max_size)
    return st.lists(st.sampled_from(PIECES), max_size=max_size).map("".join) | anything


def edits() -> st.SearchStrategy[Edit]:
    line = st.integers(min_value=-3, max_value=8)
    patch_line = st.builds("{}{}".format, st.sampled_from(["+", "-", " ", "", "@@ -1 +1 @@\n+"]), texts(3))
    return st.one_of(
        st.builds(Insert, texts(), line),
        st.builds(Append, texts()),
        st.builds(Replace, texts(3), texts()),
        st.builds(Rethink, texts()),
        st.builds(Patch, st.lists(patch_line, max_size=5).map("\n".join)),
        st.builds(SetText, texts()),
    )


def applied(text: str, edit: Edit, limit: int | None = None) -> str:
    result = apply(text, edit, limit)
    assert isinstance(result, str), result.reason
    return result


def refused(text: str, edit: Edit, limit: int | None = None) -> Refusal:
    result = apply(text, edit, limit)
    assert isinstance(result, Refusal), f"applied: {result!r}"
    return result


# --- insert and append


@pytest.mark.parametrize(
    ("text", "line", "after"),
    [
        pytest.param("", -1, "new", id="empty, at the end"),
        pytest.param("", 0, "new", id="empty, before the first line"),
        pytest.param("a\nb", -1, "a\nb\nnew", id="at the end"),
        pytest.param("a\nb", 2, "a\nb\nnew", id="after the last line"),
        pytest.param("a\nb", 0, "new\na\nb", id="before the first line"),
        pytest.param("a\nb", 1, "a\nnew\nb", id="after line 1"),
        pytest.param("a\n", -1, "a\nnew", id="at the end, the last line has its newline"),
        pytest.param("a\r\nb", -1, "a\r\nb\r\nnew", id="CRLF, at the end"),
        pytest.param("a\r\nb\nc", 2, "a\r\nb\nnew\r\nc", id="mixed newlines, the first one counts"),
        pytest.param("a\nb\r\n", 0, "new\na\nb\r\n", id="mixed newlines, LF is first"),
        pytest.param("a\rb", -1, "a\rb\nnew", id="a lone CR ends no line"),
        pytest.param("a\r", -1, "a\r\r\nnew", id="a lone CR stays a character of its line"),
        pytest.param("a\u2028b", 1, "a\u2028b\nnew", id="a line separator ends no line"),
    ],
)
def test_insert_becomes_a_line_of_its_own(text: str, line: int, after: str) -> None:
    assert applied(text, Insert("new", line)) == after


def test_insert_whose_text_ends_in_a_newline_adds_no_empty_line() -> None:
    assert applied("a\nb", Insert("new\n", 1)) == "a\nnew\nb"


@pytest.mark.parametrize("line", [3, 99, -2])
def test_insert_out_of_range_says_how_many_lines_there_are(line: int) -> None:
    refusal = refused("one\ntwo", Insert("new", line))
    assert refusal.code == "bad_edit"
    assert f"insert_line is {line}, but the number of lines is 2" in refusal.reason
    assert refusal.reason.endswith("The text is now:\none\ntwo")


@pytest.mark.parametrize(
    ("text", "after"),
    [("", "new"), ("a", "a\nnew"), ("a\n", "a\n\nnew"), ("a\r\nb", "a\r\nb\nnew")],
)
def test_append_adds_a_newline_and_the_content(text: str, after: str) -> None:
    assert applied(text, Append("new")) == after


@given(texts(), st.lists(texts().filter(bool), min_size=1, max_size=4), st.data())
def test_inserts_in_any_order_keep_every_line(text: str, new: list[str], data: st.DataObject) -> None:
    for order in (new, data.draw(st.permutations(new))):
        result = text
        for string in order:
            line = data.draw(st.integers(-1, len(split_lines(result))))
            result = applied(result, Insert(string, line))
        wanted = Counter(bare_lines(text))
        for string in new:
            wanted.update(bare_lines(string))
            assert "\n" in string or string in result
        assert Counter(bare_lines(result)) == wanted


@given(texts(), st.lists(texts(), max_size=5), st.sampled_from([0, -1]))
def test_inserts_at_one_end_are_all_found_whole(text: str, new: list[str], end: int) -> None:
    result = text
    for string in new:
        result = applied(result, Insert(string, end))
    at = 0
    for string in [text, *new] if end else [*new[::-1], text]:
        at = result.index(string, at) + len(string)


@given(texts(), texts(), st.data())
def test_insert_only_adds(text: str, new: str, data: st.DataObject) -> None:
    lines = split_lines(text)
    line = data.draw(st.integers(0, len(lines)))
    before, after = "".join(lines[:line]), "".join(lines[line:])
    result = applied(text, Insert(new, line))
    assert result.startswith(before)
    assert result.endswith(after)
    middle = result[len(before) : len(result) - len(after)]
    added = {"", "\n", "\r\n"}
    assert middle in {one + new + two for one in added for two in added}


@given(texts(), texts())
def test_append_keeps_both_parts_whole(text: str, content: str) -> None:
    assert applied(text, Append(content)) == (f"{text}\n{content}" if text else content)


# --- replace


@pytest.mark.parametrize(
    ("text", "old", "new", "after"),
    [
        pytest.param("one two three", "two", "2", "one 2 three", id="word"),
        pytest.param("one\ntwo", "one\ntwo", "", "", id="everything"),
        pytest.param("a\r\nb\rc\u2028d", "b", "B", "a\r\nB\rc\u2028d", id="the rest keeps its newlines"),
        pytest.param("ab", "b", r"\1 \g<0>", r"a\1 \g<0>", id="the new string is no pattern"),
        pytest.param("a.b", ".", "-", "a-b", id="the old string is no pattern"),
        pytest.param("1: one", "1: one", "1: two", "1: two", id="numbers that are really there"),
    ],
)
def test_replace_of_the_only_match(text: str, old: str, new: str, after: str) -> None:
    assert applied(text, Replace(old, new)) == after


@pytest.mark.parametrize(
    ("text", "old", "code", "says"),
    [
        pytest.param("one\ntwo", "", "bad_edit", "old_string is empty", id="empty"),
        pytest.param("one\ntwo", "zwei", "no_match", "0 times", id="absent"),
        pytest.param("a\nb a\nc", "a", "many_matches", "2 times in the block, on lines 1, 2", id="twice"),
        pytest.param("aaa", "aa", "many_matches", "2 times in the block, on lines 1, 1", id="overlapping"),
        pytest.param("a\r\nb\ra\r\na", "a", "many_matches", "3 times in the block, on lines 1, 2, 3", id="CRLF"),
        pytest.param("x" * 5000, "x", "many_matches", "at least 1000 times", id="very often"),
        pytest.param("x\n" * 30, "x", "many_matches", "18, 19, 20, …", id="many lines"),
        pytest.param("one\ntwo", "1: one", "no_match", "line-number prefixes", id="prefix of a view"),
        pytest.param("one\ntwo", "one\n2→ two", "no_match", "line-number prefixes", id="prefix with an arrow"),
        pytest.param("one\ntwo", "Line 1: one", "no_match", "line-number prefixes", id="prefix in words"),
        pytest.param("a\r\nb", "a\nb", "no_match", "end in \\r\\n", id="other newlines"),
        pytest.param("é", "e\u0301", "no_match", "0 times", id="another form of the character"),
        pytest.param("", "a", "no_match", "The block is empty.", id="empty block"),
    ],
)
def test_replace_refused(text: str, old: str, code: str, says: str) -> None:
    refusal = refused(text, Replace(old, "new"))
    assert refusal.code == code
    assert says in refusal.reason
    if 0 < len(text) <= 2000:
        assert refusal.reason.endswith(f"The text is now:\n{text}")


def test_replace_hints_at_line_numbers_only_where_there_are_some() -> None:
    assert "line-number" not in refused("at noon", Replace("at 10:30", "x")).reason


def test_refusal_on_a_long_text_shows_both_ends_and_the_closest_line() -> None:
    lines = [f"note {n}: nothing to see" for n in range(400)]
    lines[200] = "Ada prefers tea with milk in the morning"
    refusal = refused("\n".join(lines), Replace("Ada prefers tee with milk", "x"))
    assert "\nnote 0: nothing to see\n" in refusal.reason
    assert "\nnote 399: nothing to see\n" in refusal.reason
    assert "characters left out" in refusal.reason
    assert "The closest lines:\nline 201: Ada prefers tea with milk in the morning" in refusal.reason
    assert len(refusal.reason) < 2500


def test_refusal_on_one_long_line_shows_the_closest_piece() -> None:
    text = "blah " * 1000 + "Ada prefers tea with milk. " + "blub " * 1000
    assert "Ada prefers tea" in refused(text, Replace("Ada prefers tee with milk.", "x")).reason


@given(texts(), texts(4).filter(bool), texts(4).filter(bool), texts())
def test_replace_and_its_inverse_give_the_start(head: str, old: str, new: str, tail: str) -> None:
    text = head + old + tail
    result = apply(text, Replace(old, new))
    if isinstance(result, Refusal):
        assert result.code == "many_matches"
        return
    assert result == head + new + tail
    back = apply(result, Replace(new, old))
    if isinstance(back, Refusal):
        assert back.code == "many_matches"
    else:
        assert back == text


@given(texts(), texts(3).filter(bool))
def test_replace_applies_exactly_when_the_old_string_stands_once(text: str, old: str) -> None:
    places = sum(text.startswith(old, at) for at in range(len(text)))
    result = apply(text, Replace(old, "new"))
    assert isinstance(result, str) == (places == 1)
    if isinstance(result, Refusal):
        assert f"{places} times" in result.reason


# --- patch


@pytest.mark.parametrize(
    ("text", "patch", "after"),
    [
        pytest.param("a\nb\nc", "--- x\n+++ x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n", "a\nB\nc", id="whole"),
        pytest.param("a\nb\nc", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c", "a\nB\nc", id="no file header"),
        pytest.param("a\nb\nc", "@@\n-b\n+B", "a\nB\nc", id="no line numbers"),
        pytest.param("a\nb\nc", "-b\n+B", "a\nB\nc", id="no hunk header"),
        pytest.param("a\nb\nc", "@@ -70,9 +80,1 @@ def f\n-b\n+B", "a\nB\nc", id="wrong line numbers"),
        pytest.param("a\nb\nc", "```diff\n@@\n-b\n+B\n```\n", "a\nB\nc", id="in a code fence"),
        pytest.param("a\nb", "*** Begin Patch\n*** Update Block: x\n@@\n-b\n+B\n*** End Patch", "a\nB", id="codex"),
        pytest.param("a\nb\na\nb", "@@ -3,2 +3,2 @@\n a\n-b\n+B", "a\nb\na\nB", id="the line number decides"),
        pytest.param("a\nb\nc", "@@\n-a\n+A\n b\n@@\n b\n-c\n+C", "A\nb\nC", id="hunks share a context line"),
        pytest.param("a\nb\nc", "@@\n-c\n+C\n@@\n-a\n+A", "A\nb\nC", id="hunks out of order"),
        pytest.param("a\nb\nc", "@@\n-a\n b\n-c\n", "b", id="two removals in one hunk"),
        pytest.param("a\nb", "@@\n b\n+c", "a\nb\nc", id="add at the end"),
        pytest.param("a\nb\n", "@@\n b\n+c", "a\nb\nc\n", id="add at the end, newline kept"),
        pytest.param("a\nb", "@@\n+z\n a", "z\na\nb", id="add at the start"),
        pytest.param("a\nb", "@@\n a\n-b", "a", id="remove the last line"),
        pytest.param("a", "@@\n-a", "", id="remove everything"),
        pytest.param("", "@@ -0,0 +1,2 @@\n+a\n+b\n", "a\nb", id="into an empty block"),
        pytest.param("a\nb", "@@ -1,0 +2,1 @@\n+x", "a\nx\nb", id="no context, place by number"),
        pytest.param("a\r\nb\r\nc", "@@\n a\n-b\n+B\n", "a\r\nB\r\nc", id="CRLF text, LF patch"),
        pytest.param("a\nb", "@@\r\n a\r\n-b\r\n+B\r\n", "a\nB", id="LF text, CRLF patch"),
        pytest.param("a\r\nb\nc\rd", "@@\n-b\n+B", "a\r\nB\r\nc\rd", id="mixed newlines survive"),
        pytest.param("a\n\nb", "@@\n a\n\n-b\n+B\n", "a\n\nB", id="an empty context line without its space"),
        pytest.param("a\nb", "@@\n-a\n+A\n\n@@\n-b\n+B\n\n", "A\nB", id="empty lines between hunks"),
        pytest.param("a\nb", "@@\n a\n-b\n\\ No newline at end of file\n+B", "a\nB", id="no-newline mark"),
        pytest.param("x\n-- a\n", "@@\n x\n--- a\n+++ b\n", "x\n++ b\n", id="lines that look like a header"),
    ],
)
def test_patch(text: str, patch: str, after: str) -> None:
    assert applied(text, Patch(patch)) == after


@pytest.mark.parametrize(
    ("text", "patch", "code", "says"),
    [
        pytest.param("a\nb\na", "@@\n-a\n+A", "many_matches", "hunk 1 of 1 fits 2 places, at lines 1, 3", id="twice"),
        pytest.param("a\nb\na", "@@ -2 +2 @@\n-a\n+A", "many_matches", "fits 2 places", id="twice, not at the line"),
        pytest.param(
            "a\nb\nc",
            "@@\n-a\n+A\n@@\n b\n-d\n+D",
            "no_match",
            "hunk 2 of 2 does not fit: its context and removed lines stand nowhere in the text. "
            "The nearest place is line 2: line 3 is 'c', not 'd'.",
            id="second hunk absent",
        ),
        pytest.param("a\nb", "@@\n b\n-c", "no_match", "line 2, but the text ends after line 2", id="past the end"),
        pytest.param("a ", "@@\n-a\n+A", "no_match", "hunk 1 of 1 does not fit", id="trailing space differs"),
        pytest.param("a\nb", "@@\n-a\n+A\n@@\n-a\n+B", "bad_edit", "two hunks change line 1", id="overlap"),
        pytest.param("a\nb", "@@\n+x", "bad_edit", "no context or removed line", id="nothing to find it by"),
        pytest.param("a\nb", "@@ -9,0 +9 @@\n+x", "bad_edit", "no context or removed line", id="no such line"),
        pytest.param("a\nb", "@@\n a\n b", "bad_edit", "no line that starts with '-' or '+'", id="only context"),
        pytest.param("a\nb", "", "bad_edit", "no line that starts with '-' or '+'", id="empty"),
        pytest.param("a\nb", "Here it is:\n@@\n-a", "bad_edit", "'Here it is:'", id="prose"),
        pytest.param("a", "@@\n-a\n*** Update Block: y\n@@\n-b", "bad_edit", "'*** Update Block: y'", id="two blocks"),
    ],
)
def test_patch_refused_as_a_whole(text: str, patch: str, code: str, says: str) -> None:
    refusal = refused(text, Patch(patch))
    assert refusal.code == code
    assert says in refusal.reason
    assert refusal.reason.endswith(f"The text is now:\n{text}")


@pytest.mark.parametrize(
    ("patch", "code", "says"),
    [
        pytest.param(
            "@@ -1 +1 @@\n-a\n+a\n" * 2001, "bad_edit", "more than 2,000 hunks. Send it in several", id="hunks"
        ),
        pytest.param("@@\n" + " a\n" * 100_001, "bad_edit", "more than 100,000 lines. Send it in several", id="lines"),
        pytest.param(
            "@@\n" + (" a\n" * 99 + " b\n") * 50 + "-c\n",
            "no_match",
            "stand nowhere in the text",
            id="a line that is nowhere",
        ),
        pytest.param(
            "@@\n" + (" a\n" * 99 + " b\n") * 50 + "-b\n",
            "many_matches",
            "fits too many places nearly to look at them all. Say at which line it starts",
            id="places that fit nearly",
        ),
    ],
)
def test_patch_that_would_take_long_is_refused(patch: str, code: str, says: str) -> None:
    refusal = refused(("a\n" * 99 + "b\n") * 1000, Patch(patch))
    assert refusal.code == code
    assert says in refusal.reason


def test_patch_of_many_hunks_in_any_order_changes_each_place() -> None:
    lines = [f"{number}\r\n" for number in range(4000)]
    hunks = [f"@@\n {number}\n-{number + 1}\n+new\n+{number + 1}" for number in range(0, 4000, 4)]
    wanted = [f"new\r\n{line}" if number % 4 == 1 else line for number, line in enumerate(lines)]
    assert applied("".join(lines), Patch("\n".join(reversed(hunks)))) == "".join(wanted)


def test_patch_at_its_line_needs_no_search() -> None:
    text = ("a\n" * 99 + "b\n") * 1000
    patch = "@@ -101 +101 @@\n" + (" a\n" * 99 + " b\n") * 50 + "-a\n+A\n"
    assert applied(text, Patch(patch)) == text[: 51 * 200] + "A\n" + text[51 * 200 + 2 :]


@given(st.lists(texts(4), min_size=1, max_size=8), st.data())
def test_patch_changes_the_lines_it_names_and_no_other(raw: list[str], data: st.DataObject) -> None:
    newline = data.draw(st.sampled_from(["\n", "\r\n"]))
    names = [line.replace("\n", "").rstrip("\r") + f"#{n}" for n, line in enumerate(raw)]
    text = newline.join(names) + data.draw(st.sampled_from(["", newline]))
    chosen = data.draw(st.sets(st.integers(0, len(names) - 1), min_size=1))
    added = data.draw(texts(4)).replace("\n", "").rstrip("\r")
    stated = data.draw(st.sampled_from(["@@", "@@ -7,7 +7,7 @@", "@@ -1 +1 @@"]))
    patch = "\n".join(f"{stated}\n-{names[n]}\n+{added}" for n in sorted(chosen))
    wanted = [added if n in chosen else line for n, line in enumerate(names)]
    end = newline if text.endswith(newline) else ""
    assert applied(text, Patch(patch)) == newline.join(wanted) + end


# --- overwriting, limits, refusals, the JSON form


@given(texts(), texts())
def test_rethink_and_set_text_overwrite(text: str, new: str) -> None:
    assert applied(text, Rethink(new)) == applied(text, SetText(new)) == new


@pytest.mark.parametrize(
    ("text", "edit", "limit", "after"),
    [
        pytest.param("", Rethink("👩‍🚀"), 3, "👩‍🚀", id="three code points are three characters"),
        pytest.param("", Rethink("e\u0301"), 2, "e\u0301", id="a combining character counts"),
        pytest.param("ab", Append("c"), 4, "ab\nc", id="exactly at the limit"),
        pytest.param("abcdef", Rethink("abcde"), 3, "abcde", id="shortened, still over"),
        pytest.param("abcdef", Replace("f", ""), 3, "abcde", id="a piece taken out, still over"),
    ],
)
def test_limit_lets_through(text: str, edit: Edit, limit: int, after: str) -> None:
    assert applied(text, edit, limit) == after


@pytest.mark.parametrize(
    ("text", "edit", "limit", "says"),
    [
        pytest.param("ab", Append("cd"), 4, "5 characters, 1 over the block's limit of 4; the text has 2", id="append"),
        pytest.param("", Rethink("👩‍🚀"), 2, "3 characters, 1 over the block's limit of 2", id="code points"),
        pytest.param("abcdef", Replace("f", "F"), 3, "6 characters, 3 over", id="over before, same length"),
        pytest.param("abcdef", Insert("g"), 3, "8 characters, 5 over", id="over before, longer"),
        pytest.param("", SetText("a"), 0, "1 characters, 1 over the block's limit of 0", id="limit 0"),
    ],
)
def test_limit_refuses(text: str, edit: Edit, limit: int, says: str) -> None:
    refusal = refused(text, edit, limit)
    assert refusal.code == "over_limit"
    assert says in refusal.reason


@given(texts(), edits(), st.integers(0, 30))
def test_limit_decides_by_characters_alone(text: str, edit: Edit, limit: int) -> None:
    free = apply(text, edit)
    assume(isinstance(free, str))
    assert isinstance(free, str)
    result = apply(text, edit, limit)
    if len(free) <= limit or len(free) < len(text):
        assert result == free
    else:
        assert isinstance(result, Refusal)
        assert f"{len(free)} characters, {len(free) - limit} over" in result.reason


@pytest.mark.parametrize("bad", ["\x00", "\ud83d"], ids=["NUL", "half a surrogate pair"])
def test_characters_that_no_store_can_hold_are_refused(bad: str) -> None:
    refusal = refused("a", Append(f"b{bad}"))
    assert refusal.code == "bad_edit"
    assert f"Character 4 of the result would be U+{ord(bad):04X}" in refusal.reason


@given(texts(), edits(), st.none() | st.integers(0, 30))
def test_apply_gives_a_text_or_a_refusal_and_the_same_each_time(text: str, edit: Edit, limit: int | None) -> None:
    result = apply(text, edit, limit)
    assert result == apply(text, edit, limit)
    if isinstance(result, Refusal):
        assert result.reason
        assert result.code in {"no_match", "many_matches", "bad_edit", "over_limit"}
        result.reason.encode()
    else:
        assert type(result) is str


@given(edits())
def test_description_is_json_with_the_kind_of_the_edit(edit: Edit) -> None:
    description = json.loads(json.dumps(describe(edit)))
    assert KINDS[description["kind"]] is type(edit)


@pytest.mark.parametrize(
    ("edit", "description"),
    [
        (Insert("x", 2), {"kind": "insert", "new_string": "x", "line": 2}),
        (Append("x"), {"kind": "append", "content": "x"}),
        (Replace("x", "y"), {"kind": "replace", "old_string": "x", "new_string": "y"}),
        (Rethink("x"), {"kind": "rethink", "new_memory": "x"}),
        (Patch("x"), {"kind": "patch", "patch": "x"}),
        (SetText("x"), {"kind": "set_text", "text": "x"}),
        (Revert(7, "x"), {"kind": "revert", "version": 7}),
        (Undo("run-1", "x"), {"kind": "undo", "run_id": "run-1"}),
    ],
    ids=list(KINDS),
)
def test_description_never_changes_since_history_rows_hold_it(edit: Edit, description: dict[str, object]) -> None:
    assert describe(edit) == description


@given(texts())
def test_lines_joined_are_the_text(text: str) -> None:
    lines = split_lines(text)
    assert "".join(lines) == text
    assert [line.removesuffix("\n") for line in lines if not line.endswith("\r\n")] == [
        bare for bare, line in zip(bare_lines(text), lines, strict=True) if not line.endswith("\r\n")
    ]
    assert len(bare_lines(text)) == len(lines)
