"""Blocks of one label, told apart: most agents have a `persona` of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from folkmoot.agents.overview import holder_names
from folkmoot.memory.blocks import Block
from folkmoot.memory.listing import BlockEntry
from folkmoot.store.engine import Transaction


async def told_apart(transaction: Transaction, blocks: Sequence[Block | BlockEntry]) -> Mapping[str, str]:
    """Return what to say beside the label of each block that has it in common with another of these, by identifier."""
    count = Counter(block.label for block in blocks)
    shared = [block.id for block in blocks if count[block.label] > 1]
    names = await holder_names(transaction, shared)
    return {block_id: _words(block_id, names.get(block_id, ())) for block_id in shared}


def _words(block_id: str, holders: Sequence[str]) -> str:
    """Return who has a block, or the end of its identifier where nobody has it.

    >>> _words("block-1234567890", ()), _words("", ["Ada"]), _words("", ["Ada", "Bob", "Cy"])
    ('…567890', 'Ada', 'Ada and 2 more')
    """
    if not holders:
        return f"…{block_id[-6:]}"
    first, *others = holders
    return f"{first} and {len(others)} more" if others else first
