"""Text out of documents, as Markdown; it runs behind the sandbox's walls, since parsers are attacked through documents.

Only its source goes there: it imports nothing of the server, and of other packages what a kind of document needs.
"""

from __future__ import annotations

import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

LARGEST_UNPACKED = 500_000_000
"""Bytes that the parts of a document may have when they are unpacked."""

LONGEST_TEXT = 20_000_000
"""Characters of text that are taken out of a document."""

MOST_ROWS = 200_000
"""Rows of a sheet; some files say that they have a million of them, all empty."""


class Unreadable(Exception):
    """A document has no text that can be read; the message says why."""


def extract(path: str, kind: str, packages: list[str], html_reader: str) -> dict[str, Any]:
    """Print a document's text and return how many characters it has, or `error`: why there is none.

    Args:
        path: where the document lies.
        kind: `html`, `pdf`, `docx`, `pptx`, `xlsx` or `epub`.
        packages: folders of packages.
        html_reader: source of the module that makes text of pages.
    """
    sys.path.extend(packages)
    readers = {"html": _html, "pdf": _pdf, "docx": _docx, "pptx": _pptx, "xlsx": _xlsx, "epub": _epub}
    try:
        if kind in ("docx", "pptx", "xlsx", "epub"):
            _check_size(path)
        return {"characters": _write(readers[kind](path, html_reader))}
    except Unreadable as error:
        return {"error": str(error)}
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    except (MemoryError, RecursionError):
        return {"error": "it is nested too deeply, or unpacks to more than there is memory for"}
    except Exception as error:
        return {"error": f"it is damaged or not what it says it is ({type(error).__name__}: {str(error)[:200]})"}


def _write(parts: Iterator[str]) -> int:
    """Print the parts of a text and return how many characters they have."""
    written = 0
    for part in parts:
        text = part.replace("\0", "\ufffd").strip("\n")
        written += len(text) + 2
        if written > LONGEST_TEXT:
            raise Unreadable(f"it has more than {LONGEST_TEXT:,} characters of text; upload it in parts")
        if text:
            sys.stdout.write(text + "\n\n")
    return written


def _check_size(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.flag_bits & 1 for part in parts):
            raise Unreadable("it is encrypted; upload it without a password")
        size = sum(part.file_size for part in parts)
    if size > LARGEST_UNPACKED:
        raise Unreadable(f"it would unpack to {size:,} bytes, and may have {LARGEST_UNPACKED:,}")


def _html(path: str, html_reader: str) -> Iterator[str]:
    yield _reader(html_reader).readable_text(Path(path).read_bytes(), "", "")


def _reader(source: str) -> Any:
    module = types.ModuleType("readable")
    exec(compile(source, "readable", "exec"), module.__dict__)  # noqa: S102 - our own source
    return module


def _pdf(path: str, _: str) -> Iterator[str]:
    import pypdf

    reader = pypdf.PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("it is encrypted; upload it without a password")
    found = False
    for page in reader.pages:
        text = page.extract_text()
        found = found or bool(text.strip())
        yield text
    if not found:
        raise Unreadable("it has no text: its pages are pictures; upload it with its text recognised (OCR)")


def _docx(path: str, _: str) -> Iterator[str]:
    import docx
    from docx.table import Table

    for block in docx.Document(path).iter_inner_content():
        if isinstance(block, Table):
            yield "\n".join(_row([cell.text for cell in row.cells]) for row in block.rows)
            continue
        style = block.style.name if block.style is not None else ""
        level = style.removeprefix("Heading ")
        if style == "Title":
            yield f"# {block.text}"
        elif level != style and level.isdigit():
            yield f"{'#' * min(int(level), 6)} {block.text}"
        else:
            yield f"- {block.text}" if style.startswith("List") else block.text


def _pptx(path: str, _: str) -> Iterator[str]:
    import pptx

    for number, slide in enumerate(pptx.Presentation(path).slides, 1):
        title = slide.shapes.title
        name = title.text_frame.text if title is not None else ""
        yield f"## Slide {number}: {name}" if name else f"## Slide {number}"
        for shape in slide.shapes:
            if shape.has_text_frame and (title is None or shape.shape_id != title.shape_id):
                yield shape.text_frame.text
            elif shape.has_table:
                yield "\n".join(_row([cell.text for cell in row.cells]) for row in shape.table.rows)
        if slide.has_notes_slide:
            yield f"Notes: {slide.notes_slide.notes_text_frame.text}"


def _xlsx(path: str, _: str) -> Iterator[str]:
    import openpyxl

    with Path(path).open("rb") as file:  # its name would have to have the right ending
        yield from _sheets(openpyxl.load_workbook(file, read_only=True, data_only=True))


def _sheets(book: Any) -> Iterator[str]:
    for sheet in book.worksheets:
        yield f"## {sheet.title}"
        rows: list[str] = []
        for number, row in enumerate(sheet.iter_rows(values_only=True)):
            if number >= MOST_ROWS:
                raise Unreadable(f"its sheet {sheet.title!r} has more than {MOST_ROWS:,} rows; upload it as CSV")
            if any(value is not None for value in row):
                rows.append(_row(["" if value is None else str(value) for value in row]))
            if len(rows) == 1000:
                yield "\n".join(rows)
                rows.clear()
        yield "\n".join(rows)


def _row(cells: list[str]) -> str:
    return " | ".join(" ".join(cell.split()) for cell in cells).rstrip(" |")


def _epub(path: str, html_reader: str) -> Iterator[str]:
    from xml.etree import ElementTree

    reader = _reader(html_reader)
    with zipfile.ZipFile(path) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))  # noqa: S314 - behind walls
        root = next(element for element in container.iter() if element.tag.endswith("rootfile"))
        place = PurePosixPath(root.attrib["full-path"])
        package = ElementTree.fromstring(archive.read(str(place)))  # noqa: S314
        items = {item.attrib["id"]: item.attrib["href"] for item in package.iter() if item.tag.endswith("}item")}
        for reference in package.iter():
            if not reference.tag.endswith("}itemref") or reference.attrib["idref"] not in items:
                continue
            name = str(place.parent / unquote(items[reference.attrib["idref"]]))
            yield reader.readable_text(archive.read(name), "utf-8", "")
