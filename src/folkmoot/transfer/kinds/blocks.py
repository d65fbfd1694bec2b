"""Blocks with their histories, and what each agent may do with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from folkmoot.errors import BadRequest
from folkmoot.memory import deltas
from folkmoot.memory.attachments import attached_rows
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import Block, create_block
from folkmoot.store import clock
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.tables import agent_blocks, block_versions, blocks
from folkmoot.transfer.exporting import Exporting
from folkmoot.transfer.importing import Loading
from folkmoot.transfer.message_rows import OWN_KEY

MOST_VERSIONS = 20_000
"""Versions of one block that a file carries; of a longer history only the newest text."""

MOST_REPLAYED = 500_000_000
"""Characters that all versions of one block have together: some seconds on a thread."""

ACCESSES = ("write", "append", "read")

_versions = (
    select(block_versions).where(block_versions.c.block_id == bindparam("of")).order_by(block_versions.c.version)
)
_forget_versions = delete(block_versions).where(block_versions.c.block_id == bindparam("of"))
_set_version = (
    update(blocks)
    .where(blocks.c.id == bindparam("of"))
    .values(version=bindparam("number"), updated_by=bindparam("author"), updated_at=bindparam("at"))
)
_set_access = (
    update(agent_blocks)
    .where(agent_blocks.c.agent_id == bindparam("of"), agent_blocks.c.block_id == bindparam("which"))
    .values(access=bindparam("allowed"))
)


class Blocks:
    """The section `blocks`, and our own `histories` beside it."""

    async def export(self, exporting: Exporting) -> None:
        """Add the blocks of the agents, each once."""
        histories: list[dict[str, Any]] = []
        for agent in exporting.agents:
            entry = exporting.entry(agent)
            entry["block_ids"], entry[OWN_KEY]["access"] = [], {}
            for row in await attached_rows(exporting.transaction, agent.id):
                block = Block.from_row(row)
                known = exporting.ids.known(block.id)
                identifier = exporting.ids.of("block", block.id)
                entry["block_ids"].append(identifier)
                if row["access"] != "write":
                    entry[OWN_KEY]["access"][identifier] = row["access"]
                if known == block.id:  # it is not in the file yet
                    exporting.content["blocks"].append({**block_entry(block), "id": identifier})
                    histories += await self._history(exporting, block)
        exporting.own["histories"] = histories

    async def _history(self, exporting: Exporting, block: Block) -> list[dict[str, Any]]:
        if block.version > MOST_VERSIONS:
            return []
        rows = await exporting.transaction.all(_versions, of=block.id)
        versions = [_version_entry(row, exporting) for row in rows]
        return [{"block_id": exporting.ids.of("block", block.id), "versions": versions}]

    def prepare(self, loading: Loading) -> None:
        """Replay each history, so that only such a one is taken that ends at its block's text."""
        for history in loading.file.own("histories"):
            named = history.get("block_id")
            block = loading.plans.blocks.get(named) if isinstance(named, str) else None
            if block is None:
                raise BadRequest(f"file: a history is of the block {history.get('block_id')!r}, which is not in it.")
            try:
                _check_history(history["versions"], block["value"])
            except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
                raise BadRequest(f"file: the history of {history['block_id']} does not fit: {error}."[:400]) from error

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Make new blocks of all, with their histories."""
        for identifier, fields in loading.plans.blocks.items():
            block = await create_block(transaction, fields, loading.author)
            loading.made[identifier] = block.id
        for history in loading.file.own("histories"):
            await _write_history(loading, transaction, history)


class AccessToBlocks:
    """What agents may do with the blocks that they have, where that is less than everything."""

    async def export(self, exporting: Exporting) -> None:
        """Add nothing; it is told with the blocks."""

    def prepare(self, loading: Loading) -> None:
        """Refuse what is no access."""
        for entry in loading.file.section("agents"):
            for access in _access_of(entry).values():
                if access not in ACCESSES:
                    raise BadRequest(f"file: agent {entry['id']}: {access!r} is no access; there are {ACCESSES}.")

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Narrow it."""
        for entry in loading.file.section("agents"):
            for block, access in _access_of(entry).items():
                if block in loading.made:
                    names = {"of": loading.made[entry["id"]], "which": loading.made[block]}
                    await transaction.run(_set_access, **names, allowed=access)


def _access_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    own = entry.get(OWN_KEY)
    access = own.get("access") if isinstance(own, dict) else None
    return access if isinstance(access, dict) else {}


def block_entry(block: Block) -> dict[str, Any]:
    """Return a block as a file has it, without its identifier."""
    return {
        "label": block.label,
        "value": block.value,
        "limit": block.limit,
        "description": block.description,
        "read_only": block.read_only,
        "hidden": block.hidden,
        "metadata": dict(block.metadata),
        "tags": list(block.tags) or None,
        "project_id": block.project_id,
        "is_template": block.is_template,
        "template_name": block.template_name,
        **block.template,
        "preserve_on_migration": bool(block.template.get("preserve_on_migration")),
        OWN_KEY: {"require_version": block.require_version},
    }


_FIELDS = ("version", "text", "delta", "length", "edit", "author_type", "author_name", "client", "created_at")


def _version_entry(row: Row, exporting: Exporting) -> dict[str, Any]:
    kept = {name: row[name] for name in _FIELDS}
    return {**kept, "author_id": exporting.ids.known(row["author_id"])}


def _check_history(versions: Sequence[Mapping[str, Any]], value: str) -> None:
    """Replay a history.

    Raises:
        ValueError: it does not end at `value`, or has gaps.
    """
    if not 0 < len(versions) <= MOST_VERSIONS:
        raise ValueError(f"it has {len(versions):,} versions, and {MOST_VERSIONS:,} are taken")
    if any(type(version["length"]) is not int or version["length"] < 0 for version in versions):
        raise ValueError("a version's length is no number of characters")
    if sum(version["length"] for version in versions) > MOST_REPLAYED:
        raise ValueError(f"its versions have more than {MOST_REPLAYED:,} characters together")
    text = ""
    for place, version in enumerate(versions, 1):
        if version["version"] != place:
            raise ValueError(f"version {place} is missing")
        kept, delta = version["text"], version["delta"]
        changed = deltas.apply_delta(text, delta) if delta is not None else kept
        text = changed if kept is None else kept
        if not isinstance(text, str) or changed != text or len(text) != version["length"]:
            raise ValueError(f"version {place} does not follow from the one before")
        if version["author_type"] not in ("agent", "member", "api", "system"):
            raise ValueError(f"{version['author_type']!r} is no author")
        names = ("author_id", "author_name", "client")
        if any(not isinstance(version.get(name), str | None) for name in names):
            raise ValueError(f"version {place} has an author without a name")
        if type(at := version["created_at"]) is not int or not clock.FIRST <= at <= clock.LAST:
            raise ValueError(f"version {place} has no time")
        if not isinstance(json.loads(version["edit"]), dict):
            raise ValueError(f"version {place} has no edit")  # noqa: TRY004 - a fault of the data
    if text != value:
        raise ValueError("its last version is not the block's text")


async def _write_history(loading: Loading, transaction: Transaction, history: Mapping[str, Any]) -> None:
    block_id, versions = loading.made[history["block_id"]], history["versions"]
    await transaction.run(_forget_versions, of=block_id)
    rows = [{**{name: each.get(name) for name in (*_FIELDS, "author_id")}, "block_id": block_id} for each in versions]
    await transaction.insert(block_versions, rows)
    last = versions[-1]
    author = Author(last["author_type"], last.get("author_id"), last.get("author_name"), client=last.get("client"))
    await transaction.run(
        _set_version, of=block_id, number=last["version"], author=author.to_json(), at=last["created_at"]
    )
