"""What the formats of zipped XML have in common: their parts, their elements, a table's row, and why one is unreadable.

Elements are known by their names without namespaces, which differ between the editions of a format.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterable, Iterator
from typing import TypeAlias
from urllib.parse import unquote
from xml.etree import ElementTree

LARGEST_UNPACKED = 500_000_000
"""Bytes that the parts of a document may have when they are unpacked."""

Element: TypeAlias = ElementTree.Element


class Unreadable(Exception):
    """A document has no text that can be read; the message says why."""


class Parts:
    """The parts of a document that is a ZIP file, and what they say of each other (Office Open XML)."""

    def __init__(self, path: str) -> None:
        """Open the file at `path`.

        Raises:
            Unreadable: it is encrypted, or too large when it is unpacked.
        """
        self.archive = zipfile.ZipFile(path)
        self.names = set(self.archive.namelist())
        if any(part.flag_bits & 1 for part in self.archive.infolist()):
            raise Unreadable("it is encrypted; upload it without a password")
        size = sum(part.file_size for part in self.archive.infolist())
        if size > LARGEST_UNPACKED:
            raise Unreadable(f"it would unpack to {size:,} bytes, and may have {LARGEST_UNPACKED:,}")

    def root(self, name: str) -> Element:
        """Return a part's root element."""
        with self.archive.open(name) as part:
            return ElementTree.parse(part).getroot()  # noqa: S314 - behind walls

    def related(self, name: str) -> dict[str, tuple[str, str]]:
        """Return the parts that a part names, by their identifiers: how they are related, and their names."""
        folder, _, last = name.rpartition("/")
        relations = posixpath.join(folder, "_rels", f"{last}.rels")
        found: dict[str, tuple[str, str]] = {}
        for each in self.root(relations) if relations in self.names else ():
            target = posixpath.normpath(posixpath.join("/", folder, unquote(each.get("Target", "")))).lstrip("/")
            if each.get("TargetMode") != "External" and target in self.names:
                found[each.get("Id", "")] = (each.get("Type", "").rpartition("/")[2], target)
        return found

    def of_type(self, name: str, relation: str) -> list[str]:
        """Return the names of the parts that are related to a part in one way."""
        return [target for kind, target in self.related(name).values() if kind == relation]

    def main(self) -> str:
        """Return the name of the part that is the document.

        Raises:
            Unreadable: there is none.
        """
        for name in self.of_type("", "officeDocument"):
            return name
        raise Unreadable("it is damaged or not what it says it is (it names no main part)")


def local(element: Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def attribute(element: Element, name: str) -> str | None:
    """Return an attribute's value, whichever namespace it has."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return value
    return None


def first(element: Element, *path: str) -> Element | None:
    """Return the element that a path of children's names leads to."""
    for name in path:
        found = next((child for child in element if local(child) == name), None)
        if found is None:
            return None
        element = found
    return element


def all_of(element: Element, name: str) -> Iterator[Element]:
    """Yield the elements of a name, at any depth."""
    return (each for each in element.iter() if local(each) == name)


def children(element: Element) -> Iterator[Element]:
    """Yield an element's children; of what is there in two forms, for old and new programs, the first one."""
    for child in element:
        if local(child) == "AlternateContent":
            yield from child[0] if len(child) else ()
        else:
            yield child


def row(cells: Iterable[str]) -> str:
    r"""Return a table's row as a line.

    >>> row(["kettle", " red\nand blue", ""])
    'kettle | red and blue'
    """
    return " | ".join(" ".join(cell.split()) for cell in cells).rstrip(" |")
