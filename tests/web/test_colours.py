"""The authors' colours: enough contrast on both themes, and one for each agent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from folkmoot.memory.authors import Author
from folkmoot.web import colours
from folkmoot.web.colours import COLOURS, NEUTRAL, Palette

STYLE = Path(colours.__file__).parent / "static" / "style.css"
AA = 4.5


def values() -> dict[str, tuple[str, str]]:
    """Return each colour's value on the light and on the dark theme."""
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE.read_text())
    return {name: (light, dark) for name, light, dark in found}


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "paper", "sunken"])
def test_words_in_every_colour_can_be_read(theme: int, ground: str) -> None:
    known = values()
    names = [*(f"c{number}" for number in range(COLOURS + 1)), "ink", "soft", "fail", "wait", "ok", "focus"]
    too_weak = {
        name: round(contrast(known[name][theme], known[ground][theme]), 2)
        for name in names
        if contrast(known[name][theme], known[ground][theme]) < AA
    }
    assert too_weak == {}


def test_agents_have_colours_in_the_order_of_their_creation() -> None:
    ids = [f"agent-{number}" for number in range(40)]
    palette = Palette.of(ids)
    assert palette.agent(ids[0]) == "c1 p0"
    assert palette.agent(ids[11]) == "c12 p0"
    assert palette.agent(ids[12]) == "c1 p1"
    assert len({palette.agent(agent_id) for agent_id in ids}) == 40


def test_who_is_no_agent_has_the_neutral_colour() -> None:
    palette = Palette.of(["agent-a"])
    assert palette.author(Author("api", name="admin")) == NEUTRAL
    assert palette.author(Author("agent", "agent-a", "a")) == "c1 p0"
    assert re.fullmatch(r"c\d+ p\d", palette.author(Author("agent", "agent-gone", "gone")))
