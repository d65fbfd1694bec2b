"""Text of OpenDocument's texts, sheets and presentations, as LibreOffice writes them.

Changes that were tracked are read as if they had been accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from folkmoot.files.formats.parts import Element, Parts, Unreadable, all_of, attribute, local, row

NOT_READ = frozenset({"tracked-changes", "forms", "ruby-text", "desc", "title", "annotation", "note", "page-number"})
"""Elements whose text stands elsewhere, or nowhere."""

BLOCKS = frozenset({"p", "h", "table", "list"})
ROWS_AT_ONCE = 1000
MOST_REPEATED = 50
"""Cells beside each other that are one and the same, at most, that a row keeps."""


MANIFEST = "META-INF/manifest.xml"


def read(path: str) -> Iterator[str]:
    """Yield a document's text."""
    parts = Parts(path)
    manifest = parts.root(MANIFEST) if MANIFEST in parts.names else ()
    if any(local(each) == "encryption-data" for entry in manifest for each in entry):
        raise Unreadable("it is encrypted; upload it without a password")
    edges: dict[str, dict[str, None]] = {"header": {}, "footer": {}}
    for page in all_of(parts.root("styles.xml"), "master-page") if "styles.xml" in parts.names else ():
        for edge in page:
            if local(edge) in edges:
                edges[local(edge)]["\n".join(_blocks(edge))] = None
    yield from edges["header"]
    for body in all_of(parts.root("content.xml"), "body"):
        yield from _blocks(body)
    yield from edges["footer"]


def _blocks(parent: Iterable[Element], depth: int = -1) -> Iterator[str]:
    """Yield the paragraphs and tables in an element; `depth` is that of the list that it is an item of."""
    slide = 0
    comments = []
    for child in parent:
        name = local(child)
        if name in ("p", "h"):
            yield from _paragraph(child, depth)
        elif name == "spreadsheet":
            yield from _sheets(child)
        elif name == "table":
            yield from _table(child)
        elif name == "list":
            yield from _blocks(child, depth + 1)
        elif name == "page":
            slide += 1
            yield from _slide(child, slide)
        elif name == "annotation":
            comments.append(_comment(child))
        elif name not in NOT_READ:
            yield from _blocks(child, depth)
    yield from comments


def _sheets(book: Element) -> Iterator[str]:
    for sheet in book:
        if local(sheet) == "table":
            yield f"## {attribute(sheet, 'name')}"
            yield from _table(sheet)
            yield from (text for shapes in sheet if local(shapes) == "shapes" for text in _blocks(shapes))


def _paragraph(paragraph: Element, depth: int) -> Iterator[str]:
    pieces: list[str] = []
    others: list[Element] = []
    _collect(paragraph, pieces, others)
    text = "".join(pieces)
    mark = "  " * depth + "- " if depth >= 0 else ""
    if local(paragraph) == "h":
        mark = "#" * max(1, min(int(attribute(paragraph, "outline-level") or 1), 6)) + " "
    elif attribute(paragraph, "style-name") == "Title":
        mark = "# "
    yield mark + text if text.strip() else text
    for other in others:
        if local(other) == "note":
            said = (each for body in all_of(other, "note-body") for each in _blocks(body))
            yield f"[^{_citation(other)}]: " + "\n".join(said)
        elif local(other) == "annotation":
            yield _comment(other)
        else:
            yield from _blocks(other)


def _collect(element: Element, pieces: list[str], others: list[Element]) -> None:
    """Collect the text in a paragraph, and what hangs on it: boxes, notes, comments."""
    pieces.append(_plain(element.text))
    for child in element:
        name = local(child)
        if name in ("tab", "line-break"):
            pieces.append("\t" if name == "tab" else "\n")
        elif name == "s":
            pieces.append(" " * min(int(attribute(child, "c") or 1), 1000))
        elif name == "note":
            pieces.append(f"[^{_citation(child)}]")
            others.append(child)
        elif name == "annotation" or any(local(each) in BLOCKS for each in child.iter()):
            others.append(child)
        elif name not in NOT_READ:
            _collect(child, pieces, others)
        pieces.append(_plain(child.tail))


def _plain(text: str | None) -> str:
    """Return text as it counts: white space of any length is one space."""
    if not text:
        return ""
    words = " ".join(text.split())
    return (" " if text[0].isspace() else "") + words + (" " if words and text[-1].isspace() else "")


def _citation(note: Element) -> str:
    return "".join(each.text or "" for each in all_of(note, "note-citation"))


def _comment(annotation: Element) -> str:
    author = "".join(each.text or "" for each in annotation if local(each) == "creator")
    return f"Comment by {author or 'somebody'}: " + "\n".join(_blocks(annotation)).strip()


def _slide(page: Element, number: int) -> Iterator[str]:
    title = next((each for each in page if attribute(each, "class") == "title"), None)
    words = "" if title is None else " ".join(" ".join(_blocks(title)).split())
    yield f"## Slide {number}: {words}" if words else f"## Slide {number}"
    for child in page:
        if local(child) == "notes":
            said = "\n".join(_blocks(child)).strip()
            yield f"Notes: {said}" if said else ""
        elif child is not title:
            yield from _blocks([child])


def _table(table: Element) -> Iterator[str]:
    lines: list[str] = []
    for each in _in_table(table, "table-row"):
        line = row(_cells(each))
        for _ in range(_repeated(each, "number-rows-repeated") if line else 0):
            lines.append(line)
            if len(lines) == ROWS_AT_ONCE:
                yield "\n".join(lines)
                lines.clear()
    yield "\n".join(lines)


def _cells(of_row: Element) -> Iterator[str]:
    for cell in of_row:
        times = _repeated(cell, "number-columns-repeated")
        yield from [" ".join(_blocks(cell))] * min(times, MOST_REPEATED)


def _repeated(element: Element, name: str) -> int:
    return int(attribute(element, name) or 1)


def _in_table(parent: Element, name: str) -> Iterator[Element]:
    """Yield a table's rows, those of its head and of groups too."""
    for child in parent:
        if local(child) == name:
            yield child
        elif local(child) in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _in_table(child, name)
