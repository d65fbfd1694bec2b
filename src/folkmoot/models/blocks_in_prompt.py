"""The memory blocks as a prompt shows them, read back for the offline model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape

_BLOCK = re.compile(r"<(?:memory_)?block\b(?P<attributes>[^>]*)>(?P<value>.*?)</(?:memory_)?block>", re.DOTALL)
_ATTRIBUTE = re.compile(r"([\w-]+)\s*=\s*\"([^\"]*)\"")
_VALUE = re.compile(r"<value>(.*?)</value>", re.DOTALL)
_TAG = re.compile(r"</?\w[^>]*>")
_ABOUT_SOMEONE = ("persona", "human")


@dataclass(frozen=True, slots=True)
class ShownBlock:
    """A block of the prompt: `<block label="…" read_only="…">value</block>`."""

    label: str
    value: str
    read_only: bool


def shown_blocks(memory: str) -> list[ShownBlock]:
    """Return the blocks in a prompt's memory text; what does not look like a block is passed over."""
    blocks = []
    for match in _BLOCK.finditer(memory):
        attributes = dict(_ATTRIBUTE.findall(match["attributes"]))
        label = unescape(attributes.get("label", "")).strip()
        if not label:
            continue
        inner = _VALUE.search(match["value"])
        value = unescape(inner[1] if inner else _TAG.sub("", match["value"])).strip()
        blocks.append(ShownBlock(label, value, attributes.get("read_only", "false").lower() == "true"))
    return blocks


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
