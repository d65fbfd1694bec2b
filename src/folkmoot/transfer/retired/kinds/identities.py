"""Identities, and the agents and blocks that belong to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy import Table, select

from folkmoot.conversations.messages import clean_text
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agents, blocks, identities, identity_agents, identity_blocks
from folkmoot.transfer.message_rows import clean
from folkmoot.transfer.retired.context import DAMAGED, Context, time_of

_TYPES = ("org", "user", "other")


class Identities:
    """The tables of identities."""

    name = "identities"
    tables = frozenset({"identities", "identities_agents", "identities_blocks"})

    async def take(self, context: Context) -> None:
        """Take identities, and then what belongs to them."""
        condition, values = context.where("identities")
        async for row in context.source.rows("identities", condition, *values, order="created_at, id"):
            try:
                identity = _identity(row)
            except DAMAGED as error:
                context.problem("identities", row, error)
                continue
            await context.put(identities, identity, "identities", row)
            if row["id"] in await context.ids(identities):
                await _holdings(context, row["id"], "identities_agents", identity_agents, agents)
                await _holdings(context, row["id"], "identities_blocks", identity_blocks, blocks)


def _identity(row: Mapping[str, Any]) -> dict[str, Any]:
    kind = row["identity_type"]
    if kind not in _TYPES:
        raise ValueError(f"there is no identity of the type {kind!r}")
    properties = row.get("properties") or []
    if not isinstance(properties, list):
        raise ValueError("its properties are no list")  # noqa: TRY004 - a fault of the data
    return {
        "id": row["id"],
        "identifier_key": clean_text(row["identifier_key"]),
        "name": clean_text(row["name"]),
        "identity_type": kind,
        "project_id": row.get("project_id") or "",
        "properties": json.dumps(clean(properties)),
        "created_at": time_of(row),
        "updated_at": time_of(row, "updated_at"),
    }


async def _insert(transaction: Transaction, table: Table, row: Mapping[str, Any]) -> None:
    await transaction.insert(table, [row])


async def _holdings(context: Context, identity_id: str, of: str, table: Table, held: Table) -> None:
    column = "agent_id" if held is agents else "block_id"
    here = select(table.c[column]).where(table.c.identity_id == identity_id)
    there = {row[column] for row in await context.store.read(lambda transaction: transaction.all(here))}
    for link in await context.source.all(of, "identity_id = $1", identity_id):
        if link[column] not in await context.ids(held):
            context.problem(of, {"id": identity_id}, f"has {link[column]}, which did not come.")
            continue
        row = {"identity_id": identity_id, column: link[column]}
        if link[column] in there:
            context.done.there[of] += 1
            continue
        await context.write(partial(_insert, table=table, row=row))
        context.done.taken[of] += 1
