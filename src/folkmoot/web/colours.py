"""One colour for each author, the same on every page: agents take theirs in the order in which they were created.

There are `COLOURS` of them in the style sheet, `c1` to `c12`; after those they repeat with another pattern, `p1` to
`p3`. A member's follows from its key's identifier. Whoever else writes through the API has the neutral `c0`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from folkmoot.agents.overview import agents_by_age
from folkmoot.memory.authors import Author
from folkmoot.store.engine import Transaction

COLOURS = 12
PATTERNS = 4
NEUTRAL = "c0 p0"


@dataclass(frozen=True, slots=True)
class Palette:
    """Each agent's place in the order of creation, from which its colour follows."""

    places: Mapping[str, int]

    @classmethod
    def of(cls, agent_ids: Sequence[str]) -> Palette:
        """Return the palette of agents in their order of creation."""
        return cls({agent_id: place for place, agent_id in enumerate(agent_ids)})

    def agent(self, agent_id: str) -> str:
        """Return an agent's classes in the style sheet; an agent that was deleted has some colour too.

        >>> Palette.of(["agent-a", "agent-b"]).agent("agent-b")
        'c2 p0'
        """
        place = self.places.get(agent_id, zlib.crc32(agent_id.encode()))
        return f"c{place % COLOURS + 1} p{place // COLOURS % PATTERNS}"

    def colours_of(self, agent_ids: Iterable[str]) -> dict[str, str]:
        """Return the classes of several agents, for a script."""
        return {agent_id: self.agent(agent_id) for agent_id in agent_ids}

    def author(self, author: Author) -> str:
        """Return an author's classes in the style sheet."""
        return self.agent(author.id) if author.type in ("agent", "member") and author.id else NEUTRAL


async def read_palette(transaction: Transaction) -> Palette:
    """Return the colours as they are now."""
    return Palette.of(await agents_by_age(transaction))
