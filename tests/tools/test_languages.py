"""Long sources are read by another process, with the same answers."""

from __future__ import annotations

import pytest

from folkmoot.errors import BadRequest
from folkmoot.tools.custom import languages
from folkmoot.tools.custom.languages import LONGEST_READ_HERE, Language, describe_tool, read_tool

SOURCES: dict[Language, str] = {
    "python": 'def tool(a: str, b: int = 1):\n    """Do it.\n\n    Args:\n        a: The a.\n    """\n',
    "typescript": "/** Do it. @param a The a. */\nexport function tool(a: string, b = 1) {}\n",
}
FILLING: dict[Language, str] = {"python": "# a comment\n", "typescript": "// a comment\n"}


@pytest.mark.parametrize("language", SOURCES)
def test_a_long_source_is_read_elsewhere_as_a_short_one_is_here(
    language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = SOURCES[language]
    long = FILLING[language] * (LONGEST_READ_HERE[language] // 10) + short
    here, named = read_tool(language, short), describe_tool(language, short, "tool")

    def elsewhere_only(*_: object, **__: object) -> None:
        raise AssertionError("it was read here")

    for readers in (languages._READ, languages._DESCRIBE):
        monkeypatch.setitem(readers, language, elsewhere_only)
    assert read_tool(language, long) == here
    assert describe_tool(language, long, "tool") == named


@pytest.mark.parametrize("language", SOURCES)
def test_what_is_wrong_with_a_long_source_is_told_with_its_line(language: Language) -> None:
    lines = LONGEST_READ_HERE[language] // 10
    with pytest.raises(BadRequest) as raised:
        read_tool(language, FILLING[language] * lines + "((\n")
    assert raised.value.extra["line"] == lines + 1


def test_the_worst_source_does_not_end_its_reader() -> None:
    assert read_tool("python", "a;" * 90_000 + "\n" + SOURCES["python"]).name == "tool"
    with pytest.raises(BadRequest, match="too many nested"):
        read_tool("python", "(" * 200_000)
