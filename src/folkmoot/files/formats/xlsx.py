"""Text of Excel's workbooks: each sheet as rows of what its cells show, with its comments and boxes of text.

A formula whose result is not stored, as in workbooks that programs wrote, is shown itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from xml.etree import ElementTree

from folkmoot.files.formats.parts import Element, Parts, Unreadable, all_of, first, local, row
from folkmoot.files.formats.pptx import attribute_of_relation

Shown: TypeAlias = Literal["number", "percent", "moment", "duration"]

MOST_EMPTY = 50
"""Empty cells between two, at most, that a row keeps."""

ROWS_AT_ONCE = 1000

_BUILT_IN: dict[int, Shown] = {
    9: "percent",
    10: "percent",
    **dict.fromkeys((*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)), "moment"),
    46: "duration",
}
"""How numbers are shown by the formats that every workbook has."""

_NOT_CODE = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!h+\]|m+\]|s+\])[^\[\]]*\]', re.I)
_LETTERS = re.compile("[A-Z]+")


def read(path: str) -> Iterator[str]:
    """Yield a workbook's text, sheet by sheet."""
    parts = Parts(path)
    main = parts.main()
    if main.endswith(".bin"):
        raise Unreadable("it is a binary workbook (XLSB); save it as XLSX")
    book, related = parts.root(main), parts.related(main)
    properties = first(book, "workbookPr")
    since_1904 = properties is not None and properties.get("date1904") in ("1", "true")
    cells = _Cells(_shared_texts(parts, main), _formats(parts, main), since_1904=since_1904)
    for sheet in all_of(book, "sheet"):
        kind, name = related.get(attribute_of_relation(sheet), ("", ""))
        if kind == "worksheet":
            yield f"## {sheet.get('name')}"
            yield from _rows(parts, name, cells)
            yield from _beside(parts, name)


def _rows(parts: Parts, name: str, cells: _Cells) -> Iterator[str]:
    """Yield a sheet's rows that are not empty, many at once; no more of them is in memory."""
    lines: list[str] = []
    with parts.archive.open(name) as part:
        for event, element in ElementTree.iterparse(part, ("start", "end")):  # noqa: S314 - behind walls
            if event == "start" and local(element) == "sheetData":
                data = element
            elif event == "end" and local(element) == "row":
                if line := row(cells.of_row(element)):
                    lines.append(line)
                data.clear()
            if len(lines) == ROWS_AT_ONCE:
                yield "\n".join(lines)
                lines.clear()
    yield "\n".join(lines)


def _beside(parts: Parts, name: str) -> Iterator[str]:
    """Yield what stands on a sheet and in none of its cells."""
    for comments in parts.of_type(name, "comments"):
        for comment in all_of(parts.root(comments), "comment"):
            yield f"Comment on {comment.get('ref')}: {_joined(comment)}"
    for drawing in parts.of_type(name, "drawing"):
        for box in all_of(parts.root(drawing), "txBody"):
            yield "\n".join(filter(None, map(_joined, all_of(box, "p"))))


class _Cells:
    """How cells are read, by the texts and formats of their workbook."""

    def __init__(self, texts: list[str], formats: list[Shown], *, since_1904: bool) -> None:
        self._texts, self._formats = texts, formats
        self._epoch = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 30)  # noqa: DTZ001 - without a zone

    def of_row(self, element: Element) -> Iterator[str]:
        """Yield what a row's cells show, those that are left out too."""
        place = 0
        for cell in element:
            column = _column(cell.get("r", "")) or place + 1
            yield from [""] * min(column - place - 1, MOST_EMPTY)
            place = column
            yield self._shown(cell)

    def _shown(self, cell: Element) -> str:
        kind, value = cell.get("t", "n"), None
        for child in cell:
            if local(child) == "v":
                value = child.text
        if kind == "inlineStr":
            return _joined(cell)
        if value is None:
            formula = first(cell, "f")
            return f"={formula.text}" if formula is not None and formula.text else ""
        if kind == "s":
            return self._texts[int(value)]
        if kind == "b":
            return "TRUE" if value == "1" else "FALSE"
        return self._number(value, int(cell.get("s", 0))) if kind == "n" else value

    def _number(self, value: str, style: int) -> str:
        try:
            number = float(value)
            shown = self._formats[style] if style < len(self._formats) else "number"
            if shown == "percent":
                return f"{number * 100:.12g}%"
            if shown == "moment":
                return self._moment(number)
            if shown == "duration":
                return str(timedelta(seconds=round(number * 86_400)))
        except (ValueError, OverflowError):  # no number, or no day that there ever is
            return value
        return f"{number:.15g}"

    def _moment(self, days: float) -> str:
        moment = self._epoch + timedelta(seconds=round(days * 86_400))
        if 0 <= days < 1:
            return f"{moment:%H:%M:%S}"
        return moment.date().isoformat() if days == int(days) else str(moment)


def _column(reference: str) -> int:
    """Return the number of a cell's column, from 1; 0 when it does not say.

    >>> [_column(reference) for reference in ("A1", "Z9", "AA10", "")]
    [1, 26, 27, 0]
    """
    letters, column = _LETTERS.match(reference), 0
    for letter in letters[0] if letters else "":
        column = column * 26 + ord(letter) - 64
    return column


def _shared_texts(parts: Parts, main: str) -> list[str]:
    texts: list[str] = []
    for name in parts.of_type(main, "sharedStrings"):
        with parts.archive.open(name) as part:
            for _, element in ElementTree.iterparse(part):  # noqa: S314 - behind walls
                if local(element) == "si":
                    texts.append(_joined(element))
                    element.clear()
    return texts


def _joined(element: Element) -> str:
    """Return the text in an element, without how it is spoken."""
    pieces = []
    for child in element:
        if local(child) == "t":
            pieces.append(child.text or "")
        elif local(child) != "rPh":
            pieces.append(_joined(child))
    return "".join(pieces)


def _formats(parts: Parts, main: str) -> list[Shown]:
    """Return how numbers are shown by each of a workbook's styles."""
    found: list[Shown] = []
    for name in parts.of_type(main, "styles"):
        styles = parts.root(name)
        own = {int(each.get("numFmtId", 0)): _shown_by(each.get("formatCode", "")) for each in all_of(styles, "numFmt")}
        cells = first(styles, "cellXfs")
        for style in () if cells is None else cells:
            number = int(style.get("numFmtId", 0))
            found.append(own.get(number, _BUILT_IN.get(number, "number")))
    return found


def _shown_by(code: str) -> Shown:
    """Return how a format shows numbers.

    >>> [_shown_by(code) for code in ("0.0%", "yyyy-mm-dd", "[h]:mm", '#,##0 "days"', "General", "[Red]0")]
    ['percent', 'moment', 'duration', 'number', 'number', 'number']
    """
    plain = _NOT_CODE.sub("", code).partition(";")[0].lower()
    if "[" in plain:
        return "duration"
    if plain != "general" and re.search("[ymdhs]", plain):
        return "moment"
    return "percent" if "%" in plain else "number"
