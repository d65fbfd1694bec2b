"""What agents answer, as HTML: Markdown without raw HTML, whose links are marked and whose pictures are not fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LONGEST_RENDERED = 20_000
"""Characters of a text that is rendered; a longer one is shown as it was written."""

MOST_BRACKETS = 1000
"""Opening brackets in a text that is rendered; the parser's time grows with their square."""

SCHEMES = frozenset({"http", "https", "mailto", ""})
"""Where a link may lead; one that leads elsewhere stays text."""

_OUTSIDE = Markup('<a class="elsewhere" href="{}" title="{}" target="_blank" rel="noopener noreferrer nofollow">')
_CODE = Markup(
    '<div class="code-block"><button class="plain copy" type="button" data-copy="code" data-from="page">Copy</button>'
    '<pre role="group" tabindex="0" aria-label="Code"><code>{}</code></pre></div>\n'
)


@lru_cache(maxsize=512)
def markdown(text: str) -> Markup:
    """Return Markdown as HTML that loads nothing and runs nothing; what is too much for the parser as it was written.

    >>> print(markdown("**no** <script>"), end="")
    <p><strong>no</strong> &lt;script&gt;</p>
    """
    if len(text) > LONGEST_RENDERED or text.count("[") > MOST_BRACKETS:
        return Markup('<p class="as-written">{}</p>').format(text)
    return Markup(_parser().render(text))  # noqa: S704 - raw HTML is off, so all of it is the renderer's own


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # not for most pages

    class Parser(MarkdownIt):
        """Markdown as chats write it, whose links lead to pages and mail only."""

        def validateLink(self, url: str) -> bool:  # noqa: N802 - the library's name
            try:
                return urlsplit(url.strip()).scheme.lower() in SCHEMES
            except ValueError:
                return False

    parser = Parser("js-default", {"breaks": True})
    for name, rule in _RULES.items():
        parser.add_render_rule(name, rule)
    return parser


def _code(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return _CODE.format(tokens[index].content.removesuffix("\n"))


def _heading(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    """The page has headings of its own, among which these would be anywhere."""
    return f'<p class="heading {tokens[index].tag}">'


def _cell(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    """The security policy allows no inline styles."""
    side = str(tokens[index].attrs.get("style", "")).removeprefix("text-align:")
    return f'<{tokens[index].tag} class="{side}">' if side else f"<{tokens[index].tag}>"


def _link(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    address = str(tokens[index].attrs["href"])
    if address.startswith("/") and not address.startswith("//"):
        return Markup('<a href="{}">').format(address)
    return _OUTSIDE.format(address, address)


def _picture(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    """A picture's address may tell its server who reads this, so the reader decides."""
    address, words = str(tokens[index].attrs["src"]), tokens[index].content or "picture"
    links_open = sum({"link_open": 1, "link_close": -1}.get(token.type, 0) for token in tokens[:index])
    return escape(words) if links_open else _OUTSIDE.format(address, address) + escape(words) + Markup("</a>")


_RULES: Mapping[str, Callable[..., str]] = {
    "fence": _code,
    "code_block": _code,
    "heading_open": _heading,
    "heading_close": lambda *_: "</p>\n",
    "table_open": lambda *_: '<div class="table" role="group" tabindex="0" aria-label="Table"><table>\n',
    "table_close": lambda *_: "</table></div>\n",
    "th_open": _cell,
    "td_open": _cell,
    "link_open": _link,
    "image": _picture,
}
"""How elements are written of which the renderer's own form does not fit."""
