"""The map of the moot: which agents and blocks are shown, in which order, and the lines between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from folkmoot.memory.attachments import Access, Attachment
from folkmoot.memory.listing import BlockEntry
from folkmoot.web.untangling import untangle

SHOWN = 60
"""Agents, and blocks, that have a row of their own; the rest folds."""

MOST_FOLDS = 8
"""Tags by which agents, or blocks, fold; what has none of them folds together."""

ROW = 60
"""Height of a row, in pixels; the style sheet has the same."""

_WIDEST: Sequence[Access] = ("read", "append", "write")
"""Each allows what those before it do."""


class Identified(Protocol):
    """What has an identifier."""

    @property
    def id(self) -> str:
        """Its identifier."""


class Holder(Identified, Protocol):
    """Who has blocks: an agent, or a member."""

    @property
    def name(self) -> str:
        """What it is called."""


Item = TypeVar("Item", bound=Identified)


@dataclass(frozen=True, slots=True)
class Fold(Generic[Item]):
    """A row that stands for several agents or blocks, which have a tag in common; none where `tag` is empty."""

    id: str
    tag: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Line:
    """Attachments as they are drawn, from a row on the left to one on the right; the widest access of them."""

    start: str
    end: str
    access: Access
    path: str
    is_of_fold: bool
    """Whether it leads to or from a row that stands for several."""


@dataclass(frozen=True, slots=True)
class MootMap:
    """What is drawn, and what folds."""

    agents: Sequence[Holder]
    blocks: Sequence[BlockEntry]
    agent_folds: Sequence[Fold[Holder]]
    block_folds: Sequence[Fold[BlockEntry]]
    lines: Sequence[Line]
    holders: Mapping[str, Sequence[Attachment]]
    endings: Mapping[str, str]
    """The end of the identifier, of what shares its name with another row."""

    @property
    def height(self) -> int:
        """The drawing's height, in pixels."""
        rows = max(len(self.agents) + len(self.agent_folds), len(self.blocks) + len(self.block_folds))
        return ROW * max(rows, 1)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which agents and blocks have a row of their own, and which fold."""

    agents: Sequence[Holder]
    blocks: Sequence[BlockEntry]
    more_agents: Sequence[Holder]
    more_blocks: Sequence[BlockEntry]
    attachments: Sequence[Attachment]


def choose(agents: Sequence[Holder], blocks: Sequence[BlockEntry], attachments: Sequence[Attachment]) -> Choice:
    """Choose what has a row of its own: the blocks that were written last, and who has them before who has not.

    Args:
        agents: those that are wanted, the oldest first, and members behind them.
        blocks: those that are wanted.
        attachments: all there are, and what members reach; those of others are left out.
    """
    known_agents, known_blocks = {agent.id for agent in agents}, {block.id for block in blocks}
    held = [each for each in attachments if each.agent_id in known_agents and each.block_id in known_blocks]
    recent = sorted(blocks, key=lambda block: block.updated_at, reverse=True)[:SHOWN]
    shown = {block.id for block in recent}
    sharing = {each.agent_id for each in held if each.block_id in shown}
    first = {agent.id for agent in sorted(agents, key=lambda agent: agent.id not in sharing)[:SHOWN]}
    return Choice(
        agents=[agent for agent in agents if agent.id in first],
        blocks=sorted(recent, key=lambda block: block.created_at),
        more_agents=[agent for agent in agents if agent.id not in first],
        more_blocks=[block for block in blocks if block.id not in shown],
        attachments=held,
    )


def draw(choice: Choice, tags: Mapping[str, Sequence[str]]) -> MootMap:
    """Order the rows so that few lines cross, fold the rest by tags, and draw the lines.

    Args:
        choice: what has a row of its own, and what folds.
        tags: those of the agents that fold.
    """
    agent_folds = _fold("agents", choice.more_agents, tags)
    block_folds = _fold("blocks", choice.more_blocks, {block.id: block.tags for block in choice.more_blocks})
    own_agents, own_blocks = {each.id: each for each in choice.agents}, {each.id: each for each in choice.blocks}
    rows = {each: each for each in (*own_agents, *own_blocks)}
    rows |= {agent.id: fold.id for fold in agent_folds for agent in fold.items}
    rows |= {block.id: fold.id for fold in block_folds for block in fold.items}
    fixed = {block.id for block in (*choice.blocks, *choice.more_blocks) if block.read_only}
    drawn = _joined(choice.attachments, rows, fixed)
    own = {pair for pair in drawn if pair[0] in own_agents and pair[1] in own_blocks}
    left, right = untangle([*own_agents], [*own_blocks], [pair for pair in drawn if pair in own])
    left_rows = _places([*left, *(fold.id for fold in agent_folds)])
    right_rows = _places([*right, *(fold.id for fold in block_folds)])
    holders: dict[str, list[Attachment]] = {}
    for each in choice.attachments:
        holders.setdefault(each.block_id, []).append(each)
    return MootMap(
        agents=[own_agents[each] for each in left],
        blocks=[own_blocks[each] for each in right],
        agent_folds=agent_folds,
        block_folds=block_folds,
        lines=[
            Line(start, end, access, _path(left_rows[start], right_rows[end]), (start, end) not in own)
            for (start, end), access in drawn.items()
        ],
        holders=holders,
        endings={
            **_endings((agent.id, agent.name) for agent in choice.agents),
            **_endings((block.id, block.label) for block in choice.blocks),
        },
    )


def around(
    center: str, agents: Sequence[Holder], blocks: Sequence[BlockEntry], attachments: Sequence[Attachment]
) -> tuple[list[Holder], list[BlockEntry]]:
    """Return an agent with its blocks and who else has these, or a block with who has it and what else they have.

    Args:
        center: the agent, the member or the block.
        agents: all of them, and members.
        blocks: all of them.
        attachments: all there are, and what members reach.
    """
    reached = {center}
    beside = [{each.agent_id, each.block_id} for each in attachments]
    for _ in range(2):
        reached = reached.union(*(pair for pair in beside if pair & reached))
    return [each for each in agents if each.id in reached], [each for each in blocks if each.id in reached]


def _fold(kind: str, items: Sequence[Item], tags: Mapping[str, Sequence[str]]) -> list[Fold[Item]]:
    """Return the rows that stand for `items`: one for each of the commonest tags, and one for what has none of them."""
    counted = Counter(tag for item in items for tag in tags.get(item.id, ()))
    common = [tag for tag, count in counted.most_common(MOST_FOLDS) if count > 1]
    by_tag: dict[str, list[Item]] = {tag: [] for tag in [*common, ""]}
    for item in items:
        by_tag[next((tag for tag in common if tag in tags.get(item.id, ())), "")].append(item)
    filled = [(tag, some) for tag, some in by_tag.items() if some]
    return [Fold(f"folded-{kind}-{number}", tag, some) for number, (tag, some) in enumerate(filled)]


def _joined(
    attachments: Sequence[Attachment], rows: Mapping[str, str], fixed: set[str]
) -> dict[tuple[str, str], Access]:
    """Return between which rows there is a line, with the widest access; of a read-only block there is only reading."""
    joined: dict[tuple[str, str], Access] = {}
    for each in attachments:
        pair = (rows[each.agent_id], rows[each.block_id])
        access: Access = "read" if each.block_id in fixed else each.access
        joined[pair] = max(joined.get(pair, access), access, key=_WIDEST.index)
    return joined


def _endings(named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the end of the identifier of each of these that has a name in common with another."""
    pairs = list(named)
    count = Counter(name for _, name in pairs)
    return {each: each[-6:] for each, name in pairs if count[name] > 1}


def _places(column: Sequence[str]) -> dict[str, int]:
    return {each: place for place, each in enumerate(column)}


def _path(agent_row: int, block_row: int) -> str:
    """Return a line from the middle of one row to the middle of another, across a drawing of width 100."""
    start, end = agent_row * ROW + ROW // 2, block_row * ROW + ROW // 2
    return f"M0,{start} C45,{start} 55,{end} 100,{end}"
