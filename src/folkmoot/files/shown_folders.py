"""Folders in which documents lie while they are read, each held by the process that made it.

One whose process died is held by nobody, and is deleted before the next document is read.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "folkmoot-file-"


@contextmanager
def folder_for_a_while() -> Iterator[Path]:
    """Make a folder that is closed to others, and delete it with what is in it."""
    folder, held = _made()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _made() -> tuple[Path, int]:
    """Return a new folder and what holds it; another one when a process took it for abandoned in between."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        try:
            held = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if _hold(held, where_nobody_can=True) and folder.exists():
            return folder, held
        os.close(held)


def delete_abandoned() -> None:
    """Delete the folders of processes that died."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is gone, or another user's
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(held).st_uid == os.geteuid() and _hold(held, where_nobody_can=False):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)


def _hold(descriptor: int, *, where_nobody_can: bool) -> bool:
    """Tell whether nobody else holds a folder; it is held from then on.

    Args:
        descriptor: the folder, opened.
        where_nobody_can: the answer where the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return where_nobody_can
    return True
