"""The file of a backup: a ZIP archive, which any archiver opens, with a database's rows as lines of JSON.

    folkmoot-backup.json     what it is: format, versions, when, the tables and their columns, the key's fingerprint
    blocks/000001.jsonl      rows of a table, each a list of values; some megabytes to a member
    …
    index.json               how many rows and bytes each member has, and its SHA-256

It is written in one go and the index comes last, so that a file that was cut is known. Bytes are Base64, times as in
the database. Secrets are in it as they are in the database: sealed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from folkmoot.errors import BackupUnusable
from folkmoot.store.bulk import Kind, TableShape, is_kind

FORMAT = "folkmoot-backup"
VERSION = 1
"""Of the format. A later version of Folkmoot reads all earlier ones."""

PIECE = 4_000_000
"""Characters of JSON, about, in a member: what is lost to a look when a byte is damaged, and what memory it takes."""

LARGEST_PIECE = 2_000_000_000
"""Bytes that a member may have at the most, whatever the index says: one row is never larger."""

_HEAD, _INDEX = "folkmoot-backup.json", "index.json"
_LEVEL = 1  # half the time of zlib's usual 6, for a tenth more bytes

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,  # a way of compressing that zipfile does not know
    struct.error,
    RuntimeError,
    ValueError,
)
"""What the standard library raises of an archive that is damaged."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a backup says of itself: `made_at` as ISO 8601, `key` the fingerprint of the key that seals its secrets."""

    folkmoot: str
    schema: str
    store: str
    made_at: str
    key: str | None
    tables: Sequence[TableShape]


@dataclass(frozen=True, slots=True)
class Piece:
    """A member: some of a table's rows."""

    name: str
    table: str
    first_row: int
    rows: int
    bytes: int
    sha256: str


@dataclass(slots=True)
class BackupWriter:
    """Writes a backup to a file that is open."""

    file: IO[bytes]
    head: Head
    _archive: zipfile.ZipFile = field(init=False)
    _pieces: list[Piece] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _size: int = 0
    _shape: TableShape | None = None
    _rows: int = 0
    _number: int = 0

    def __post_init__(self) -> None:
        """Begin with the head."""
        self._archive = zipfile.ZipFile(self.file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
        self._archive.writestr(_HEAD, json.dumps(_head_to_json(self.head), indent=1))

    def add(self, shape: TableShape, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows of a table, after all those of the table before."""
        if self._shape is not shape:
            self._flush()
            self._shape, self._rows, self._number = shape, 0, 0
        encoded = [place for place, kind in enumerate(shape.kinds) if kind == "bytes"]
        for row in rows:
            line = _encode(_with_base64(row, encoded) if encoded else list(row))
            self._lines.append(line)
            self._size += len(line)
            if self._size >= PIECE:
                self._flush()

    def finish(self) -> None:
        """Write what is left, and the index."""
        self._flush()
        index = {"pieces": [[p.name, p.table, p.first_row, p.rows, p.bytes, p.sha256] for p in self._pieces]}
        self._archive.writestr(_INDEX, json.dumps(index))
        self._archive.close()

    def _flush(self) -> None:
        if self._shape is None or not self._lines:
            return
        data = "\n".join(self._lines).encode()
        self._number += 1
        name = f"{self._shape.name}/{self._number:06}.jsonl"
        self._archive.writestr(name, data)
        digest = hashlib.sha256(data).hexdigest()
        self._pieces.append(Piece(name, self._shape.name, self._rows + 1, len(self._lines), len(data), digest))
        self._rows += len(self._lines)
        self._lines, self._size = [], 0


class BackupReader:
    """Reads a backup.

    Raises:
        BackupUnusable: from each of its methods: the file is damaged, cut, foreign or newer; the message says where.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read what it says of itself."""
        self._path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                begin = file.read(30 + len(_HEAD))
        except OSError as error:
            raise BackupUnusable(f"{path} cannot be read: {error.strerror}.") from error
        if not begin.startswith(b"PK\x03\x04") or not begin.endswith(_HEAD.encode()):
            raise BackupUnusable(f"{path} is no backup of Folkmoot: it does not begin as one.")
        try:
            self._archive = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise BackupUnusable(
                f"{path} is cut or damaged: it has {size:,} bytes, and the list of its parts at the end is not whole."
            ) from error
        self.head = self._read_head()
        self.pieces = self._read_index()

    @property
    def rows(self) -> int:
        """How many rows the backup has."""
        return sum(piece.rows for piece in self.pieces)

    def check(self) -> Iterator[Piece]:
        """Read every piece, and yield it when it is as it was written."""
        for piece in self.pieces:
            self._read(piece)
            yield piece

    def rows_of(self, piece: Piece, shape: TableShape) -> list[list[Any]]:
        """Return a piece's rows, values in the order of the table's columns."""
        encoded = [place for place, kind in enumerate(shape.kinds) if kind == "bytes"]
        try:
            # No line has a line break in it; read as one array they take a third of the time.
            lines = self._read(piece).replace(b"\n", b",")
            rows: list[list[Any]] = json.loads(b"[" + lines + b"]")
            if encoded:
                rows = [_without_base64(row, encoded) for row in rows]
        except (ValueError, RecursionError) as error:
            raise self._damaged(piece, "it is no JSON") from error
        if len(rows) != piece.rows or any(len(row) != len(shape.columns) for row in rows):
            raise self._damaged(piece, "its rows are not those of the index")
        return rows

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def _read(self, piece: Piece) -> bytes:
        try:
            data = self._archive.read(piece.name)
        except KeyError as error:
            raise self._damaged(piece, "it is missing") from error
        except _DAMAGE as error:
            raise self._damaged(piece, str(error) or type(error).__name__) from error
        if len(data) != piece.bytes or hashlib.sha256(data).hexdigest() != piece.sha256:
            raise self._damaged(piece, "its checksum is another")
        return data

    def _damaged(self, piece: Piece, what: str) -> BackupUnusable:
        try:
            place = f", at byte {self._archive.getinfo(piece.name).header_offset:,}"
        except KeyError:
            place = ""
        last = piece.first_row + piece.rows - 1
        return BackupUnusable(
            f"{self._path} is damaged in {piece.name}{place} (rows {piece.first_row:,} to {last:,} of {piece.table}): "
            f"{what}."
        )

    def _member(self, name: str) -> Any:
        try:
            if self._archive.getinfo(name).file_size > LARGEST_PIECE:
                raise ValueError("it is too large")
            return json.loads(self._archive.read(name))
        except (KeyError, *_DAMAGE) as error:
            raise BackupUnusable(f"{self._path} is damaged in {name}: {error}.") from error

    def _read_head(self) -> Head:
        told = self._member(_HEAD)
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise BackupUnusable(f"{self._path} is no backup of Folkmoot.")
        if told.get("version") != VERSION:
            raise BackupUnusable(
                f"{self._path} has format {told.get('version')!r}, written by Folkmoot {told.get('folkmoot')}; "
                f"this one reads {VERSION}. Upgrade Folkmoot."
            )
        try:
            return _head_from_json(told)
        except (KeyError, TypeError, ValueError) as error:
            raise BackupUnusable(f"{self._path} is damaged in {_HEAD}: {error!r}.") from error

    def _read_index(self) -> list[Piece]:
        told = self._member(_INDEX)
        tables = {shape.name for shape in self.head.tables}
        try:
            pieces = [Piece(*each) for each in told["pieces"]]
            strange = [piece.table for piece in pieces if piece.table not in tables or piece.bytes > LARGEST_PIECE]
        except (KeyError, TypeError, ValueError) as error:
            raise BackupUnusable(f"{self._path} is damaged in {_INDEX}: {error!r}.") from error
        if strange:
            raise BackupUnusable(f"{self._path} is damaged in {_INDEX}: it names {strange[0]!r}.")
        return pieces


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def _with_base64(row: Sequence[Any], places: Sequence[int]) -> list[Any]:
    values = list(row)
    for place in places:
        if values[place] is not None:
            values[place] = base64.b64encode(values[place]).decode()
    return values


def _without_base64(row: Sequence[Any], places: Sequence[int]) -> list[Any]:
    values = list(row)
    for place in places:
        if values[place] is not None:
            values[place] = base64.b64decode(values[place], validate=True)
    return values


def _head_to_json(head: Head) -> dict[str, Any]:
    about = {"folkmoot": head.folkmoot, "schema": head.schema, "store": head.store, "made_at": head.made_at}
    tables = [
        {"name": shape.name, "columns": [list(pair) for pair in zip(shape.columns, shape.kinds, strict=True)]}
        for shape in head.tables
    ]
    return {"format": FORMAT, "version": VERSION, **about, "key": head.key, "tables": tables}


def _head_from_json(told: dict[str, Any]) -> Head:
    tables = [
        TableShape(
            str(table["name"]),
            tuple(str(name) for name, _ in table["columns"]),
            tuple(_kind(kind) for _, kind in table["columns"]),
        )
        for table in told["tables"]
    ]
    return Head(told["folkmoot"], told["schema"], told["store"], told["made_at"], told["key"], tables)


def _kind(told: Any) -> Kind:
    if not is_kind(told):
        raise ValueError(f"there is no kind of column {told!r}")
    return told  # type: ignore[no-any-return]
