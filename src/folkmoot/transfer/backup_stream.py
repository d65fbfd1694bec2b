"""A backup as a stream of bytes, while the server goes on."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from folkmoot.errors import Conflict, StoreUnavailable
from folkmoot.settings import PREFIX, Settings
from folkmoot.store.files import make_private_file, make_private_folder

AT_ONCE = 256 * 1024
"""Bytes that are handed on together, at the most."""

REASON = 4096
"""Bytes of what the process says last that are kept: its reason when it fails."""

LONGEST = 3600.0
"""Seconds that a backup may take, however slowly it is read: as long, the database keeps what changed meanwhile."""


async def stream_backup(settings: Settings) -> AsyncIterator[bytes]:
    """Yield the server's whole database, as it is now, as the bytes of a backup.

    `folkmoot backup -` makes them, in a process that lets others come first, and only as fast as they are read; nothing
    is kept on the disk. The process ends with the stream, whoever ends that.

    Args:
        settings: the server's.

    Raises:
        Conflict: another one is under way on this machine.
        StoreUnavailable: it failed, or took longer than an hour; what was yielded before is no backup.
    """
    with _alone(settings.data_folder):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "folkmoot", "backup", "-"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            limit=AT_ONCE,
            env=os.environ | _variables(settings),
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        end = asyncio.get_running_loop().time() + LONGEST
        said = asyncio.create_task(_last_of(process.stderr))
        try:
            while piece := await _read(process.stdout, end):
                yield piece
            async with asyncio.timeout_at(end):
                reason = await said
                failed = await process.wait() != 0
        except TimeoutError as error:
            raise StoreUnavailable(f"The backup took longer than {LONGEST:,.0f} s. Use `folkmoot backup`.") from error
        finally:
            said.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
        if failed:
            line = reason.decode(errors="replace").strip().rpartition("\n")[2] or f"status {process.returncode}"
            raise StoreUnavailable(f"The backup failed: {line.removeprefix('folkmoot: ')}")


async def _read(stream: asyncio.StreamReader, end: float) -> bytes:
    async with asyncio.timeout_at(end):
        return await stream.read(AT_ONCE)


async def _last_of(stream: asyncio.StreamReader) -> bytes:
    """Read a stream to its end, so that who writes never waits, and return what came last."""
    last = b""
    while piece := await stream.read(AT_ONCE):
        last = (last + piece)[-REASON:]
    return last


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Have the lock that one backup of this machine's server has at a time.

    Raises:
        Conflict: another one has it.
    """
    place = data / "backup.lock"
    make_private_folder(data)
    make_private_file(place)
    with place.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict("A backup is under way. Take that one, or try again when it is done.") from error
        yield


def _variables(settings: Settings) -> dict[str, str]:
    """Return the variables by which the process finds the same database and key."""
    found = {"DATABASE": settings.database_url, "DATA": str(settings.data_folder)}
    if settings.secret_key is not None:
        found["SECRET_KEY"] = settings.secret_key.get_secret_value()
    return {f"{PREFIX}{name}": value for name, value in found.items()}
