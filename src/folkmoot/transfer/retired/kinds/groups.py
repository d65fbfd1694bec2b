"""Groups: who is in each, who leads it, which blocks its members share, and how far sleep-time agents have read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, select

from folkmoot.conversations.messages import clean_text
from folkmoot.errors import FolkmootError
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agents, blocks, group_blocks, group_members, group_readings, groups, messages
from folkmoot.transfer.retired.context import DAMAGED, Context, text_of, time_of

_KINDS = ("round_robin", "supervisor", "dynamic", "sleeptime", "voice_sleeptime")
_AS_THEY_ARE = (
    "max_turns",
    "termination_token",
    "sleeptime_agent_frequency",
    "max_message_buffer_length",
    "min_message_buffer_length",
    "last_processed_message_id",
    "hidden",
    "project_id",
    "template_id",
    "base_template_id",
    "deployment_id",
)
_place_of = select(messages.c.sequence).where(
    messages.c.conversation_id == bindparam("of"), messages.c.id == bindparam("which")
)


class Groups:
    """The tables of groups."""

    name = "groups"
    tables = frozenset({"groups", "groups_agents", "groups_blocks"})

    async def take(self, context: Context) -> None:
        """Take groups whose manager is here."""
        condition, values = context.where("groups")
        async for row in context.source.rows("groups", condition, *values, order="created_at, id"):
            if row["id"] in await context.ids(groups):
                context.done.there["groups"] += 1
                await context.count_there(("groups_agents", "groups_blocks"), "group_id", row["id"])
                continue
            try:
                await _make(context, row)
            except FolkmootError as error:
                context.problem("groups", row, f"cannot be written: {error.message}")
            except DAMAGED as error:
                context.problem("groups", row, error)


async def _make(context: Context, row: Mapping[str, Any]) -> None:
    group = _group(row)
    manager = group["manager_agent_id"]
    if manager is not None and manager not in await context.ids(agents):
        raise ValueError(f"its manager {manager} did not come")
    members = await _members(context, row)
    shared = await context.source.all("groups_blocks", "group_id = $1", row["id"])
    held = [each["block_id"] for each in shared if each["block_id"] in await context.ids(blocks)]
    for each in shared:
        if each["block_id"] not in held:
            context.problem("groups_blocks", row, f"shares {each['block_id']}, which did not come.")
    group["owns_members"] = await _were_made_for_it(context, manager, members)
    at = group["created_at"]

    async def write(transaction: Transaction) -> None:
        await transaction.insert(groups, [group])
        places = [{"group_id": row["id"], "agent_id": each, "place": place} for place, each in enumerate(members)]
        await transaction.insert(group_members, places)
        owned = [{"group_id": row["id"], "block_id": each, "attached_at": at + n} for n, each in enumerate(held)]
        await transaction.insert(group_blocks, owned)
        if manager is not None and group["last_processed_message_id"] is not None:
            await _note_reading(transaction, row["id"], manager, group["last_processed_message_id"])

    await context.write(write)
    (await context.ids(groups)).add(row["id"])
    context.done.taken["groups"] += 1
    context.done.taken["groups_agents"] += len(members)
    context.done.taken["groups_blocks"] += len(held)


def _group(row: Mapping[str, Any]) -> dict[str, Any]:
    kind = row["manager_type"]
    if kind not in _KINDS:
        raise ValueError(f"there is no group of the kind {kind!r}")
    return {
        "id": row["id"],
        "manager_type": kind,
        "manager_agent_id": row.get("manager_agent_id"),
        "description": clean_text(row.get("description") or ""),
        **{name: row.get(name) for name in _AS_THEY_ARE},
        "termination_token": text_of(row.get("termination_token")),
        "turns_counter": row.get("turns_counter"),
        "next_run_id": None,
        "owns_members": False,
        "next_sequence": 1,
        "created_at": time_of(row),
        "updated_at": time_of(row, "updated_at"),
    }


async def _members(context: Context, row: Mapping[str, Any]) -> list[str]:
    """Return the members that are here, in the order in which they speak."""
    links = await context.source.all("groups_agents", "group_id = $1", row["id"], order="agent_id")
    order = row.get("agent_ids")
    told = [each for each in order if isinstance(each, str)] if isinstance(order, list) else []
    named = list(dict.fromkeys([*told, *(link["agent_id"] for link in links)]))
    here = [each for each in named if each in await context.ids(agents)]
    for link in links:
        if link["agent_id"] not in here:
            context.problem("groups_agents", row, f"has {link['agent_id']}, which did not come.")
    return here


async def _were_made_for_it(context: Context, manager: str | None, members: list[str]) -> bool:
    """Tell whether the old server made the members for the manager, by the name that it gave them."""
    named = "id = ANY($1) AND name = (SELECT leader.name || '-sleeptime' FROM agents AS leader WHERE leader.id = $2)"
    found = await context.source.value("count(*)", "agents", named, members, manager)
    return bool(members) and found == len(members)


async def _note_reading(transaction: Transaction, group_id: str, manager: str, message_id: str) -> None:
    found = await transaction.first(_place_of, of=manager, which=message_id)
    if found is not None:
        read = {"group_id": group_id, "conversation_id": manager, "read_to": found["sequence"] + 1}
        await transaction.insert(group_readings, [read])
