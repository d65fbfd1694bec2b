"""Search: lines of blocks, and messages of agents for who may see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from folkmoot.conversations.search import FoundMessage, MessageSearch, search_for
from folkmoot.mcp_server.member import Member
from folkmoot.mcp_server.tool import Answer, Arguments, Report
from folkmoot.memory.blocks import Block
from folkmoot.memory.edits import bare_lines
from folkmoot.memory.listing import blocks_containing
from folkmoot.models.frames import printable_json
from folkmoot.server.wire.common import Text
from folkmoot.store import clock
from folkmoot.store.engine import Transaction

LONGEST_SHOWN = 300
"""Characters of a line or a message that was found."""

MOST_BLOCKS_READ = 50


class Search(Arguments):
    """What is looked for."""

    query: Text = Field(min_length=1, max_length=1000, description="Words; a line must have all of them.")
    limit: int = Field(20, ge=1, le=100, description="How many lines, and how many messages.")


async def search(member: Member, wanted: Search, report: Report) -> Answer:
    """Find lines of the member's blocks, and messages where it may see them."""
    words = wanted.query.casefold().split()
    store = member.state.store

    async def read(transaction: Transaction) -> list[Block]:
        return await blocks_containing(transaction, member.block_ids, max(words, key=len), MOST_BLOCKS_READ)

    found = await store.scan(read, lambda blocks: _lines_with(blocks, words, wanted.limit))
    if member.may_search_messages:
        messages = search_for(store, MessageSearch(query=wanted.query, limit=wanted.limit))
        found += await store.scan(messages, lambda rows: [_message(row) for row in rows])
    return Answer("\n".join(map(printable_json, found)) or "Nothing was found.", {"found": found})


def _lines_with(blocks: Sequence[Block], words: Sequence[str], limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for block in blocks:
        for number, line in enumerate(bare_lines(block.value), 1):
            folded = line.casefold()
            if all(word in folded for word in words):
                found.append({"block": block.label, "id": block.id, "line": number, "text": _clipped(line)})
                if len(found) == limit:
                    return found
    return found


def _message(found: FoundMessage) -> dict[str, Any]:
    message = found.message
    said = message.body.get("content", message.body.get("tool_return"))
    return {
        "message": message.id,
        "agent": found.agent_id,
        "kind": message.message_type.removesuffix("_message"),
        "at": clock.to_datetime(message.created_at).isoformat(),
        "text": _clipped(said if isinstance(said, str) else printable_json(said)),
    }


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
