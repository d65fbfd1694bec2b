r"""Edits of a block's text: an edit is a pure function `(text, edit) -> text or refusal`.

    Insert    memory_insert            additive: its own line or lines, at a line or at the end
    Append    core_memory_append       additive: `text + "\n" + content`
    Replace   memory_replace           validates: `old_string` stands exactly once
    Patch     memory_apply_patch       validates: every hunk stands at one place; all hunks or none
    Rethink   memory_rethink           overwrites
    SetText   PATCH /v1/blocks/{id}    overwrites

Lines end in `\n` or `\r\n` and in nothing else; the last need not. `"a\nb"` and `"a\nb\n"` have two lines,
`""` has none. Text that an edit does not name comes out as it went in, character for character.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True, slots=True)
class Insert:
    """Put `new_string` after line `line`: 0 is before the first line, -1 is at the end."""

    new_string: str
    line: int = -1


@dataclass(frozen=True, slots=True)
class Append:
    r"""Put `content` at the end, after a `\n` unless the text is empty."""

    content: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Put `new_string` in the place of the only `old_string`."""

    old_string: str
    new_string: str


@dataclass(frozen=True, slots=True)
class Rethink:
    """Overwrite the text, as an agent does."""

    new_memory: str


@dataclass(frozen=True, slots=True)
class Patch:
    """Apply the hunks of a unified diff; the text decides where they go, not their line numbers."""

    patch: str


@dataclass(frozen=True, slots=True)
class SetText:
    """Overwrite the text, as the API's owner does."""

    text: str


@dataclass(frozen=True, slots=True)
class Revert:
    """Make the text of an earlier version the text again."""

    version: int
    text: str


@dataclass(frozen=True, slots=True)
class Undo:
    """Make the text what it would be without what a run wrote."""

    run_id: str
    text: str


Edit: TypeAlias = Insert | Append | Replace | Rethink | Patch | SetText | Revert | Undo

RefusalCode: TypeAlias = Literal["no_match", "many_matches", "bad_edit", "over_limit"]
"""The first two depend on the text as it is now; a `bad_edit` is wrong in itself or names no line of it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an edit does not apply. `reason` is for the model: what is wrong and what the text is now."""

    reason: str
    code: RefusalCode


KINDS: dict[str, type[Edit]] = {
    "insert": Insert,
    "append": Append,
    "replace": Replace,
    "rethink": Rethink,
    "patch": Patch,
    "set_text": SetText,
    "revert": Revert,
    "undo": Undo,
}
"""The `kind` of each edit in its JSON form. History rows hold these names: never rename one."""

_SHOWN_WHOLE = 2_000
_SHOWN_EACH_END = 700
_COUNTED_MATCHES = 1_000
_LOOKED_THROUGH = 100_000
"""Characters of a text whose lines are all compared with what an edit looked for: some tens of milliseconds."""
_WORDS_LOOKED_FOR = 4
_LINES_WITH_WORD = 50
_LONGEST_LOOKED_AT = 2_000
_NEAREST_AMONG = 5_000
"""Lines of a text in which the place that a hunk fits best is looked for."""
_MOST_LINES, _MOST_HUNKS = 100_000, 2_000
"""Lines and hunks of a patch."""
_MOST_COMPARED = 2_000_000
"""Lines that a patch's hunks may be compared with until all have their places, which takes a tenth of a second."""
_WORD = re.compile(r"\w{3,}")
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
_LINE_NUMBER = re.compile(r"^[ \t]*(?:[Ll]ine )?\d+(?:: |[ \t]*[→|\t])", re.MULTILINE)
_PATCH_HEADER = re.compile(r"(?:(?:diff |index |\*\*\* |```).*\n|[ \t\r]*\n|--- .*\n\+\+\+ .*\n)*")
_HUNK_HEADER = re.compile(r"@@(?: -(?P<line>\d+)(?P<none>,0\b)?)?")


def apply(text: str, edit: Edit, limit: int | None = None) -> str | Refusal:
    """Return the text after `edit`, or why it does not apply.

    `limit` is how many characters (code points) the result may have, None is no limit. A result over the
    limit passes when it is shorter than a text that was over the limit already.
    """
    result = _apply(text, edit)
    if isinstance(result, Refusal):
        return result
    if bad := _NOT_STORABLE.search(result):
        reason = f"Character {bad.start() + 1} of the result would be U+{ord(bad[0]):04X}"
        return Refusal(f"{reason}, which cannot be stored. Nothing was changed. Leave it out.", "bad_edit")
    over = 0 if limit is None else len(result) - limit
    if over > 0 and len(result) >= len(text):
        reason = f"The result would have {len(result)} characters, {over} over the block's limit of {limit}"
        advice = "Nothing was changed. Write less, or shorten the text first."
        return Refusal(f"{reason}; the text has {len(text)} now. {advice}", "over_limit")
    return result


def describe(edit: Edit) -> dict[str, JSON]:
    """Return the JSON form: `Append("x")` gives `{"kind": "append", "content": "x"}`."""
    kind = next(kind for kind, of in KINDS.items() if of is type(edit))
    described = {"kind": kind, **asdict(edit)}
    if isinstance(edit, Revert | Undo):
        del described["text"]  # that of the version that it names, or of its own
    return described


def split_lines(text: str) -> list[str]:
    """Return the lines with their endings, so that joining them gives the text again."""
    *ended, last = text.split("\n")
    return [line + "\n" for line in ended] + ([last] if last else [])


def bare_lines(text: str) -> list[str]:
    """Return the same lines as `split_lines`, without their endings."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def _apply(text: str, edit: Edit) -> str | Refusal:
    match edit:
        case Insert():
            return _insert(text, edit)
        case Append(content):
            return f"{text}\n{content}" if text else content
        case Replace():
            return _replace(text, edit)
        case Rethink(new_memory):
            return new_memory
        case Patch(patch):
            return _patch(text, patch)
        case SetText(text=whole) | Revert(text=whole) | Undo(text=whole):
            return whole
        case _:
            assert_never(edit)


def _insert(text: str, edit: Insert) -> str | Refusal:
    lines = split_lines(text)
    line = len(lines) if edit.line == -1 else edit.line
    if not 0 <= line <= len(lines):
        reason = f"insert_line is {edit.line}, but the number of lines is {len(lines)}: use 0 to insert"
        reason += f" before the first line, 1 to {len(lines)} to insert after that line, or -1 for the end."
        return Refusal(f"{reason} Nothing was changed. {_text_now(text)}", "bad_edit")
    before, after = "".join(lines[:line]), "".join(lines[line:])
    if before and not before.endswith("\n"):
        before += _newline(text, before)
    new = edit.new_string
    if after and not new.endswith("\n"):
        new += _newline(text, new)
    return before + new + after


def _newline(text: str, before: str) -> str:
    r"""Return the line ending to write after `before`: the text's own, and none that swallows a lone `\r`."""
    first = text.find("\n")
    return "\r\n" if before.endswith("\r") or (first > 0 and text[first - 1] == "\r") else "\n"


def _replace(text: str, edit: Replace) -> str | Refusal:
    old = edit.old_string
    if not old:
        reason = "old_string is empty; it must be a piece of the text. To add text, use memory_insert."
        return Refusal(f"No replacement was performed: {reason} {_text_now(text)}", "bad_edit")
    places = _occurrences(text, old)
    if len(places) == 1:
        return text[: places[0]] + edit.new_string + text[places[0] + len(old) :]
    if places:
        often = f"{'at least ' * (len(places) == _COUNTED_MATCHES)}{len(places)} times"
        lines = _listed(text.count("\n", 0, place) + 1 for place in places[:21])
        reason = f"old_string stands {often} in the block, on lines {lines}. Make it longer and unique."
        return Refusal(f"No replacement was performed: {reason} {_text_now(text, old)}", "many_matches")
    reason = "old_string did not appear verbatim in the block (0 times)." + _hint(text, old)
    return Refusal(f"No replacement was performed: {reason} {_text_now(text, old)}", "no_match")


def _occurrences(text: str, old: str) -> list[int]:
    """Return where `old` stands, overlaps included; counting stops at `_COUNTED_MATCHES`."""
    places: list[int] = []
    at = text.find(old)
    while at >= 0 and len(places) < _COUNTED_MATCHES:
        places.append(at)
        at = text.find(old, at + 1)
    return places


def _listed(numbers: Iterable[int]) -> str:
    """Return `3, 3, 8`, shortened after the twentieth."""
    first = [str(number) for number in numbers][:21]
    return ", ".join(first if len(first) < 21 else [*first[:20], "…"])


def _hint(text: str, old: str) -> str:
    if _LINE_NUMBER.search(old):
        return " It looks as if it has line-number prefixes (like `1: `) copied from a view; leave them out."
    if _occurrences(text, old.replace("\r\n", "\n").replace("\n", "\r\n")):
        return " The text's lines end in \\r\\n there; write \\r\\n, or replace one line at a time."
    return ""


@dataclass(frozen=True, slots=True)
class _Hunk:
    """One hunk: the line (0-based) it says it starts at, and its lines as (mark, text) pairs."""

    line: int | None
    body: list[tuple[str, str]]

    @property
    def old(self) -> list[str]:
        return [line for mark, line in self.body if mark != "+"]


@dataclass(frozen=True, slots=True)
class _Splice:
    """Lines `start` to `end` of the text make way for `added`."""

    start: int
    end: int
    added: list[str]


def _patch(text: str, patch: str) -> str | Refusal:
    hunks = _parse(patch)
    if isinstance(hunks, str):
        return Refusal(f"The patch was not applied: {hunks} {_text_now(text)}", "bad_edit")
    lines = _Lines(bare_lines(text))
    splices: list[_Splice] = []
    for number, hunk in enumerate(hunks, 1):
        at = _locate(text, lines, hunk)
        if isinstance(at, Refusal):
            reason = f"hunk {number} of {len(hunks)} {at.reason}"
            return Refusal(f"The patch was not applied: {reason}", at.code)
        splices += _splices(hunk, at)
    splices.sort(key=lambda splice: (splice.start, splice.end))
    for one, two in pairwise(splices):
        if two.start < one.end:
            reason = f"two hunks change line {two.start + 1}."
            return Refusal(f"The patch was not applied: {reason} {_text_now(text)}", "bad_edit")
    return _spliced(text, splices)


def _parse(patch: str) -> list[_Hunk] | str:
    """Return the hunks, or a sentence that says what is wrong with the patch."""
    if patch.count("\n") > _MOST_LINES:
        return f"it has more than {_MOST_LINES:,} lines. Send it in several, or the whole text."
    header = _PATCH_HEADER.match(patch)
    hunks: list[_Hunk] = []
    for line in patch[header.end() if header else 0 :].split("\n"):
        head = _HUNK_HEADER.match(line)
        if head or not hunks:
            stated = int(head["line"]) - (head["none"] is None) if head and head["line"] else None
            hunks.append(_Hunk(stated, []))
            if len(hunks) > _MOST_HUNKS:
                return f"it has more than {_MOST_HUNKS:,} hunks. Send it in several."
        if line[:1] in ("", "\r", " ", "+", "-"):  # models leave out the space before an empty line
            hunks[-1].body.append((line[:1].strip("\r"), line[1:].removesuffix("\r")))
        elif not head and not line.startswith(("\\ No newline", "```", "*** End")):
            return f"this line starts with none of ' ', '-', '+' and '@@': {line[:200]!r}."
    for number, hunk in enumerate(hunks, 1):
        while hunk.body and hunk.body[-1] == ("", ""):
            hunk.body.pop()
        if not any(mark in ("+", "-") for mark, _ in hunk.body):
            return f"hunk {number} has no line that starts with '-' or '+'."
    return hunks


class _Lines:
    """The lines of a text, in which hunks are placed."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.all = lines
        self._left = _MOST_COMPARED
        self._stands: dict[str, list[int]] = {}
        for number, line in enumerate(lines):
            self._stands.setdefault(line, []).append(number)

    def fit(self, old: Sequence[str], at: int) -> bool:
        """Tell whether the lines `old` stand at a line."""
        return at >= 0 and self.all[at : at + len(old)] == old

    def places(self, old: Sequence[str]) -> list[int] | None:
        """Return where the lines `old` stand, found by the rarest of them; None when that is too much to look for."""
        rarest = min(range(len(old)), key=lambda place: len(self._stands.get(old[place], ())))
        found: list[int] = []
        for number in self._stands.get(old[rarest], ()):
            self._left -= len(old)
            if self._left < 0:
                return None
            if self.fit(old, number - rarest):
                found.append(number - rarest)
        return found


def _locate(text: str, lines: _Lines, hunk: _Hunk) -> int | Refusal:
    """Return the line (0-based) that the hunk's context and removed lines start at."""
    old = hunk.old
    if not old:
        if not lines.all:
            return 0
        if hunk.line is not None and 0 <= hunk.line <= len(lines.all):
            return hunk.line
        return Refusal(f"has no context or removed line to find its place by. {_text_now(text)}", "bad_edit")
    if hunk.line is not None and lines.fit(old, hunk.line):
        return hunk.line
    places = lines.places(old)
    if places is None:
        reason = "fits too many places nearly to look at them all. Say at which line it starts, as in @@ -12 +12 @@, or"
        return Refusal(f"{reason} send fewer hunks at once. {_text_now(text, old[0])}", "many_matches")
    if len(places) == 1:
        return places[0]
    if places:
        where = _listed(place + 1 for place in places[:21])
        reason = f"fits {len(places)} places, at lines {where}. Give it more context lines."
        return Refusal(f"{reason} {_text_now(text, old[0])}", "many_matches")
    reason = f"does not fit: its context and removed lines stand nowhere in the text. {_nearest(lines.all, old)}"
    return Refusal(f"{reason}{_text_now(text, max(old, key=len))}", "no_match")


def _nearest(lines: Sequence[str], old: Sequence[str]) -> str:
    """Say where most of the hunk's (first fifty) lines stand, and which line there differs first."""
    old = old[:50]
    if len(lines) > _NEAREST_AMONG:
        return ""

    def same(at: int) -> int:
        return sum(a == b for a, b in zip(lines[at : at + len(old)], old, strict=False))

    best = max(range(len(lines)), key=same, default=0)
    if not lines or not same(best):
        return ""
    there = lines[best : best + len(old)]
    differs = next((n for n, line in enumerate(there) if line != old[n]), len(there))
    if differs == len(there):
        return f"The nearest place is line {best + 1}, but the text ends after line {len(lines)}. "
    found, wanted = there[differs][:200], old[differs][:200]
    return f"The nearest place is line {best + 1}: line {best + differs + 1} is {found!r}, not {wanted!r}. "


def _splices(hunk: _Hunk, at: int) -> Iterator[_Splice]:
    """Yield one splice for each run of removed and added lines, so that hunks may share context lines."""
    added: list[str] = []
    start = at
    for mark, line in [*hunk.body, ("", "")]:
        if mark == "+":
            added.append(line)
        elif mark == "-":
            at += 1
        else:
            if added or at > start:
                yield _Splice(start, at, added)
            at += 1
            start, added = at, []


def _spliced(text: str, splices: Iterable[_Splice]) -> str:
    """Return the text with the splices made; it ends in a line ending exactly when it did before."""
    lines, ended = split_lines(text), text.endswith("\n")
    if lines and not ended:
        lines[-1] += _newline(text, lines[-1])
    first = text.find("\n")
    head = text[: first + 1]  # what the lines' endings are told by, however long the text
    parts: list[str] = []
    at = 0
    for splice in splices:
        parts += lines[at : splice.start]
        parts += [line + _newline(head, line) for line in splice.added]
        at = splice.end
    result = "".join([*parts, *lines[at:]])
    return result if ended else result.removesuffix("\n").removesuffix("\r")


def _text_now(text: str, wanted: str = "") -> str:
    """Say what the text is: all of it, or both ends of a long one and the lines most like `wanted`."""
    if not text:
        return "The block is empty."
    if len(text) <= _SHOWN_WHOLE:
        return f"The text is now:\n{text}"
    head, tail = text[:_SHOWN_EACH_END], text[-_SHOWN_EACH_END:]
    left_out = f"[… {len(text) - 2 * _SHOWN_EACH_END} characters left out …]"
    shown = f"The text now has {len(text)} characters:\n{head}\n{left_out}\n{tail}"
    closest = "\n".join(f"line {number}: {piece}" for number, piece in _closest(text, wanted))
    return f"{shown}\nThe closest lines:\n{closest}" if closest else shown


def _closest(text: str, wanted: str) -> list[tuple[int, str]]:
    """Return up to three pieces of lines, with their line's number, that share trigrams with `wanted`."""
    longest = max(bare_lines(wanted), key=len, default="")[:200]
    sought = _trigrams(longest)
    scored: list[tuple[float, int, str]] = []
    short = len(text) <= _LOOKED_THROUGH
    for number, line in enumerate(bare_lines(text), 1) if short else _lines_with_words(text, longest):
        for start in range(0, len(line), 200):
            piece = line[start : start + 240]
            grams = _trigrams(piece)
            if shared := len(sought & grams):
                scored.append((2 * shared / (len(sought) + len(grams)), number, piece))
    scored.sort(key=lambda entry: (-entry[0], entry[1]))
    return [(number, piece) for score, number, piece in scored[:3] if score >= 0.3]


def _lines_with_words(text: str, wanted: str) -> Iterator[tuple[int, str]]:
    """Yield lines of a long text, with their numbers, that have one of the longest words of `wanted`: some of each."""
    words = sorted(dict.fromkeys(_WORD.findall(wanted)), key=len, reverse=True)[:_WORDS_LOOKED_FOR]
    starts: set[int] = set()
    for word in words:
        at = text.find(word)
        for _ in range(_LINES_WITH_WORD):
            if at < 0:
                break
            starts.add(text.rfind("\n", 0, at) + 1)
            end = text.find("\n", at)
            at = text.find(word, end) if end >= 0 else -1
    number, last = 1, 0
    for start in sorted(starts):
        number, last = number + text.count("\n", last, start), start
        end = text.find("\n", start)
        line = text[start : end if end >= 0 else None][:_LONGEST_LOOKED_AT]
        yield number, line.removesuffix("\r")


def _trigrams(text: str) -> set[str]:
    return {text[n : n + 3] for n in range(len(text) - 2)}
