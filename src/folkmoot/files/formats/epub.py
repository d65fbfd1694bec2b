"""Text of EPUB books: their pages, in the order in which they are read."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote

from folkmoot.files.formats.parts import Parts, Unreadable, all_of
from folkmoot.files.readable import readable_text

FONTS_ONLY = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"""How fonts are made unusable elsewhere; the text of such a book is not encrypted."""


def read(path: str) -> Iterator[str]:
    """Yield a book's text."""
    parts = Parts(path)
    if "META-INF/encryption.xml" in parts.names:
        ways = (each.get("Algorithm") for each in all_of(parts.root("META-INF/encryption.xml"), "EncryptionMethod"))
        if not all(way in FONTS_ONLY for way in ways):
            raise Unreadable("it is encrypted (DRM); upload it without")
    place = next(all_of(parts.root("META-INF/container.xml"), "rootfile")).attrib["full-path"]
    package = parts.root(place)
    items = {item.attrib["id"]: item.attrib["href"] for item in all_of(package, "item")}
    for reference in all_of(package, "itemref"):
        page = items.get(reference.get("idref", ""))
        name = posixpath.normpath(posixpath.join(posixpath.dirname(place), unquote(page or "")))
        if name in parts.names:
            yield readable_text(parts.archive.read(name), "utf-8", "", whole=True)
