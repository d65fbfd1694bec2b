"""Text of Rich Text Format, as WordPad, TextEdit, Word and LibreOffice write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

_TOKEN = re.compile(rb"\\([a-zA-Z]+)(-?\d+)? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|([^\\{}\r\n]+)|[\r\n]+|\\")

NOT_READ = frozenset(
    {
        "colortbl",
        "datastore",
        "filetbl",
        "fldinst",
        "generator",
        "info",
        "listoverridetable",
        "listtable",
        "nonshppict",
        "objdata",
        "pict",
        "revtbl",
        "rsidtbl",
        "sp",
        "stylesheet",
        "tc",
        "themedata",
        "xe",
    }
)
"""Groups without text that somebody sees; so are those that begin with a star, except a few."""

READ = frozenset({"footnote", "shpinst", "shptxt", "annotation"})
TEXTS = {
    "par": "\n\n",
    "sect": "\n\n",
    "page": "\n\n",
    "line": "\n",
    "row": "\n",
    "cell": " | ",
    "nestcell": " | ",
    "tab": "\t",
    "emdash": "—",
    "endash": "–",
    "lquote": "‘",
    "rquote": "’",
    "ldblquote": "“",
    "rdblquote": "”",
    "bullet": "•",
    "emspace": " ",
    "enspace": " ",
    "~": " ",
    "_": "-",
    "{": "{",
    "}": "}",
    "\\": "\\",
    "\n": "\n\n",
}
"""What control words and symbols stand for."""

CHARACTER_SETS = {
    0: "cp1252",
    77: "mac_roman",
    128: "cp932",
    129: "cp949",
    134: "gb18030",
    136: "big5",
    161: "cp1253",
    162: "cp1254",
    163: "cp1258",
    177: "cp1255",
    178: "cp1256",
    186: "cp1257",
    204: "cp1251",
    222: "cp874",
    238: "cp1250",
}
"""Encodings by the numbers that fonts name them by."""


@dataclass(frozen=True, slots=True)
class _Group:
    """What holds in a group, and in those in it."""

    encoding: str
    is_read: bool = True
    is_seen: bool = True
    is_cell: bool = False
    fallbacks: int = 1


class _Reader:
    """Goes through a file from its beginning to its end."""

    def __init__(self) -> None:
        self._group = _Group("cp1252")
        self._outer: list[_Group] = []
        self._usual = "cp1252"
        self._fonts: dict[int, str] = {}
        self._font = 0
        self._in_fonts = 0  # how deep the table of fonts lies; 0 outside
        self._after_star = False
        self._skip = 0
        self._bytes = bytearray()
        self.pieces: list[str] = []

    def read(self, data: bytes) -> None:
        at = 0
        while (token := _TOKEN.match(data, at)) is not None:
            at = token.end()
            word, number, code, symbol, brace, plain = token.groups()
            if word is not None:
                value = None if number is None else int(number[:9])
                at += max(value or 0, 0) if word == b"bin" else 0
                self._control(word.decode(), value)
            elif brace is not None:
                self._brace(brace)
            elif symbol is not None and symbol == b"*":
                self._after_star = True
            elif symbol is not None:
                self._say(TEXTS.get(symbol.decode("latin-1").replace("\r", "\n"), ""))
            elif code is not None or plain is not None:
                self._add(bytes.fromhex(code.decode()) if code is not None else plain)
        self._flush()

    def _brace(self, brace: bytes) -> None:
        self._flush()
        self._skip, self._after_star = 0, False
        if brace == b"{":
            self._outer.append(self._group)
        elif self._outer:
            self._group = self._outer.pop()
            if len(self._outer) < self._in_fonts:
                self._in_fonts = 0

    def _control(self, word: str, value: int | None) -> None:
        group = self._group
        if word == "u" and value is not None:
            self._say(chr(value & 0xFFFF))
            self._skip = group.fallbacks
            return
        self._flush()
        self._skip = 0
        if word in NOT_READ or (self._after_star and word not in READ):
            self._group = replace(group, is_read=False)
        elif word == "fonttbl":
            self._in_fonts = len(self._outer)
            self._group = replace(group, is_read=False)
        elif word == "f" and value is not None:
            self._font = value
            self._group = replace(group, encoding=self._fonts.get(value, self._usual))
        elif word == "fcharset" and self._in_fonts and value in CHARACTER_SETS:
            self._fonts[self._font] = CHARACTER_SETS[value] if value else self._usual
        elif word in ("ansicpg", "mac", "pc", "pca"):
            self._usual = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}.get(word, f"cp{value}")
            self._group = replace(group, encoding=self._usual)
        elif word == "uc":
            self._group = replace(group, fallbacks=max(0, min(value or 0, 100)))
        elif word in ("v", "deleted"):
            self._group = replace(group, is_seen=value == 0)
        elif word in ("intbl", "pard"):
            self._group = replace(group, is_cell=word == "intbl")
        elif word == "plain":
            self._group = replace(group, is_seen=True)
        else:
            self._say(" " if word == "par" and group.is_cell else TEXTS.get(word, ""))
        self._after_star = False

    def _add(self, data: bytes) -> None:
        """Take bytes of the text, but for those that stand in for a character that was given by its number."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        if self._group.is_read and self._group.is_seen:
            self._bytes += data[skipped:]

    def _say(self, text: str) -> None:
        self._flush()
        if text and self._group.is_read and self._group.is_seen:
            self.pieces.append(text)

    def _flush(self) -> None:
        if self._bytes:
            try:
                self.pieces.append(self._bytes.decode(self._group.encoding, "replace"))
            except LookupError:  # of an encoding that nobody has
                self.pieces.append(self._bytes.decode("cp1252", "replace"))
            self._bytes.clear()


def read(path: str) -> Iterator[str]:
    """Yield a file's text, paragraph by paragraph."""
    reader = _Reader()
    reader.read(Path(path).read_bytes())
    text = "".join(reader.pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for paragraph in re.split(r"\n{2,}", text):
        yield "\n".join(line.rstrip(" |") if line.endswith(" | ") else line for line in paragraph.split("\n"))
