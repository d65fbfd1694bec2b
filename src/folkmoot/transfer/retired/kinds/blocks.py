"""Blocks with their histories and tags; those that nobody changed here follow the source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from folkmoot.conversations.messages import clean_text
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import update_block
from folkmoot.memory.edits import SetText, describe
from folkmoot.memory.history import record
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import block_tags, blocks
from folkmoot.transfer.retired.context import DAMAGED, PROGRAM, Context, object_of, text_of, time_of

_there = select(blocks.c.value, blocks.c.updated_by).where(blocks.c.id == bindparam("of"))


@dataclass(frozen=True, slots=True)
class _Version:
    """A text that a block once had."""

    text: str
    author: Author
    at: int


class Blocks:
    """The tables of blocks, but for who has which."""

    name = "blocks"
    tables = frozenset({"block", "blocks_tags", "block_history"})

    async def take(self, context: Context) -> None:
        """Take blocks, each with its history and tags."""
        condition, values = context.where("block")
        async for row in context.source.rows("block", condition, *values, order="created_at, id"):
            try:
                if row["id"] in await context.ids(blocks):
                    await _follow(context, row)
                else:
                    await _make(context, row)
            except DAMAGED as error:
                context.problem("block", row, error)
            context.progress("blocks", context.done.taken["block"], context.done.source["block"])


async def _make(context: Context, row: Mapping[str, Any]) -> None:
    found = await context.source.all("blocks_tags", "block_id = $1", row["id"], order="created_at, tag")
    tags = list(dict.fromkeys(clean_text(each["tag"]) for each in found))
    earlier = await context.source.all("block_history", "block_id = $1", row["id"], order="sequence_number")
    versions = _versions(context, row, earlier)
    kept = _columns(row, versions)

    async def write(transaction: Transaction) -> None:
        await transaction.insert(blocks, [kept])
        named = [{"block_id": row["id"], "tag": tag, "place": place} for place, tag in enumerate(tags)]
        await transaction.insert(block_tags, named)
        before = None
        for number, version in enumerate(versions, 1):
            edit = {"kind": "create"} if number == 1 else describe(SetText(version.text))
            await record(transaction, row["id"], number, before, version.text, edit, version.author, version.at)
            before = version.text

    await context.write(write)
    (await context.ids(blocks)).add(row["id"])
    context.done.taken["block"] += 1
    context.done.taken["blocks_tags"] += len(found)
    context.done.taken["block_history"] += len(earlier)


def _versions(context: Context, row: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> list[_Version]:
    """Return every text that a block had, the present one last."""
    found = [
        _Version(clean_text(each["value"]), _actor(context, each), time_of(each))
        for each in earlier
        if isinstance(each["value"], str)
    ]
    value = clean_text(row["value"])
    if not found:
        return [_Version(value, context.author_of(row), time_of(row))]
    if found[-1].text != value:
        author = context.author_of(row, "_last_updated_by_id")
        found.append(_Version(value, author, max(time_of(row, "updated_at"), found[-1].at)))
    return found


def _actor(context: Context, row: Mapping[str, Any]) -> Author:
    actor = row.get("actor_id") or row.get("_created_by_id") or ""
    if actor.startswith("agent-"):
        return Author("agent", actor, client=PROGRAM)
    return context.author_of({"_created_by_id": actor})


def _columns(row: Mapping[str, Any], versions: Sequence[_Version]) -> dict[str, Any]:
    template = {n: row.get(n) for n in ("template_id", "base_template_id", "deployment_id", "entity_id")}
    template["preserve_on_migration"] = row.get("preserve_on_migration")
    last = versions[-1]
    return {
        "id": row["id"],
        "label": clean_text(row["label"]),
        "value": last.text,
        "character_limit": max(int(row["limit"]), len(last.text), 1),
        "description": text_of(row.get("description")),
        "read_only": bool(row.get("read_only")),
        "require_version": False,
        "hidden": row.get("hidden"),
        "project_id": row.get("project_id"),
        "is_template": bool(row.get("is_template")),
        "template_name": row.get("template_name"),
        "extra": json.dumps({"metadata": object_of(row.get("metadata_")), "template": template}),
        "version": len(versions),
        "created_at": time_of(row),
        "updated_at": last.at,
        "updated_by": last.author.to_json(),
    }


async def _follow(context: Context, row: Mapping[str, Any]) -> None:
    """Bring a block that is here up to the source's text, unless somebody wrote it here."""
    context.done.there["block"] += 1
    await context.count_there(("blocks_tags", "block_history"), "block_id", row["id"])
    here = await context.store.read(lambda transaction: transaction.first(_there, of=row["id"]))
    value = clean_text(row["value"])
    if here is None or here["value"] == value:
        return
    if Author.from_json(here["updated_by"]).client != PROGRAM:
        context.note(f"block {row['id']} {row['label']!r}: was written here and stays as it is.")
        return
    changes = {"value": value, "limit": max(int(row["limit"]), len(value), 1)}
    author = context.author_of(row, "_last_updated_by_id")
    await context.write(lambda transaction: update_block(transaction, row["id"], changes, author))
    context.note(f"block {row['id']} {row['label']!r}: has the source's newest text.")
