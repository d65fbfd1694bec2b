"""Text of Word's documents: paragraphs, tables and lists, and what stands in boxes, controls, notes and comments.

Changes that were tracked are read as if they had been accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from folkmoot.files.formats.parts import Element, Parts, attribute, children, first, local, row

NOT_READ = frozenset({"del", "moveFrom", "delText", "instrText", "pPr", "rPr", "tblPr", "sdtPr", "sdtEndPr", "rt"})
"""Elements whose text nobody sees: what was deleted, and what says how something looks."""

BEFORE = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "den": "/", "sup": "^", "sub": "_"}
"""What stands for an element, before what is in it; the last three are of formulas."""

MOST_STYLES = 20
"""Styles that one is based on, at most."""


def read(path: str) -> Iterator[str]:
    """Yield a document's text."""
    parts = Parts(path)
    main = parts.main()
    document = _Document(_heading_levels(parts, main), _list_styles(parts, main))
    yield from _at_edges(parts, main, document, "header")
    body = first(parts.root(main), "body")
    yield from () if body is None else document.blocks(body)
    yield from _notes(parts, main, document)
    yield from _at_edges(parts, main, document, "footer")


class _Document:
    """How a document's blocks are read, by the styles that it has."""

    def __init__(self, levels: dict[str, int], lists: set[str]) -> None:
        self._levels, self._lists = levels, lists

    def blocks(self, parent: Element) -> Iterator[str]:
        """Yield the paragraphs and tables in an element."""
        for child in children(parent):
            name = local(child)
            if name == "p":
                yield from self._paragraph(child)
            elif name == "tbl":
                yield self._table(child)
            elif name not in NOT_READ:
                yield from self.blocks(child)

    def _paragraph(self, paragraph: Element) -> Iterator[str]:
        pieces: list[str] = []
        boxes: list[Element] = []
        _collect(paragraph, pieces, boxes)
        text = "".join(pieces)
        yield f"{self._mark(paragraph)}{text}" if text.strip() else text
        for box in boxes:
            yield from self.blocks(box)

    def _mark(self, paragraph: Element) -> str:
        """Return what stands before a heading, and before an item of a list."""
        style = first(paragraph, "pPr", "pStyle")
        name = "" if style is None else attribute(style, "val") or ""
        outline = first(paragraph, "pPr", "outlineLvl")
        level = _level(outline) if outline is not None else self._levels.get(name)
        if level is not None:
            return "#" * min(level, 6) + " "
        number = first(paragraph, "pPr", "numPr", "numId")
        if number is not None:
            depth = first(paragraph, "pPr", "numPr", "ilvl")
            deep = 0 if depth is None else int(attribute(depth, "val") or 0)
            return "" if attribute(number, "val") == "0" else "  " * min(deep, 8) + "- "
        return "- " if name in self._lists else ""

    def _table(self, table: Element) -> str:
        rows = (each for each in all_in(table, "tr") if first(each, "trPr", "del") is None)
        return "\n".join(row(self._cells(each)) for each in rows)

    def _cells(self, of_row: Element) -> Iterator[str]:
        for cell in all_in(of_row, "tc"):
            merged = first(cell, "tcPr", "vMerge")
            is_rest = merged is not None and attribute(merged, "val") in (None, "continue")
            yield "" if is_rest else " ".join(self.blocks(cell))
            span = first(cell, "tcPr", "gridSpan")
            wide = 1 if span is None else int(attribute(span, "val") or 1)
            yield from [""] * (min(wide, 64) - 1)


def all_in(parent: Element, name: str) -> Iterator[Element]:
    """Yield a table's rows, or a row's cells, also those in controls, and not those of tables in it."""
    for child in children(parent):
        if local(child) == name:
            yield child
        elif local(child) in ("sdt", "sdtContent", "customXml", "ins", "moveTo"):
            yield from all_in(child, name)


def _collect(element: Element, pieces: list[str], boxes: list[Element]) -> None:
    """Collect the text in an element, and the boxes of text that hang on it."""
    for child in children(element):
        name = local(child)
        if name in NOT_READ:
            continue
        if name == "t":
            pieces.append(child.text or "")
        elif name == "txbxContent":
            boxes.append(child)
        elif name in ("footnoteReference", "endnoteReference"):
            pieces.append(f"[^{_label(name, child)}]")
        else:
            pieces.append(BEFORE.get(name, ""))
            _collect(child, pieces, boxes)


def _label(of: str, element: Element) -> str:
    """Return what a note is called by in the text: endnotes are counted on their own."""
    return ("e" if of.startswith("endnote") else "") + (attribute(element, "id") or "")


def _notes(parts: Parts, main: str, document: _Document) -> Iterator[str]:
    for of in ("footnote", "endnote"):
        for name in parts.of_type(main, f"{of}s"):
            for note in parts.root(name):
                if attribute(note, "type") in (None, "normal"):
                    yield f"[^{_label(of, note)}]: " + "\n".join(document.blocks(note)).strip()
    for name in parts.of_type(main, "comments"):
        for comment in parts.root(name):
            yield f"Comment by {attribute(comment, 'author')}: " + "\n".join(document.blocks(comment)).strip()


def _at_edges(parts: Parts, main: str, document: _Document, relation: str) -> Iterator[str]:
    """Yield what stands at the top or at the foot of all pages, each text once."""
    texts = ("\n".join(document.blocks(parts.root(name))).strip() for name in parts.of_type(main, relation))
    yield from dict.fromkeys(texts)


def _styles(parts: Parts, main: str) -> dict[str, tuple[str, Element]]:
    """Return the styles of paragraphs by their identifiers: what each is called, in English if it is Word's own."""
    found = {}
    for part in parts.of_type(main, "styles"):
        for style in parts.root(part):
            name = first(style, "name")
            if local(style) == "style" and name is not None:
                found[attribute(style, "styleId") or ""] = ((attribute(name, "val") or "").lower(), style)
    return found


def _heading_levels(parts: Parts, main: str) -> dict[str, int]:
    """Return the styles that are those of headings, with their levels: by their names, or by what they are based on."""
    styles, levels = _styles(parts, main), {}
    for identifier in styles:
        at: str | None = identifier
        for _ in range(MOST_STYLES):
            if at is None or at not in styles:
                break
            name, style = styles[at]
            numbered = re.fullmatch(r"heading (\d)", name)
            outline = first(style, "pPr", "outlineLvl")
            level = 1 if name == "title" else int(numbered[1]) if numbered else outline is not None and _level(outline)
            if level:
                levels[identifier] = level
            if level or outline is not None:
                break
            based = first(style, "basedOn")
            at = None if based is None else attribute(based, "val")
    return levels


def _level(outline: Element) -> int | None:
    """Return the level of a heading; None for the one that says that it is none."""
    value = int(attribute(outline, "val") or 9)
    return value + 1 if value < 9 else None


def _list_styles(parts: Parts, main: str) -> set[str]:
    return {identifier for identifier, (name, _) in _styles(parts, main).items() if name.startswith("list ")}
