"""The map of the moot: which agents and blocks are shown, in which order, and the lines between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from folkmoot.memory.attachments import Access, Attachment
from folkmoot.memory.blocks import Block

SHOWN = 60
"""Agents, and blocks, that the map draws; the rest folds."""

ROW = 60
"""Height of a row, in pixels; the style sheet has the same."""


class Holder(Protocol):
    """Who has blocks: an agent, or a member."""

    @property
    def id(self) -> str:
        """Its identifier."""

    @property
    def name(self) -> str:
        """What it is called."""


@dataclass(frozen=True, slots=True)
class Line:
    """An attachment as it is drawn, from the holder on the left to the block on the right."""

    agent_id: str
    block_id: str
    access: Access
    path: str


@dataclass(frozen=True, slots=True)
class MootMap:
    """What is drawn, and what folds."""

    agents: Sequence[Holder]
    blocks: Sequence[Block]
    more_agents: Sequence[Holder]
    more_blocks: Sequence[Block]
    lines: Sequence[Line]
    holders: Mapping[str, Sequence[Attachment]]

    @property
    def height(self) -> int:
        """The drawing's height, in pixels."""
        return ROW * max(len(self.agents), len(self.blocks), 1)


def draw(agents: Sequence[Holder], blocks: Sequence[Block], attachments: Sequence[Attachment]) -> MootMap:
    """Choose what is shown, order it so that few lines cross, and draw the lines.

    Args:
        agents: those that are wanted, the oldest first, and members behind them.
        blocks: those that are wanted.
        attachments: all there are, and what members reach; those of others are left out.
    """
    known_agents, known_blocks = {agent.id for agent in agents}, {block.id for block in blocks}
    held = [each for each in attachments if each.agent_id in known_agents and each.block_id in known_blocks]
    recent = sorted(blocks, key=lambda block: block.updated_at, reverse=True)[:SHOWN]
    shown_ids = {block.id for block in recent}
    sharing = {each.agent_id for each in held if each.block_id in shown_ids}
    first = sorted(agents, key=lambda agent: agent.id not in sharing)[:SHOWN]
    chosen = {agent.id for agent in first}
    shown_agents = [agent for agent in agents if agent.id in chosen]
    rows = {agent.id: row for row, agent in enumerate(shown_agents)}
    drawn = [each for each in held if each.agent_id in rows and each.block_id in shown_ids]
    shown_blocks = sorted(recent, key=lambda block: (_middle(block.id, drawn, rows), block.created_at))
    block_rows = {block.id: row for row, block in enumerate(shown_blocks)}
    holders: dict[str, list[Attachment]] = {}
    for each in held:
        holders.setdefault(each.block_id, []).append(each)
    return MootMap(
        agents=shown_agents,
        blocks=shown_blocks,
        more_agents=[agent for agent in agents if agent.id not in chosen],
        more_blocks=[block for block in blocks if block.id not in shown_ids],
        lines=[
            Line(each.agent_id, each.block_id, each.access, _path(rows[each.agent_id], block_rows[each.block_id]))
            for each in drawn
        ],
        holders=holders,
    )


def _middle(block_id: str, drawn: Sequence[Attachment], rows: Mapping[str, int]) -> float:
    """Return the middle of the rows of a block's agents; blocks that nobody has come last."""
    places = [rows[each.agent_id] for each in drawn if each.block_id == block_id]
    return sum(places) / len(places) if places else float("inf")


def _path(agent_row: int, block_row: int) -> str:
    """Return a line from the middle of one row to the middle of another, across a drawing of width 100."""
    start, end = agent_row * ROW + ROW // 2, block_row * ROW + ROW // 2
    return f"M0,{start} C45,{start} 55,{end} 100,{end}"
