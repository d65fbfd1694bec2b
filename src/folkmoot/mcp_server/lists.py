"""What a member is listed, so that it can be told when that is something else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from folkmoot.mcp_server.member import Member
from folkmoot.mcp_server.tools import TOOLS
from folkmoot.memory.listing import labels_of


@dataclass(frozen=True, slots=True)
class Lists:
    """What the lists of tools and of resources have for a member."""

    tools: tuple[str, ...]
    """Their names."""

    resources: Mapping[str, str]
    """Labels by the blocks' identifiers; none for a key without named blocks, which reaches too many to look at."""

    @property
    def fingerprint(self) -> str:
        """What tells these lists from others, in a few letters."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


async def lists_of(member: Member) -> Lists:
    """Return what a member is listed now."""
    tools = tuple(tool.name for tool in TOOLS if tool.offered_to(member))
    ids = member.block_ids
    if ids is None:
        return Lists(tools, {})
    return Lists(tools, await member.state.store.read(lambda transaction: labels_of(transaction, ids)))
