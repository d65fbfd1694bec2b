"""Backup, restore and copy of a whole database, between any two stores."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TypeAlias

from folkmoot import __version__
from folkmoot.errors import BackupUnusable, StartupError
from folkmoot.store.bulk import current_shapes
from folkmoot.store.bulk_opening import open_loading, open_snapshot
from folkmoot.store.files import make_private_file, make_private_folder, replace_durably
from folkmoot.store.migrate import knows_schema
from folkmoot.transfer.backup_file import BackupReader, BackupWriter, Head

Progress: TypeAlias = Callable[[str, int, int], None]
"""Is told what is being done, how many rows of it are, and how many there are in all."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How many rows of each table were moved, and the fingerprint of the key that their secrets are sealed with."""

    rows: dict[str, int]
    key: str | None

    @property
    def total(self) -> int:
        """All rows."""
        return sum(self.rows.values())


async def back_up(url: str, path: Path, key: str | None, progress: Progress) -> Moved:
    """Write the database at `url`, as it is now, to a file; a server may go on serving it.

    The file is there when it is whole: until then its name ends with `.part`.

    Args:
        url: the database.
        path: the file, which must not be there yet.
        key: the fingerprint of the key that seals what is secret in it.
        progress: who is told how far it is.

    Raises:
        StartupError: the database cannot be read, or the file not be written.
    """
    if path.exists():
        raise StartupError(f"{path} is there already; name another file, or move that one away.")
    part = path.with_name(f"{path.name}.part")
    try:
        make_private_folder(path.parent)
        part.unlink(missing_ok=True)
        make_private_file(part)
        with part.open("wb") as file:
            moved = await write_backup(url, file, key, progress)
        replace_durably(part, path)
    except (OSError, StartupError) as error:
        with suppress(OSError):  # where nothing can be written there may be nothing to remove
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StartupError(f"{path} cannot be written: {error.strerror}.") from error
        raise
    return moved


async def write_backup(url: str, file: IO[bytes], key: str | None, progress: Progress) -> Moved:
    """Write the database at `url`, as it is now, to an open file, which may be a pipe.

    Args:
        url: the database.
        file: where to; it stays open.
        key: the fingerprint of the key that seals what is secret in it.
        progress: who is told how far it is.

    Raises:
        StartupError: the database cannot be read.
        OSError: the file cannot be written.
    """
    async with open_snapshot(url) as snapshot:
        shapes = current_shapes()
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        writer = BackupWriter(file, Head(__version__, snapshot.schema, url.partition(":")[0], made_at, key, shapes))
        counts = {shape.name: await snapshot.count(shape) for shape in shapes}
        total, done = sum(counts.values()), 0
        for shape in shapes:
            async for rows in snapshot.rows(shape):
                writer.add(shape, rows)
                done += len(rows)
                progress(shape.name, done, total)
        writer.finish()
    return Moved(counts, key)


async def restore(path: Path, url: str, *, replace: bool, progress: Progress) -> Moved:
    """Fill the database at `url` from a backup, all or nothing.

    The whole file is read once before anything is written.

    Args:
        path: the backup.
        url: the database, which must be empty unless `replace`; no server may work with it.
        replace: whether what is in the database goes.
        progress: who is told how far it is.

    Raises:
        BackupUnusable: the file is damaged, cut, foreign or newer.
        StartupError: the database is not empty, is being served, or cannot be written.
    """
    with closing(BackupReader(path)) as reader:
        if not knows_schema(reader.head.schema):
            raise BackupUnusable(
                f"{path} was written by a newer Folkmoot, {reader.head.folkmoot} (schema {reader.head.schema}). "
                "Upgrade Folkmoot."
            )
        seen = 0
        for piece in reader.check():
            seen += piece.rows
            progress("checking the file", seen, reader.rows)
        shapes = {shape.name: shape for shape in reader.head.tables}
        done, loaded = 0, dict.fromkeys(shapes, 0)
        async with open_loading(url, reader.head.schema, replace=replace) as loading:
            for piece in reader.pieces:
                await loading.load(shapes[piece.table], reader.rows_of(piece, shapes[piece.table]))
                done += piece.rows
                loaded[piece.table] += piece.rows
                progress(piece.table, done, reader.rows)
        return Moved(loaded, reader.head.key)


async def copy(source: str, target: str, progress: Progress) -> Moved:
    """Fill the database at `target` with what the one at `source` has now, all or nothing.

    Raises:
        StartupError: one of them cannot be used, or the target is not empty.
    """
    async with open_snapshot(source) as snapshot:
        shapes = current_shapes()
        counts = {shape.name: await snapshot.count(shape) for shape in shapes}
        total, done = sum(counts.values()), 0
        async with open_loading(target, snapshot.schema, replace=False) as loading:
            for shape in shapes:
                async for rows in snapshot.rows(shape):
                    await loading.load(shape, rows)
                    done += len(rows)
                    progress(shape.name, done, total)
    return Moved(counts, None)
