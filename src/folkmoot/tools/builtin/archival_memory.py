"""The archival memory tools: an agent keeps passages in its archives, and searches them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from folkmoot.archives.archives import Archive
from folkmoot.archives.attachments import AttachedArchive, archives_of_agent
from folkmoot.archives.passages import LONGEST_TEXT, NewPassage, PassageFilter, add_passages, archive_for, list_passages
from folkmoot.archives.search import LONGEST_QUERY, Found, FoundPassage, PassageSearch, search_passages
from folkmoot.errors import ToolFailed
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page
from folkmoot.tools.builtin.dates import moment
from folkmoot.tools.builtin.memory import agent_author
from folkmoot.tools.tool import ToolContext

DEFAULT_RESULTS = 5
MOST_RESULTS = 50
LONGEST_TAG = 500
MOST_TAGS = 100


async def archival_memory_insert(
    context: ToolContext, content: str, tags: list[str] | None = None, archive: str | None = None
) -> str:
    """Keep a passage of text for long in an archive, outside your context.

    Whoever has the archive finds it later with archival_memory_search. Write it so that it can be understood by itself.

    Args:
        content: What to keep.
        tags: A few words that it can be looked up by, such as a topic or a project.
        archive: Name of the archive to keep it in; when left out, the first of yours that you may add to.
    """
    if not content.strip():
        raise ToolFailed("content: there is nothing to keep in an empty text.")
    if len(content) > LONGEST_TEXT:
        raise ToolFailed(f"content: has {len(content):,} characters, and a passage at most {LONGEST_TEXT:,}; split it.")
    if len(tags or ()) > MOST_TAGS or any(not tag or len(tag) > LONGEST_TAG for tag in tags or ()):
        raise ToolFailed(f"tags: at most {MOST_TAGS}, each of 1 to {LONGEST_TAG} characters.")
    into = await _archive_to_fill(context, archive)
    new = NewPassage.of(content, tags or ())
    await add_passages(context.step_transaction, into.id, [new], agent_author(context))
    return f"Kept in the archive {into.name!r}."


async def archival_memory_search(
    context: ToolContext,
    query: str,
    tags: list[str] | None = None,
    tag_match_mode: Literal["any", "all"] = "any",
    top_k: int | None = None,
    start_datetime: str | None = None,
    end_datetime: str | None = None,
) -> str:
    """Search the passages of your archives, by words and by what they mean; the best come first.

    Args:
        query: What to look for; empty to get the newest passages.
        tags: Only passages with these tags.
        tag_match_mode: Whether a passage needs any of the tags or all of them; any when left out.
        top_k: How many passages to return, 5 when left out, 50 at the most.
        start_datetime: Only passages from this day or time on, such as 2026-11-22 or 2026-11-22T14:30 (UTC).
        end_datetime: Only passages up to this day, the whole day included, or up to this time (UTC).
    """
    results = await passages_found(
        context,
        query,
        tags=tags or (),
        match_all_tags=tag_match_mode == "all",
        start=moment("start_datetime", start_datetime, ends=False),
        end=moment("end_datetime", end_datetime, ends=True),
        limit=max(1, min(top_k or DEFAULT_RESULTS, MOST_RESULTS)),
    )
    return json.dumps({"count": len(results), "results": results}, ensure_ascii=False)


async def passages_found(
    context: ToolContext,
    query: str,
    *,
    tags: Sequence[str] = (),
    match_all_tags: bool = False,
    start: int | None,
    end: int | None,
    limit: int,
) -> list[dict[str, object]]:
    """Return passages of the calling agent's archives as it is shown them, the best first, or the newest.

    Args:
        context: of the calling agent.
        query: what to look for; the newest passages where it has no words.
        tags: tags that a passage has to have.
        match_all_tags: whether it needs all of them, not any.
        start: microseconds from which on it has to be.
        end: microseconds before which it has to be.
        limit: how many at the most.
    """
    attached = await context.store.read(lambda transaction: archives_of_agent(transaction, context.agent_id))
    names = {each.archive.id: each.archive.name for each in attached}
    among = PassageFilter(archive_ids=tuple(names), tags=tags, match_all_tags=match_all_tags, start=start, end=end)
    if query.strip():
        search = PassageSearch(query[:LONGEST_QUERY], among, limit=limit)
        found = await search_passages(context.store, context.embeddings, search)
    else:
        newest = Page(limit, order="desc")
        listed = await context.store.scan(lambda transaction: list_passages(transaction, among, newest))
        found = Found([FoundPassage(passage, 0.0) for passage in listed])
    return [_shown(each, names) for each in found.passages]


def _shown(found: FoundPassage, names: dict[str, str]) -> dict[str, object]:
    passage = found.passage
    return {
        "timestamp": clock.to_datetime(passage.created_at).isoformat(timespec="seconds"),
        "content": passage.text,
        "tags": list(passage.tags),
        "archive": names[passage.archive_id],
        "written_by": str(passage.author),
    }


async def _archive_to_fill(context: ToolContext, name: str | None) -> Archive:
    """Return the archive that a passage goes to.

    Raises:
        ToolFailed: the agent has no archive of that name, or may not add to it.
    """
    transaction: Transaction = context.step_transaction
    attached = await archives_of_agent(transaction, context.agent_id)
    if name is not None and attached:
        return _named(attached, name)
    found = await archive_for(transaction, context.agent_id, context.agent_name, context.embedding)
    if found is None:
        raise ToolFailed("You may only search your archives, not add to any of them. Nothing was kept.")
    return found


def _named(attached: list[AttachedArchive], name: str) -> Archive:
    of_name = [each for each in attached if each.archive.name == name]
    if not of_name:
        names = ", ".join(repr(each.archive.name) for each in attached)
        raise ToolFailed(f"archive: you have no archive {name!r}. Your archives: {names}.")
    filled = next((each.archive for each in of_name if each.takes), None)
    if filled is None:
        raise ToolFailed(f"archive: you may only search {name!r}, not add to it. Nothing was kept.")
    return filled
