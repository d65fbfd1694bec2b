"""HTML to readable text, in a process of its own: `python -m folkmoot.files.readable CHARSET ADDRESS < page`.

A hostile page can make any parser slow or large. A process can be stopped, has bounds of its own, and does not hold up
the server's threads. It imports nothing of the server, so that it starts at once, and can be run in the sandbox too.
"""

from __future__ import annotations

import codecs
import re
import sys
from urllib.parse import urljoin

LARGEST_MEMORY = 1_000_000_000
"""Bytes of address space."""

LONGEST_COMPUTING = 15
"""Seconds of processor time."""

NOT_READ = (
    "script, style, template, noscript, nav, footer, button, select, textarea, iframe, svg, img, picture, video, "
    "audio, canvas, object, embed, [hidden]"
)
"""What is no text of the page, as a selector."""

KEPT = ("href", "start")
"""Attributes that say something to a reader of text."""

_META = re.compile(rb"""<meta\b[^>]*\bcharset\s*=\s*["']?\s*([\w:.-]+)""", re.IGNORECASE)
_META_WITHIN = 4096
_AS_BROWSERS_DO = {"ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949",
                   "shift_jis": "cp932"}  # fmt: skip
"""Encodings that browsers read as their supersets: https://encoding.spec.whatwg.org/#names-and-labels."""

_NOT_OF_PAGES = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7"}
"""Python's encodings that no page has, some of them slow."""

_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*){2,}")


def readable_text(page: bytes, charset: str, address: str, *, whole: bool = False) -> str:
    """Return a page's title and what it says, in Markdown, its links as whole addresses.

    Args:
        page: the page as it was sent.
        charset: what the server says its encoding is; empty to look for that in the page.
        address: where it was read, which its links are relative to.
        whole: to read all of it, and not only what it calls its main part.
    """
    from justhtml import Drop, JustHTML

    # Not sanitized, which takes the parts of a page apart: its text is shown to a model, never to a browser.
    document = JustHTML(decode_page(page, charset), sanitize=False, transforms=[Drop(NOT_READ)])
    titles = document.query("title")
    title = " ".join(titles[0].to_text().split()) if titles else ""
    for element in document.query("*"):
        kept = {name: value for name, value in (element.attrs or {}).items() if name in KEPT}
        if link := kept.get("href"):
            kept["href"] = _absolute(address, link)
        element.attrs = kept
    mains = [] if whole else document.query("main") or document.query("article")
    bodies = mains or document.query("body")
    text = "\n\n".join(body.to_markdown() for body in bodies)
    text = _BLANK_LINES.sub("\n\n", text).strip()
    return f"# {title}\n\n{text}" if title and not text.startswith(f"# {title}") else text


def decode_page(content: bytes, charset: str) -> str:
    """Return a page's characters: by its first bytes, the server's word, its own word, or as UTF-8 if it is that."""
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-8-sig" if content.startswith(codecs.BOM_UTF8) else "utf-16", errors="replace")
    own = _META.search(content[:_META_WITHIN])
    for label in (charset, own[1].decode("ascii", "replace") if own else ""):
        if name := _encoding(label):
            return content.decode(name, errors="replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _encoding(label: str) -> str | None:
    """Return Python's name of an encoding of pages."""
    try:
        name = codecs.lookup(label).name
        if name in _NOT_OF_PAGES:
            return None
        b" ".decode(name)
    except LookupError:  # unknown, or no encoding of text
        return None
    return _AS_BROWSERS_DO.get(name, name)


def _absolute(address: str, link: str) -> str:
    try:
        return urljoin(address, link)
    except ValueError:  # such as http://[
        return link


def _bound_itself() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (LARGEST_MEMORY, LARGEST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_COMPUTING, LONGEST_COMPUTING))


if __name__ == "__main__":
    _bound_itself()
    text = readable_text(sys.stdin.buffer.read(), sys.argv[1], sys.argv[2])
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
