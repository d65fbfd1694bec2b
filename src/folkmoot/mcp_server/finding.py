"""Search: lines of blocks, passages of archives, and messages of agents for who may see them; adding a passage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from folkmoot.archives.passages import LONGEST_TEXT, NewPassage, Passage, PassageFilter, add_passages
from folkmoot.archives.search import PassageSearch, search_passages
from folkmoot.conversations.search import FoundMessage, MessageSearch, search_for
from folkmoot.mcp_server.member import Member
from folkmoot.mcp_server.tool import Answer, Arguments, Report
from folkmoot.memory.blocks import Block
from folkmoot.memory.edits import bare_lines
from folkmoot.memory.listing import blocks_containing
from folkmoot.models.frames import printable_json
from folkmoot.server.wire.common import Tag, Text
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
    """Find lines of the member's blocks, passages of its archives, and messages where it may see them."""
    words = wanted.query.casefold().split()
    if not words:
        return Answer("Nothing was found: the query has no words.", {"found": []})
    store, services = member.state.store, member.state.services

    async def read(transaction: Transaction) -> list[Block]:
        return await blocks_containing(transaction, member.block_ids, max(words, key=len), MOST_BLOCKS_READ)

    found = await store.scan(read, lambda blocks: _lines_with(blocks, words, wanted.limit))
    among = PassageFilter(archive_ids=member.archive_ids)
    passages = PassageSearch(wanted.query, among, limit=wanted.limit)
    found += [_passage(each.passage) for each in (await search_passages(store, services.embeddings, passages)).passages]
    if member.may_search_messages:
        messages = await search_for(store, MessageSearch(query=wanted.query, limit=wanted.limit))
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


class AddPassage(Arguments):
    """What to keep, and where."""

    archive: Text = Field(description="The archive's name, or its identifier; list_memory says which there are.")
    text: Text = Field(
        min_length=1, max_length=LONGEST_TEXT, description="What to keep; it is found by its words and its meaning."
    )
    tags: list[Tag] = Field([], max_length=20, description="Words to find it by.")


async def add_passage(member: Member, wanted: AddPassage, report: Report) -> Answer:
    """Add a passage to an archive.

    Raises:
        NotReached: there is no such archive that the member reaches.
        Forbidden: it may only search it.
    """
    new = await asyncio.to_thread(NewPassage.of, wanted.text, wanted.tags)

    async def write(transaction: Transaction) -> Passage:
        archive_id = await member.archive_id(transaction, wanted.archive)
        (added,) = await add_passages(transaction, archive_id, [new], member.state.author)
        return added

    added = await member.state.store.write(write)
    return Answer(f"Done: the archive {wanted.archive!r} has it as {added.id}.", {"id": added.id})


def _passage(passage: Passage) -> dict[str, Any]:
    return {
        "passage": passage.id,
        "archive_id": passage.archive_id,
        "by": str(passage.author),
        "at": clock.to_datetime(passage.created_at).isoformat(),
        "text": _clipped(passage.text),
    }


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
