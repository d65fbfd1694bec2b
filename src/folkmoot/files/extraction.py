"""Text out of documents, as Markdown; it runs behind the sandbox's walls, since parsers are attacked through documents.

Only its source goes there: it imports nothing of the server, and of other packages what a kind of document needs.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

LONGEST_TEXT = 20_000_000
"""Characters of text that are taken out of a document."""

READERS = {"odt": "opendocument", "ods": "opendocument", "odp": "opendocument"}
"""Which module of `formats` reads a kind of document, where it is called otherwise."""


class Sent(MetaPathFinder, InspectLoader):
    """Imports the modules whose sources were sent along."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        """Import those of `sources`, by their full names."""
        self._sources = sources

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of a module that was sent."""
        is_package = any(name.startswith(f"{fullname}.") for name in self._sources)
        if fullname not in self._sources and not is_package:
            return None
        return ModuleSpec(fullname, self, is_package=is_package)

    def get_source(self, fullname: str) -> str:
        """Return a module's source; that of a package that has none is empty."""
        return self._sources.get(fullname, "")


def extract(path: str, kind: str, packages: list[str], modules: dict[str, str]) -> dict[str, Any]:
    """Print a document's text and return how many characters it has, or `error`: why there is none.

    Args:
        path: where the document lies.
        kind: what it is, as `kinds.Kind` has it.
        packages: folders of packages.
        modules: sources of the modules that read it, by their names.
    """
    sys.path.extend(packages)
    sys.meta_path.insert(0, Sent(modules))
    from folkmoot.files.formats.parts import Unreadable

    try:
        characters = _write(import_module(f"folkmoot.files.formats.{READERS.get(kind, kind)}").read(path))
    except Unreadable as error:
        return {"error": str(error)}
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    except zipfile.BadZipFile:
        return {"error": "it is damaged: some of it is missing, or is not what was packed"}
    except (MemoryError, RecursionError):
        return {"error": "it is nested too deeply, or unpacks to more than there is memory for"}
    except Exception as error:
        return {"error": f"it is damaged or not what it says it is ({type(error).__name__}: {str(error)[:200]})"}
    if characters > LONGEST_TEXT:
        return {"error": f"it has more than {LONGEST_TEXT:,} characters of text; upload it in parts"}
    return {"characters": characters}


def _write(parts: Iterator[str]) -> int:
    """Print the parts of a text and return how many characters they have; stop where these are too many."""
    written = 0
    for part in parts:
        text = part.replace("\0", "\ufffd").strip("\n")
        written += len(text) + 2
        if written > LONGEST_TEXT:
            break
        if text:
            sys.stdout.write(text + "\n\n")
    return written
