"""Environments: the folders of packages that code asks for, one for each set, shared by all processes of a data folder.

    environments/
      <key>/packages/…      ready; `used` beside it is locked by who uses it, and says when that was
      <key>/about.json      what it is made of, and its bytes
      <key>.making-…/       being made, or left by a process that was killed
      <key>.failed          why the last attempt failed
      locks/                held by who makes one

What is ready was made aside and renamed, so that half of one is never used.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from folkmoot.errors import SandboxUnavailable
from folkmoot.sandbox.installer import Installer, InstallFailed, size_of
from folkmoot.sandbox.requirements import Kind, read_requirements

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""How long a failure is told before the next attempt."""

_MOST_MADE_AT_ONCE = 2
_LOOK = 0.25
"""Seconds between two looks at what another process makes."""


@dataclass(frozen=True, slots=True)
class State:
    """Where an environment stands; `reason` says why it failed, and what to do."""

    name: Literal["unmade", "making", "ready", "failed"]
    reason: str | None = None


class Environments:
    """Makes environments, each once, and removes those that nobody uses."""

    def __init__(self, folder: Path, installer: Installer, *, keep: float, most_bytes: int) -> None:
        """Make nothing yet.

        Args:
            folder: where they are; made when first needed, closed to others.
            installer: installs packages.
            keep: seconds without use after which one is removed.
            most_bytes: of all together; beyond that those that were used longest ago are removed. Those that are
                being made come on top, until they are ready.
        """
        self._folder = folder
        self._installer = replace(installer, most_bytes=min(installer.most_bytes, most_bytes))
        self._keep = keep
        self._most_bytes = most_bytes
        self._places = asyncio.Semaphore(_MOST_MADE_AT_ONCE)
        self._making: dict[str, asyncio.Task[None]] = {}

    def state(self, kind: Kind, requirements: Sequence[str]) -> State:
        """Return where the environment of these packages stands, in whichever process it is made.

        Raises:
            InvalidInput: a requirement cannot be read.
        """
        return self._state(self._key(kind, read_requirements(kind, requirements)))

    def make(self, kind: Kind, requirements: Sequence[str]) -> State:
        """Begin to make it in the background, unless it is there or has just failed; return where it stands.

        Raises:
            InvalidInput: a requirement cannot be read.
        """
        read = read_requirements(kind, requirements)
        key = self._key(kind, read)
        if self._state(key).name == "unmade" or self._may_try_again(key):
            self._begin(key, kind, read)
        return self._state(key)

    async def ready(self, kind: Kind, requirements: Sequence[str], wait: float | None = None) -> None:
        """Return when it is ready; it is made where it is not.

        Args:
            kind: whose packages they are.
            requirements: the packages.
            wait: seconds to wait at most; it goes on being made behind.

        Raises:
            InvalidInput: a requirement cannot be read.
            SandboxUnavailable: it could not be made, or not in time; the message says why and what to do.
        """
        read = read_requirements(kind, requirements)
        key = self._key(kind, read)
        state = self._state(key)
        if state.name == "failed" and not self._may_try_again(key):
            raise SandboxUnavailable(f"the environment could not be made: {state.reason}")
        if state.name == "ready":
            return
        self._begin(key, kind, read)
        done, _ = await asyncio.wait([self._making[key]], timeout=wait)
        if not done:
            raise SandboxUnavailable(f"the environment ({', '.join(read)}) is still being made; try again in a moment")
        state = self._state(key)
        if state.name != "ready":
            raise SandboxUnavailable(f"the environment could not be made: {state.reason or 'see the log'}")

    @asynccontextmanager
    async def use(self, kind: Kind, requirements: Sequence[str], wait: float | None = None) -> AsyncIterator[Path]:
        """Give the folder of packages, which stays there for as long as this lasts; see `ready`."""
        key = self._key(kind, read_requirements(kind, requirements))
        while True:
            await self.ready(kind, requirements, wait)
            with self._hold(self._folder / key) as held:
                if held:
                    yield self._folder / key / "packages"
                    return
            await asyncio.sleep(_LOOK)  # it is just being removed

    async def close(self) -> None:
        """End what is being made."""
        for task in self._making.values():
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    def _key(self, kind: Kind, requirements: Sequence[str]) -> str:
        made_of = {
            "kind": kind,
            "requirements": list(requirements),
            "python": sys.implementation.cache_tag,
            "platform": sysconfig.get_platform(),
            "only_wheels": self._installer.walls,
        }
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]

    def _state(self, key: str) -> State:
        if (self._folder / key / "about.json").is_file():
            return State("ready")
        if key in self._making or (any(self._folder.glob(f"{key}.making-*")) and self._is_locked(key)):
            return State("making")
        try:
            return State("failed", json.loads((self._folder / f"{key}.failed").read_text())["reason"])
        except FileNotFoundError:
            return State("unmade")

    def _may_try_again(self, key: str) -> bool:
        try:
            return time.time() - (self._folder / f"{key}.failed").stat().st_mtime > RETRY_SECONDS
        except FileNotFoundError:
            return True

    def _begin(self, key: str, kind: Kind, requirements: Sequence[str]) -> None:
        if key not in self._making:
            self._making[key] = asyncio.create_task(self._make(key, kind, requirements))
            self._making[key].add_done_callback(lambda task: self._forget(key, task))

    def _forget(self, key: str, task: asyncio.Task[None]) -> None:
        self._making.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            logger.error("An environment could not be made.", exc_info=task.exception())

    async def _make(self, key: str, kind: Kind, requirements: Sequence[str]) -> None:
        (self._folder / "locks").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        async with self._places, self._lock(key):
            if (self._folder / key / "about.json").is_file():
                return
            for left in self._folder.glob(f"{key}.making-*"):  # by a process that was killed
                await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
            await asyncio.to_thread(self.prune)
            aside = Path(tempfile.mkdtemp(prefix=f"{key}.making-", dir=self._folder))
            try:
                await self._fill(aside, kind, requirements)
                aside.rename(self._folder / key)
                (self._folder / f"{key}.failed").unlink(missing_ok=True)
            except (InstallFailed, OSError) as error:
                reason = str(error)
                logger.warning("The environment %s could not be made: %s", ", ".join(requirements), reason)
                (self._folder / f"{key}.failed").write_text(json.dumps({"reason": reason}))
            finally:
                await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)

    async def _fill(self, folder: Path, kind: Kind, requirements: Sequence[str]) -> None:
        await self._installer.install(kind, requirements, folder)
        size = await asyncio.to_thread(size_of, folder)
        if await asyncio.to_thread(self.prune, size) + size > self._most_bytes:
            raise InstallFailed(
                f"it has {size:,} bytes, for which there is no room: all packages together have {self._most_bytes:,} "
                "(FOLKMOOT_TOOL_PACKAGES_SIZE), and others are in use; try again later, or name fewer packages"
            )
        (folder / "used").touch(mode=0o600)
        about = {"kind": kind, "requirements": list(requirements), "bytes": size}
        (folder / "about.json").write_text(json.dumps(about))
        folder.chmod(0o755)  # mkdtemp closed it; whoever runs as another user comes here by a mount

    @asynccontextmanager
    async def _lock(self, key: str) -> AsyncIterator[None]:
        """Hold the lock of whoever makes an environment; another one may share it, and only waits."""
        while True:
            with self._try_lock(key) as locked:
                if locked:
                    yield
                    return
            await asyncio.sleep(_LOOK)

    def _is_locked(self, key: str) -> bool:
        with self._try_lock(key) as locked:
            return not locked

    @contextmanager
    def _try_lock(self, key: str) -> Iterator[bool]:
        with (self._folder / "locks" / key[:2]).open("ab") as file:
            yield _flock(file.fileno(), fcntl.LOCK_EX)

    @contextmanager
    def _hold(self, folder: Path) -> Iterator[bool]:
        """Keep an environment from being removed; tell whether it is still there."""
        try:
            file = (folder / "used").open("ab")
        except FileNotFoundError:
            yield False
            return
        with file:
            held = _flock(file.fileno(), fcntl.LOCK_SH) and _is_still(file.fileno(), folder / "used")
            if held:
                os.utime(file.fileno())
            yield held

    def prune(self, room: int = 0) -> int:
        """Remove environments that were not used for long and, where all take too much, those used longest ago.

        None that is used is removed, nor any half-made one that is still being made.

        Args:
            room: bytes that are to be free for another one.

        Returns:
            The bytes of those that are left.
        """
        for failed in self._folder.glob("*.failed"):
            if time.time() - failed.stat().st_mtime > self._keep:
                failed.unlink(missing_ok=True)
        for left in (*self._folder.glob("*.making-*"), *self._folder.glob("*.gone-*")):
            with self._try_lock(left.name) as locked:
                if locked:
                    shutil.rmtree(left, ignore_errors=True)
        found = sorted(self._ready(), key=lambda one: one[1])
        total = sum(size for _, _, size in found)
        for folder, used, size in found:
            if time.time() - used > self._keep or total + room > self._most_bytes:
                total -= size if self._remove(folder) else 0
        return total

    def _ready(self) -> Iterator[tuple[Path, float, int]]:
        """Return the folders of what is ready, when each was last used, and its bytes."""
        for about in self._folder.glob("*/about.json"):
            with suppress(FileNotFoundError):
                told: dict[str, Any] = json.loads(about.read_text())
                yield about.parent, (about.parent / "used").stat().st_mtime, told["bytes"]

    def _remove(self, folder: Path) -> bool:
        with suppress(FileNotFoundError), (folder / "used").open("ab") as file:
            if _flock(file.fileno(), fcntl.LOCK_EX):
                gone = Path(tempfile.mkdtemp(prefix=f"{folder.name}.gone-", dir=self._folder))
                folder.rename(gone / "environment")
                shutil.rmtree(gone, ignore_errors=True)
                return True
        return False


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _flock(descriptor: int, how: int) -> bool:
    """Take a lock that is given back with the file; tell whether it was free."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
