"""Search over everything: messages, blocks, passages, agents and runs, each hit with the words around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from folkmoot.agents.agents import Agent
from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.archives.passages import PassageFilter
from folkmoot.archives.search import PassageSearch, search_passages
from folkmoot.conversations.search import FoundMessage, MessageSearch, search_for
from folkmoot.memory.blocks import Block
from folkmoot.memory.listing import BlockFilter, list_blocks
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.summaries import RunSummary, summarise
from folkmoot.server.state import ServerState
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page
from folkmoot.store.words import words_of
from folkmoot.web.word_diff import Piece
from folkmoot.web.words import asked_words, content_text

SHOWN = 20
"""Hits of each kind that are shown."""

FAILED_LOOKED_AT = 500
"""The newest runs that failed whose words and errors are looked through; what others said is among the messages."""

AROUND = 90
"""Characters on either side of the first word that was found."""

_IDENTIFIER = re.compile(r"(agent|block|run|step|tool|archive)-[0-9a-f]{8}-[0-9a-f-]{27}")


@dataclass(frozen=True, slots=True)
class Looking:
    """What is looked for: words, by which agent or member, and since when, in microseconds."""

    query: str
    author_id: str | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that was found: where it is, what it is called, the words around, whose it is, and when it was."""

    address: str
    title: str
    context: Sequence[Piece]
    author_id: str | None
    at: int


def address_of(query: str) -> str | None:
    """Return the page of an identifier; None for what is none.

    >>> address_of("block-123e4567-e89b-42d3-8456-426614174000")
    '/blocks/block-123e4567-e89b-42d3-8456-426614174000'
    """
    match = _IDENTIFIER.fullmatch(query.strip())
    return f"/{match[1]}s/{match[0]}" if match else None


async def find_everything(state: ServerState, looking: Looking) -> Mapping[str, list[Hit]]:
    """Return hits by their kind, at most `SHOWN` of each; passages by words alone, which no provider is asked for."""
    store = state.store
    search = MessageSearch(looking.query, looking.author_id, start=looking.since, limit=SHOWN)
    said: list[FoundMessage] = await store.scan(await search_for(store, search), lambda found: found)
    among = PassageFilter(start=looking.since, author=looking.author_id)
    wanted = PassageSearch(looking.query, among, "text", SHOWN)
    passages = await search_passages(store, state.services.embeddings, wanted)

    async def read(transaction: Transaction) -> tuple[list[Block], list[Agent], list[RunSummary]]:
        return (
            await _blocks(transaction, looking),
            await _agents(transaction, looking),
            await _runs_in_vain(transaction, looking),
        )

    blocks, agents, runs = await store.scan(read)
    shown = in_context(looking.query)
    return {
        "messages": [_of_message(each, shown) for each in said],
        "blocks": [
            Hit(f"/blocks/{each.id}", each.label, shown(each.value), each.updated_by.id, each.updated_at)
            for each in blocks
        ],
        "passages": [
            Hit(
                f"/archives/{each.passage.archive_id}?q={quote(looking.query)}",
                "a passage",
                shown(each.passage.text),
                each.passage.author.id,
                each.passage.created_at,
            )
            for each in passages.passages
        ],
        "agents": [
            Hit(f"/agents/{each.id}", each.name, shown(each.description or each.system), each.id, each.created_at)
            for each in agents
        ],
        "runs": [
            Hit(
                f"/runs/{each.run.id}",
                "failed" if each.run.status == "failed" else each.run.status,
                shown(f"{asked_words(each)} → {(each.run.details.get('error') or {}).get('message', '')}"),
                each.run.agent_id,
                each.run.created_at,
            )
            for each in runs
        ],
    }


def in_context(query: str) -> Callable[[str], list[Piece]]:
    """Return what shows a text around the first of the query's words that it has, with all of them marked."""
    words = [re.escape(word) for word in words_of(query)]
    pattern = re.compile("|".join(words) or r"(?!)", re.IGNORECASE)

    def show(text: str) -> list[Piece]:
        first = pattern.search(text)
        start = max(first.start() - AROUND, 0) if first else 0
        end = min((first.end() if first else 0) + AROUND * 2, len(text))
        pieces = [Piece("…")] if start else []
        at = start
        for match in pattern.finditer(text, start, end):
            pieces += [Piece(text[at : match.start()]), Piece(match[0], changed=True)]
            at = match.end()
        pieces.append(Piece(text[at:end]))
        return [*pieces, Piece("…")] if end < len(text) else pieces

    return show


def _of_message(found: FoundMessage, shown: Callable[[str], list[Piece]]) -> Hit:
    message = found.message
    body = message.body
    text = content_text(body.get("content", body.get("tool_return", "")))
    who = {"user_message": "was told", "assistant_message": "answered", "tool_return_message": "got from a tool"}
    address = f"/runs/{message.run_id}" if message.run_id else f"/agents/{found.agent_id}"
    title = who.get(message.message_type, message.message_type.replace("_", " "))
    return Hit(address, title, shown(text), found.agent_id, message.created_at)


async def _blocks(transaction: Transaction, looking: Looking) -> list[Block]:
    """Return blocks whose label, text or description has the query as it is, the newest first."""
    page = Page(limit=SHOWN * 5, order="desc")
    found: dict[str, Block] = {}
    for wanted in (
        BlockFilter(label_search=looking.query),
        BlockFilter(value_search=looking.query),
        BlockFilter(description_search=looking.query),
    ):
        found |= {block.id: block for block in await list_blocks(transaction, wanted, page)}
    chosen = [
        block
        for block in found.values()
        if (looking.since is None or block.updated_at >= looking.since)
        and (looking.author_id is None or block.updated_by.id == looking.author_id)
    ]
    return sorted(chosen, key=lambda block: block.updated_at, reverse=True)[:SHOWN]


async def _agents(transaction: Transaction, looking: Looking) -> list[Agent]:
    if looking.author_id is not None:
        return []
    found = await list_agents(transaction, AgentFilter(query_text=looking.query), Page(limit=SHOWN, order="desc"))
    return [agent for agent in found if looking.since is None or agent.created_at >= looking.since]


async def _runs_in_vain(transaction: Transaction, looking: Looking) -> list[RunSummary]:
    """Return runs that came to nothing whose words or error have the query as it is, the newest first."""
    of = [looking.author_id] if looking.author_id else ()
    wanted = RunFilter(agent_ids=of, statuses=("failed", "cancelled"), start=looking.since)
    runs = await list_runs(transaction, wanted, Page(limit=FAILED_LOOKED_AT, order="desc"))
    query = looking.query.casefold()
    found = []
    for each in await summarise(transaction, runs):
        error = (each.run.details.get("error") or {}).get("message", "")
        if query in f"{asked_words(each)} {error}".casefold():
            found.append(each)
    return found[:SHOWN]
