"""Archives and their passages; vectors that one's own embedding model made are kept, and not paid for again."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select

from folkmoot.archives.archives import EMBED, count_in
from folkmoot.conversations.messages import clean_text
from folkmoot.identifiers import derived_id
from folkmoot.jobs.jobs import add_job
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.nearest import vector_row
from folkmoot.store.tables import archives, passage_tags, passage_vectors, passages
from folkmoot.store.words import indexed_text
from folkmoot.transfer.retired.context import AT_ONCE, DAMAGED, Context, object_of, text_of, time_of
from folkmoot.transfer.retired.vectors import vector_of

_numbers = itertools.count(clock.now() << 10)
"""Numbers in the embedded full-text index, which takes rising ones at once. No server has the database meanwhile."""

_embedding_of = select(archives.c.embedding).where(archives.c.id == bindparam("of"))
_last_vector = select(
    func.max(passage_vectors.c.place).label("place"), func.max(passage_vectors.c.dimensions).label("dimensions")
).where(passage_vectors.c.archive_id == bindparam("of"))


@dataclass(frozen=True, slots=True)
class _Read:
    """A passage that was read: its row here, its tags, its vector if that is of its archive's model."""

    row: dict[str, Any]
    tags: Sequence[str]
    vector: Sequence[float] | None


class Archives:
    """The tables of archives and their passages, but for which agent has which."""

    name = "archives"
    tables = frozenset({"archives", "archival_passages", "passage_tags", "agent_passages"})

    async def take(self, context: Context) -> None:
        """Take archives, and of each the passages that are not here yet."""
        async for row in context.source.rows(
            "archives", "organization_id = $1", context.organization_id, order="created_at, id"
        ):
            try:
                await context.put(archives, await _archive(context, row), "archives", row)
            except DAMAGED as error:
                context.problem("archives", row, error)
                continue
            await _take_passages(context, "archival_passages", "archive_id", row["id"], row["id"])
        await self._of_agents(context)

    async def _of_agents(self, context: Context) -> None:
        """Take the passages of releases before archives: each agent gets one of its own for them."""
        if not context.source.has("agent_passages", "agent_id"):
            return
        whose = await context.source.connection.fetch(
            "SELECT DISTINCT agent_id FROM agent_passages WHERE organization_id = $1 AND NOT is_deleted",
            context.organization_id,
        )
        for each in whose:
            (agent,) = await context.source.all("agents", "id = $1", each["agent_id"]) or [{}]
            if not agent:
                continue  # told with what has no owner
            fields = {**agent, "id": derived_id("archive", agent["id"]), "name": f"{agent['name']}'s Archive"}
            row = await _archive(context, {**fields, "metadata_": None, "description": f"What {agent['name']} keeps"})
            await context.put(archives, row, "archives", agent)
            await _take_passages(context, "agent_passages", "agent_id", agent["id"], row["id"])


async def _archive(context: Context, row: Mapping[str, Any]) -> dict[str, Any]:
    config, passages_of = row.get("embedding_config"), "archival_passages"
    if config is None and context.source.has(passages_of):  # as older releases left it to the passages
        config = await context.source.value(
            "(array_agg(embedding_config))[1]", passages_of, "archive_id = $1 AND embedding IS NOT NULL", row["id"]
        )
    handle = context.embedding(config)
    versioned = 1 if handle is not None else 0
    return {
        "id": row["id"],
        "name": clean_text(row["name"]),
        "description": text_of(row.get("description")),
        "embedding": handle,
        "embedding_version": versioned,
        "searched_embedding": handle,
        "searched_version": versioned,
        "passage_count": 0,
        "configuration": json.dumps(
            {"metadata": object_of(row.get("metadata_")), "embedding_config": object_of(config)}
        ),
        "made_for": None,
        "created_at": time_of(row),
        "updated_at": time_of(row, "updated_at"),
    }


async def _take_passages(context: Context, table: str, column: str, of: str, archive_id: str) -> None:
    condition = f"{column} = $1 AND {context.source.changed_since(table, context.since, 2)}"
    values = [of] if context.since is None else [of, context.since]
    waiting: list[dict[str, Any]] = []
    async for row in context.source.rows(table, condition, *values, order="created_at, id"):
        waiting.append(row)
        if len(waiting) == AT_ONCE:
            await _put(context, table, archive_id, waiting)
            waiting = []
    if waiting:
        await _put(context, table, archive_id, waiting)


async def _put(context: Context, table: str, archive_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    ids = [row["id"] for row in rows]
    here = select(passages.c.id).where(passages.c.id.in_(ids))
    there = {row["id"] for row in await context.store.read(lambda transaction: transaction.all(here))}
    context.done.there[table] += len(there)
    await context.count_there_among(("passage_tags",), "passage_id", [*there])
    archive = await context.store.read(lambda transaction: transaction.first(_embedding_of, of=archive_id))
    handle = archive["embedding"] if archive is not None else None
    new = [row for row in rows if row["id"] not in there]
    read = await asyncio.to_thread(_read_all, context, table, archive_id, handle, new)
    if read:
        await context.write(lambda transaction: _write(context, transaction, archive_id, handle, read))
    context.done.taken[table] += len(read)
    context.done.taken["passage_tags"] += sum(len(each.tags) for each in read)
    context.progress("passages", context.done.taken[table] + context.done.there[table], context.done.source[table])


def _read_all(
    context: Context, table: str, archive_id: str, handle: str | None, rows: Sequence[Mapping[str, Any]]
) -> list[_Read]:
    found = []
    for row in rows:
        try:
            vector = vector_of(row) if handle and context.embedding(row.get("embedding_config")) == handle else None
            tags = row.get("tags")
            named = [clean_text(str(tag)) for tag in tags] if isinstance(tags, list) else []
            found.append(_Read(_row(context, row, archive_id), list(dict.fromkeys(named)), vector))
        except DAMAGED as error:
            context.problem(table, row, error)
    return found


def _row(context: Context, row: Mapping[str, Any], archive_id: str) -> dict[str, Any]:
    author, text = context.author_of(row), clean_text(row["text"])
    return {
        "id": row["id"],
        "archive_id": archive_id,
        "text": text,
        "search_text": indexed_text(text),
        "search_id": next(_numbers),
        "metadata": json.dumps(object_of(row.get("metadata_"))),
        "author": author.to_json(),
        "author_id": author.id,
        "author_name": author.name,
        "embedded_version": 0,
        "embedding_error": None,
        "created_at": time_of(row),
        "stored_at": time_of(row),
    }


async def _write(
    context: Context, transaction: Transaction, archive_id: str, handle: str | None, read: Sequence[_Read]
) -> None:
    last = await transaction.first(_last_vector, of=archive_id)
    place = -1 if last is None or last["place"] is None else last["place"]
    dimensions = None if last is None else last["dimensions"]
    vectors: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for each in read:
        fits = each.vector is not None and dimensions in (None, len(each.vector))
        if each.vector is not None and fits:
            dimensions, place = len(each.vector), place + 1
            about = {"archive_id": archive_id, "version": 1, "place": place, "passage_id": each.row["id"]}
            vectors.append({**about, **vector_row(context.store.engine, each.vector)})
        rows.append({**each.row, "embedded_version": int(fits)})
    await transaction.insert(passages, rows)
    tagged = [
        {"archive_id": archive_id, "passage_id": each.row["id"], "tag": tag, "place": number}
        for each in read
        for number, tag in enumerate(each.tags)
    ]
    await transaction.insert(passage_tags, tagged)
    await transaction.insert(passage_vectors, vectors)
    if handle is not None and len(vectors) < len(rows):
        await add_job(transaction, EMBED, archive_id)
    await count_in(transaction, archive_id, len(read), Counter(tag for each in read for tag in each.tags))
