"""Sleep-time agents: each has the blocks of another agent, and tends them behind its turns.

A group of the kind `sleeptime` says who tends whose memory. A turn's end counts in the transaction that stores it; when
there were enough, or after a while without any, a job consolidates (`consolidation.py`), in one process only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, func, or_, select, update

from folkmoot.agents.agents import Agent, find_agent
from folkmoot.agents.creation import AgentPlan, create_agent
from folkmoot.agents.services import Services
from folkmoot.errors import NotFound
from folkmoot.groups.groups import SLEEPTIME, Group, GroupPlan, ManagerType, create_group, find_group, managed_groups
from folkmoot.groups.instructions import TENDING, TENDING_PERSONA, TENDING_VOICE
from folkmoot.identifiers import new_id
from folkmoot.jobs.jobs import add_job
from folkmoot.memory.attachments import attach, attachments_of, detach, isolated_rows
from folkmoot.memory.authors import Author
from folkmoot.runs.runs import Run
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agents, group_blocks, group_readings, groups, messages
from folkmoot.tools.builtin import BASE_TOOLS

KIND = "consolidation"
"""The name of the jobs that consolidate; each works on a group."""

PRIMARY_TOOLS = ("send_message", "conversation_search", "archival_memory_search")
"""What an agent has in the place of its type's tools when another one tends its memory."""

VOICE = "voice_convo_agent"
"""The type of agents that people talk to by voice."""

OWN_LABEL = "memory_persona"
"""The label of a sleep-time agent's own block."""

_KEPT_SETTINGS = ("model_settings", "llm_config", "embedding_config", "context_window_limit", "max_tokens")

_is_sleeptime = or_(*(groups.c.manager_type == kind for kind in sorted(SLEEPTIME)))
_of_manager = (
    select(groups.c.id, agents.c.configuration)
    .join(agents, agents.c.id == groups.c.manager_agent_id)
    .where(
        groups.c.manager_agent_id == bindparam("agent_id"),
        _is_sleeptime,
    )
    .order_by(groups.c.id)
)
_first_of_run = select(func.min(messages.c.sequence).label("place")).where(
    messages.c.run_id == bindparam("of_run"), messages.c.conversation_id == bindparam("conversation_id")
)
_count_turn = (
    update(groups)
    .where(groups.c.id == bindparam("group_id"))
    .values(turns_counter=bindparam("turns"), next_run_id=bindparam("run_id"))
)
_drop_shared = group_blocks.delete().where(
    group_blocks.c.group_id == bindparam("of_group"), group_blocks.c.block_id == bindparam("gone_block")
)
_note_read = (
    update(group_readings)
    .where(
        group_readings.c.group_id == bindparam("of_group"),
        group_readings.c.conversation_id == bindparam("conversation"),
        group_readings.c.read_to < bindparam("place"),
    )
    .values(read_to=bindparam("place"))
)


async def create_with_partner(
    transaction: Transaction, plan: AgentPlan, model: str, services: Services, author: Author
) -> Agent:
    """Make an agent, and where its plan says so the sleep-time agent that tends its memory; raises as `create_agent`.

    Args:
        transaction: where to write.
        plan: what the agent shall be; `enable_sleeptime` in its configuration asks for the other one.
        model: what `choose_model` returned.
        services: the tools, and what variables are sealed with.
        author: of the new blocks.
    """
    if not plan.configuration.get("enable_sleeptime"):
        return await create_agent(transaction, plan, model, services, author)
    if plan.base_tools:
        primary = BASE_TOOLS[VOICE] if plan.agent_type == VOICE else PRIMARY_TOOLS
        plan = replace(plan, base_tools=False, tools=[*primary, *plan.tools])
    agent = await create_agent(transaction, plan, model, services, author)
    await ensure_partner(transaction, agent.id, services, author)
    return agent


def tends_by_itself(manager_type: str, configuration: Mapping[str, Any]) -> bool:
    """Tell whether a group is of whom `enable_sleeptime` in its manager's configuration asks for, and goes with it."""
    return manager_type in SLEEPTIME and bool(configuration.get("enable_sleeptime"))


async def ensure_partner(transaction: Transaction, agent_id: str, services: Services, author: Author) -> None:
    """Make the sleep-time agent that tends an agent's memory, and their group, unless it has them.

    Raises:
        NotFound: there is no such agent.
    """
    agent = await find_agent(transaction, agent_id, lock=True)
    managed = await managed_groups(transaction, [agent_id])
    if any(group.owns_members and group.agent_ids for group in managed.get(agent_id, ())):
        return
    voice = agent.agent_type == VOICE
    tending_type = "voice_sleeptime_agent" if voice else "sleeptime_agent"
    shared = await attachments_of(transaction, agent_id)
    own = {"label": OWN_LABEL, "value": TENDING_PERSONA}
    plan = AgentPlan(
        name=f"{agent.name}-sleeptime",
        agent_type=tending_type,
        system=TENDING_VOICE if voice else TENDING,
        embedding=agent.embedding,
        timezone=agent.timezone,
        hidden=agent.hidden,
        configuration={name: agent.configuration[name] for name in _KEPT_SETTINGS if name in agent.configuration},
        new_blocks=[] if OWN_LABEL in {each.label for each in shared} else [own],
        project_id=agent.project_id,
    )
    partner = await create_agent(transaction, plan, agent.model, services, author)
    kind: ManagerType = "voice_sleeptime" if voice else "sleeptime"
    manager = {"manager_agent_id": agent_id}
    group = await create_group(transaction, GroupPlan([partner.id], "", kind, manager, owns_members=True))
    await share_blocks(transaction, group)


async def share_blocks(transaction: Transaction, group: Group) -> None:
    """Let those who were made to tend an agent's memory have the blocks that it has now, with its access to them."""
    if not group.owns_members or group.manager_agent_id is None:
        return
    has = await attachments_of(transaction, group.manager_agent_id)
    gone = set(group.shared_block_ids) - {each.block_id for each in has}
    for agent_id in group.agent_ids:
        theirs = {each.block_id: each for each in await attachments_of(transaction, agent_id)}
        for block_id in sorted(gone & set(theirs)):
            await detach(transaction, agent_id, block_id, Author("system"))
        labels = {each.label for block_id, each in theirs.items() if block_id not in gone}
        for each in has:
            if each.block_id in theirs or each.label not in labels:
                await attach(transaction, agent_id, each.block_id, each.access)
    for block_id in gone:
        await transaction.run(_drop_shared, of_group=group.id, gone_block=block_id)
    rows = [{"group_id": group.id, "block_id": each.block_id, "attached_at": clock.now()} for each in has]
    await transaction.insert(group_blocks, rows, or_keep=True)


async def count_turn(transaction: Transaction, run: Run, idle: int) -> list[str]:
    """Count a turn's end for those who tend its agent's memory, and return the runs in which they will.

    Args:
        transaction: the one that stores the end.
        run: whose end.
        idle: microseconds after which what was said is worked on in any case.
    """
    set_off = []
    for row in await transaction.all(_of_manager, agent_id=run.agent_id):
        if json.loads(row["configuration"]).get("enable_sleeptime") is not False:
            set_off.append(await _count(transaction, row["id"], run, idle))
    return [run_id for run_id in set_off if run_id is not None]


async def _count(transaction: Transaction, group_id: str, run: Run, idle: int) -> str | None:
    """Count a turn for a group; return the run that will consolidate, when there were enough."""
    if run.conversation_id != run.agent_id and await isolated_rows(transaction, run.conversation_id):
        return None  # it has memory of its own, which shall not get into that of the others
    # The job's row before the group's, here and where the job ends, so that neither waits for the other.
    await add_job(transaction, KIND, group_id, parent_id=run.agent_id, due_at=clock.now() + idle)
    try:
        group = await find_group(transaction, group_id, lock=True)
    except NotFound:  # deleted meanwhile; the job finds nothing to do
        return None
    first = await transaction.first(_first_of_run, of_run=run.id, conversation_id=run.conversation_id)
    if first is not None and first["place"] is not None:
        row = {"group_id": group_id, "conversation_id": run.conversation_id, "read_to": first["place"]}
        await transaction.insert(group_readings, [row], or_keep=True)
    turns = max(group.turns_counter or 0, 0) + 1
    due = turns >= (group.sleeptime_agent_frequency or 1)
    run_id = group.next_run_id or (new_id("run") if due else None)
    await transaction.run(_count_turn, group_id=group_id, turns=0 if due else turns, run_id=run_id)
    if run_id is not None:
        await add_job(transaction, KIND, group_id, parent_id=run.agent_id, due_at=clock.now())
    return run_id if due else None


async def note_consolidated(transaction: Transaction, consolidated: Mapping[str, Any]) -> None:
    """Note how far a group has read, in the transaction that ends the run which worked on it.

    Args:
        transaction: where to write.
        consolidated: `group_id`, `read_to` by conversation, `last_message_id`, and `by_all`: whether all who tend the
            memory have read that then; else nothing is noted.
    """
    if not consolidated["by_all"]:
        return
    group_id = consolidated["group_id"]
    for conversation_id, place in consolidated["read_to"].items():
        await transaction.run(_note_read, of_group=group_id, conversation=conversation_id, place=place)
    last = {"last_processed_message_id": consolidated["last_message_id"]}
    await transaction.run(update(groups).where(groups.c.id == group_id).values(**last))
