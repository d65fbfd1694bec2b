"""The memory blocks as a prompt shows them, and as the offline model reads them back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from folkmoot.models.frames import Frame, read_frames, render_frames

_OUTER = "memory_blocks"
_ABOUT_SOMEONE = ("persona", "human")


@dataclass(frozen=True, slots=True)
class ShownBlock:
    """A block as a model sees it. `access` is what the agent may do with it: write, append or read."""

    label: str
    value: str
    limit: int
    description: str | None
    version: int
    access: str

    @property
    def read_only(self) -> bool:
        """Whether the agent can change it at all."""
        return self.access == "read"


def render_blocks(blocks: Sequence[ShownBlock]) -> str:
    """Return the blocks for a prompt, their texts unchanged."""
    return render_frames(_OUTER, [Frame("block", _attributes(block), block.value) for block in blocks])


def shown_blocks(memory: str) -> list[ShownBlock]:
    """Return the blocks that `render_blocks` put into a prompt's memory."""
    return [
        ShownBlock(
            label=frame.attributes["label"],
            value=frame.text,
            limit=int(frame.attributes["limit"]),
            description=frame.attributes.get("description"),
            version=int(frame.attributes["version"]),
            access=frame.attributes["access"],
        )
        for frame in read_frames(memory, _OUTER)
    ]


def _attributes(block: ShownBlock) -> dict[str, str]:
    described = {} if block.description is None else {"description": block.description}
    return {
        "label": block.label,
        "access": block.access,
        "read_only": str(block.read_only).lower(),
        "version": str(block.version),
        "characters": str(len(block.value)),
        "limit": str(block.limit),
        **described,
    }


def named_block(blocks: Sequence[ShownBlock], request: str) -> ShownBlock | None:
    """Return the block whose label a request names, quoted or beside the word block or memory."""
    for shape in (r"[\"“'`]{label}[\"”'`]", r"\b{label}\s+(?:memory|block)", r"\bblock\s+{label}\b"):
        for block in blocks:
            if re.search(shape.format(label=_loosely(block.label)), request, re.IGNORECASE):
                return block
    return None


def find_block(blocks: Sequence[ShownBlock], request: str) -> ShownBlock | None:
    """Return the block that a request speaks of.

    That is the one that it names, or whose label stands anywhere in it, else the first writable one that is about
    neither the agent nor its human, else any writable one.
    """
    if named := named_block(blocks, request):
        return named
    writable = [block for block in blocks if not block.read_only]
    for block in writable:
        if re.search(rf"\b{_loosely(block.label)}\b", request, re.IGNORECASE):
            return block
    return next((block for block in writable if block.label not in _ABOUT_SOMEONE), next(iter(writable), None))


def _loosely(label: str) -> str:
    return r"[\s_-]+".join(re.escape(word) for word in re.split(r"[\s_-]+", label))
