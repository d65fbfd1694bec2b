"""What an uploaded file is, told from its first bytes; its name only says which of several it is."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, TypeAlias

from folkmoot.errors import UnsupportedFile
from folkmoot.files.decoding import MARKS, wide_encoding

HEAD = 65_536
"""Bytes of a file that are looked at."""

Kind: TypeAlias = Literal["text", "html", "pdf", "docx", "pptx", "xlsx", "odt", "ods", "odp", "epub", "rtf"]

MEDIA_TYPES = {
    ".md": "text/x-markdown",
    ".markdown": "text/x-markdown",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".xml": "application/xml",
    ".yaml": "application/x-yaml",
    ".yml": "application/x-yaml",
    ".toml": "application/toml",
    ".py": "text/x-python",
    ".js": "text/javascript",
    ".ts": "text/x-typescript",
    ".java": "text/x-java-source",
    ".c": "text/x-c",
    ".h": "text/x-c",
    ".cpp": "text/x-c++",
    ".go": "text/x-go",
    ".rs": "text/x-rust",
    ".rb": "text/x-ruby",
    ".sh": "text/x-sh",
    ".sql": "text/x-sql",
    ".css": "text/css",
}
"""What plain text is called, by the ending of its name; `text/plain` otherwise."""

DOCUMENTS: dict[Kind, str] = {
    "html": "text/html",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "epub": "application/epub+zip",
    "rtf": "application/rtf",
}
"""What is read by a parser, and what it is called."""

READABLE = "text of any kind (code, Markdown, CSV, JSON), HTML, PDF, DOCX, PPTX, XLSX, ODT, ODS, ODP, RTF and EPUB"

_PICTURES = {b"\x89PNG\r\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF"}
"""How pictures begin; the beginning of one has not always a NUL."""

_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How Office's documents of before 2007 begin, and the encrypted ones of today."""

_MARKS = tuple(mark for mark, _ in MARKS)
_HTML = re.compile(rb"(?>\s*(?:<!--.*?-->|<\?.*?>))*+\s*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
"""How pages begin. What is behind comments is looked at once: tried in all ways, a few of them would take years."""

_NAMED_IN_ZIP = re.compile(rb"PK\x03\x04.{26}mimetype.{0,100}?(application/[a-z.+]+?)(?:-template)?(?![a-z.+-])", re.S)
"""The first part of EPUB and OpenDocument, which is not packed and says what the file is."""

_IN_ZIP: dict[bytes, Kind] = {b"word/": "docx", b"ppt/": "pptx", b"xl/": "xlsx", b"META-INF/container.xml": "epub"}


@dataclass(frozen=True, slots=True)
class FileKind:
    """How a file is read, and its media type."""

    kind: Kind
    media_type: str

    @property
    def is_text(self) -> bool:
        """Whether its bytes are its text."""
        return self.kind == "text"


def tell_kind(head: bytes, tail: bytes, name: str) -> FileKind:
    """Return what a file is.

    Args:
        head: its first `HEAD` bytes.
        tail: its last `HEAD` bytes, where a ZIP file lists what is in it.
        name: its name, which tells kinds of text apart.

    Raises:
        UnsupportedFile: it is none of what can be read.
    """
    kind = _document(head, tail)
    if kind is not None:
        return FileKind(kind, DOCUMENTS[kind])
    if not head.startswith(_MARKS):
        reason = _why_binary(head)
        if reason is not None:
            raise UnsupportedFile(f"file: {name!r} {reason}. What can be read: {READABLE}.")
    return FileKind("text", MEDIA_TYPES.get(PurePath(name).suffix.lower(), "text/plain"))


def _document(head: bytes, tail: bytes) -> Kind | None:
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if head.startswith(b"PK\x03\x04"):
        named = _NAMED_IN_ZIP.match(head)
        if named is not None:
            return next((kind for kind, name in DOCUMENTS.items() if name.encode() == named[1]), None)
        return next((kind for mark, kind in _IN_ZIP.items() if mark in tail or mark in head), None)
    return "html" if _HTML.match(_as_utf8(head[:4096])) else None


def _as_utf8(beginning: bytes) -> bytes:
    """Return the beginning of a text as far as its mark says its encoding."""
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return beginning.decode("utf-16", "replace").encode("utf-8", "replace")
    return beginning.removeprefix(codecs.BOM_UTF8)


def _why_binary(head: bytes) -> str | None:
    """Return what makes bytes no text of one of the encodings that are told from the text itself."""
    if head.startswith(b"PK\x03\x04"):
        return "is a ZIP file that is no document"
    if head.startswith(_OFFICE):
        return "is an Office document that is encrypted or of an old kind: save it without a password as one of today's"
    picture = next((name for mark, name in _PICTURES.items() if head.startswith(mark)), None)
    if picture is not None:
        return f"is no text but a {picture} picture, and what is in pictures is not read"
    if b"\0" in head:
        if wide_encoding(head) is not None:
            return None
        return f"is no text: it has a NUL byte at {head.index(0):,}"
    controls = sum(head.count(byte) for byte in range(32) if byte not in b"\t\n\r\f\x1b\x08\x1a")
    if controls > len(head) // 50:
        return "is no text: it has many control characters"
    return None
