"""Where Markdown ends."""

from __future__ import annotations

from folkmoot.web.markdown import LONGEST_RENDERED, markdown


def test_what_is_too_much_for_the_parser_is_shown_as_it_was_written() -> None:
    for text in ("**a** " * (LONGEST_RENDERED // 6 + 1), "[" * 2000):
        assert markdown(text) == f'<p class="as-written">{text}</p>'
    assert "style=" not in markdown("|a|\n|--:|\n|b|"), "the policy forbids inline styles"
