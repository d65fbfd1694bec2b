"""Source code, line by line, in colours that the style sheet gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

LONGEST_COLOURED = 50_000
"""Characters of a source that is coloured; a longer one takes too long."""


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line of source code, ready to be shown."""

    number: int
    html: Markup
    marked: bool = False


def code_lines(source: str, language: Literal["python", "typescript"] = "python") -> list[CodeLine]:
    """Return the lines of source code, each as HTML of its own."""
    source = source.removesuffix("\n")
    if len(source) > LONGEST_COLOURED:
        lines = [escape(line) for line in source.splitlines()]
    else:
        from pygments import highlight  # heavy, and not for most pages
        from pygments.formatters.html import HtmlFormatter
        from pygments.lexers import get_lexer_by_name

        formatter = HtmlFormatter(nowrap=True, classprefix="code-")
        coloured: str = highlight(source, get_lexer_by_name(language, stripnl=False, ensurenl=False), formatter)
        lines = [Markup(line) for line in coloured.removesuffix("\n").split("\n")]  # noqa: S704 - pygments escapes what it colours
    return [CodeLine(number, line) for number, line in enumerate(lines, 1)]
