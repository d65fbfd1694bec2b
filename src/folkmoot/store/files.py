"""The files of an embedded database: whose they are, who may read them, and whether they are still in their place.

Nothing here opens the database file while SQLite has it open: closing it again would drop SQLite's locks.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from folkmoot.errors import StartupError, StoreMoved, StoreUnavailable

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x666F6C6B
"""What SQLite's header says of a file that is Folkmoot's ("folk")."""

KEY_FILE = "secret.key"

_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID_AT = slice(68, 72)
_OWN_TABLES = frozenset({"alembic_version", "agent_blocks", "block_readers", "block_versions"})
"""Tables by which a file of Folkmoot 0.1.0 is known, which has no application id yet."""

_ELSEWHERE = "Name another file with --database sqlite:///path, or move this one away"


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner can look into, unless it is there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_private_file(path: Path) -> None:
    """Make an empty file that only its owner can read, unless it is there."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def replace_durably(new: Path, path: Path) -> None:
    """Put a file that is whole in the place of another, or of none, so that a crash leaves one or the other."""
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_database_file(path: Path) -> None:
    """Refuse, without touching it, a file that is not Folkmoot's; one that is missing or empty can become a database.

    Raises:
        StartupError: it is a folder, something else than a SQLite file, another application's, or cannot be used.
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise StartupError(f"The database {path} is a folder. Name a file in it: --database sqlite:///{path}/NAME.")
        if not stat.S_ISREG(found.st_mode):
            raise StartupError(f"{path} is not a Folkmoot database: it is no regular file. {_ELSEWHERE}.")
        if not found.st_mode & stat.S_IWUSR or not os.access(path, os.R_OK | os.W_OK):
            raise StartupError(
                f"The database {path} cannot be read and written by this user. Look at its owner, or run "
                f"`chmod u+rw {path}`."
            )
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartupError(f"The database {path} cannot be opened: {error.strerror}.") from error
    if not header:
        return
    if not header.startswith(_MAGIC) or len(header) < 100:
        raise StartupError(f"{path} is not a Folkmoot database: it is no SQLite file. {_ELSEWHERE}.")
    application_id = int.from_bytes(header[_APPLICATION_ID_AT])
    if application_id == APPLICATION_ID or (application_id == 0 and _has_own_tables(path)):
        return
    raise StartupError(f"{path} is not a Folkmoot database: another application made this SQLite file. {_ELSEWHERE}.")


def _has_own_tables(path: Path) -> bool:
    """Tell whether a SQLite file has Folkmoot's tables, without a lock, a journal or any other change."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise StartupError(f"{path} is not a Folkmoot database: {error}. {_ELSEWHERE}.") from error
    return tables >= _OWN_TABLES


def close_data_folder(folder: Path) -> None:
    """Close the data folder, and the key in it, to other users; a folder that is meant for all stays as it is."""
    if not folder.is_dir():
        return
    shared = folder.stat().st_mode & stat.S_ISVTX  # such as /tmp
    _close_to_others([*([] if shared else [folder]), *folder.glob(f"{KEY_FILE}*")])


def close_database_files(path: Path) -> None:
    """Close the database and what lies beside it under its name to other users: SQLite's files, the lock, copies."""
    beside = [each for each in path.parent.iterdir() if each.name.startswith((f"{path.name}-", f"{path.name}."))]
    _close_to_others([path, *sorted(beside)])


def _close_to_others(paths: Sequence[Path]) -> None:
    """Take from group and others what they may do with these files and folders, and say so."""
    closed: list[str] = []
    for path in paths:
        found = path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)) or not mode & 0o077:
            continue
        try:
            path.chmod(mode & 0o700)
        except OSError as error:
            logger.warning("%s is open to other users (mode %04o) and stays so: %s", path, mode, error.strerror)
        else:
            closed.append(f"{path} (mode was {mode:04o})")
    if closed:
        logger.warning("Closed to other users: %s", ", ".join(closed))


class OpenFiles:
    """An open database's file and its write-ahead log. SQLite itself would write on into files that were removed."""

    def __init__(self, path: Path) -> None:
        """Remember the files, which SQLite has open."""
        self._path = path
        self._inodes = {place: _inode(place.stat()) for place in (path, Path(f"{path}-wal"))}

    def check(self) -> None:
        """See that what is written now can be found again; it takes a few microseconds.

        Raises:
            StoreMoved: a file was deleted, or another one is in its place.
            StoreUnavailable: a file was made read-only, or cannot be seen.
        """
        for place, inode in self._inodes.items():
            try:
                found = place.stat()
            except FileNotFoundError as error:
                raise StoreMoved(_moved(place, "deleted")) from error
            except OSError as error:
                raise StoreUnavailable(f"The database file {place} cannot be seen: {error.strerror}.") from error
            if _inode(found) != inode:
                raise StoreMoved(_moved(place, "replaced"))
            if not found.st_mode & stat.S_IWUSR:
                raise StoreUnavailable(
                    f"The database file {place} is read-only; nothing is written until it no longer is: "
                    f"`chmod u+w {place}`."
                )

    def check_disk(self) -> None:
        """See that the files' disk is not mounted read-only.

        Raises:
            StoreUnavailable: it is.
        """
        if os.statvfs(self._path).f_flag & os.ST_RDONLY:
            raise StoreUnavailable(f"The disk of the database file {self._path} is read-only; look at its mount.")


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _moved(place: Path, what: str) -> str:
    return (
        f"The database file {place} was {what} under the running server; nothing is written any more. "
        "Put the same file back, or restart Folkmoot to work with what is there."
    )
