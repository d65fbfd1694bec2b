"""Documents behind the sandbox's walls: what the code that reads them is given, and what of its answer is believed."""

from __future__ import annotations

import asyncio
import sysconfig
from collections.abc import AsyncGenerator
from functools import cache
from pathlib import Path

from folkmoot.errors import JobDelayed, JobFailed, SandboxBusy, SandboxUnavailable
from folkmoot.files import extraction, formats, readable
from folkmoot.files.files import File
from folkmoot.files.kinds import FileKind
from folkmoot.files.pieces import copy_to
from folkmoot.files.shown_folders import delete_abandoned, folder_for_a_while
from folkmoot.sandbox.calls import Call, Limits, Result
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.store.engine import Store

EXTRA = "pip install 'folkmoot[documents]'"
"""What installs the packages that documents are read with."""

LIMITS = Limits(
    seconds=300,
    cpu_seconds=240,
    memory=1024 * 1024 * 1024,
    processes=4,
    output=4 * extraction.LONGEST_TEXT,
)

PIECE = 256 * 1024
"""Characters of a document's text that are cut at once."""


class Document:
    """A document whose text is taken out of it behind walls."""

    has_headings = True

    def __init__(self, store: Store, sandbox: Sandbox, file: File, kind: FileKind) -> None:
        self.media_type = kind.media_type
        self._store, self._sandbox, self._file, self._kind = store, sandbox, file, kind

    async def read(self) -> AsyncGenerator[tuple[str, int], None]:
        """Yield its text piece by piece, all of its bytes being read then.

        Raises:
            JobFailed: it cannot be read, or not here; the message says why.
            JobDelayed: too much other code is being run.
        """
        text = await self._extract()
        for start in range(0, len(text), PIECE):
            yield text[start : start + PIECE], self._file.size

    async def _extract(self) -> str:
        assert self._file.upload_id is not None
        await asyncio.to_thread(delete_abandoned)
        with folder_for_a_while() as closed:
            folder = closed / "shown"  # to the user behind the walls; nobody else comes this far
            folder.mkdir(mode=0o755)
            folder.chmod(0o755)
            path = folder / "document"
            with path.open("wb") as target:
                await copy_to(self._store, self._file.upload_id, target)
            path.chmod(0o444)
            call = Call(
                _source(extraction.__file__),
                entry="extract",
                arguments={
                    "path": str(path),
                    "kind": self._kind.kind,
                    "packages": _packages(),
                    "modules": _modules(),
                },
                limits=LIMITS,
                readable=(folder, *map(Path, _packages())),
            )
            try:
                result = await self._sandbox.run(call)
            except SandboxBusy as error:
                raise JobDelayed(error.message, 5) from error
            except SandboxUnavailable as error:
                raise JobFailed(
                    f"{self._name} files are read behind walls only, and {error.message}. Upload it as text."
                ) from error
        return self._text(result)

    def _text(self, result: Result) -> str:
        told = result.value if isinstance(result.value, dict) else {}
        if isinstance(told.get("missing"), str):
            raise JobFailed(
                f"The server has no package that reads {self._name} files ({told['missing'][:50]}). Install it: {EXTRA}"
            )
        reason = told.get("error") or result.error
        if reason is not None or "characters" not in told:
            raise JobFailed(f"The {self._name} file cannot be read: {str(reason)[-500:]}.")
        return result.stdout

    @property
    def _name(self) -> str:
        return self._kind.kind.upper()


@cache
def _modules() -> dict[str, str]:
    """Return the sources of the modules that read documents, by their names."""
    paths = [Path(folder) for folder in formats.__path__]
    readers = {f"{formats.__name__}.{path.stem}": path for folder in paths for path in folder.glob("[a-z]*.py")}
    return {name: path.read_text() for name, path in {**readers, readable.__name__: Path(readable.__file__)}.items()}


@cache
def _source(path: str) -> str:
    return Path(path).read_text()


@cache
def _packages() -> list[str]:
    """Return where this server's packages lie."""
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(str(Path(paths[name]).resolve()) for name in ("purelib", "platlib")))
