"""The job that consolidates: sleep-time agents read what was said since, and work it into memory.

Each of them takes a turn of the one loop, as a run that people read, cancel and undo. It overwrites blocks only as it
was shown them (`TurnRequest.edits_as_read`). Each has read what its last completed run was told. How far all have is
noted in the transaction that ends the last run, so that what a process left half-done, or one of them could not do, is
read again by who has not, and by nobody twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import bindparam, exists, or_, select, update

from folkmoot.access.principals import Principal
from folkmoot.agents.agents import Agent, find_agent
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.conversations import MAIN_CONVERSATION
from folkmoot.conversations.messages import Message, text_in
from folkmoot.errors import FolkmootError, NotFound, ServerStopped
from folkmoot.groups.groups import Group, find_group
from folkmoot.groups.instructions import said_since
from folkmoot.groups.sleeptime import KIND, note_consolidated, share_blocks
from folkmoot.identifiers import new_id
from folkmoot.jobs.jobs import add_job, end_job
from folkmoot.jobs.kinds import ActiveJob, JobKind
from folkmoot.models.frames import Frame
from folkmoot.runs.runs import Run, store_run
from folkmoot.runs.service import RunService, new_run
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import group_members, group_readings, groups, messages, runs

MOST_SAID = 60_000
"""Characters of what was said that are worked on at once; what is behind them comes next."""

MESSAGES_AT_ONCE = 500

LONGEST_SAID = 8_000
"""Characters of one message that are shown."""

MOST_STEPS = 20
"""Steps of a run that consolidates."""

RUN_TYPE = "sleeptime_agent_send_message_async"
"""How programs know such runs."""

LOOKED_AT = 20
"""Runs of a sleep-time agent among which the one that it has read in last is looked for; others may talk to it too."""

_SAID = ("user_message", "assistant_message", "tool_call_message", "tool_return_message")

_unread = (
    select(messages.c.conversation_id, messages.c.sequence, messages.c.message_type, messages.c.body, messages.c.name)
    .add_columns(*(messages.c[name] for name in ("id", "otid", "sender_id", "run_id", "step_id", "created_at")))
    .join(group_readings, group_readings.c.conversation_id == messages.c.conversation_id)
    .where(
        group_readings.c.group_id == bindparam("group_id"),
        messages.c.sequence >= group_readings.c.read_to,
        or_(*(messages.c.message_type == kind for kind in _SAID)),
    )
    .order_by(messages.c.created_at, messages.c.conversation_id, messages.c.sequence)
    .limit(MESSAGES_AT_ONCE)
)
_is_unread = _unread.where(
    exists().where(group_members.c.group_id == group_readings.c.group_id)  # without members nobody will read it
).limit(1)
_completed_of_agent = (
    select(runs.c.details)
    .where(runs.c.agent_id == bindparam("of_agent"), runs.c.status == "completed")
    .order_by(runs.c.created_at.desc(), runs.c.id.desc())
    .limit(LOOKED_AT)
)
_take_run_id = update(groups).where(groups.c.id == bindparam("group_id")).values(next_run_id=None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: runs, each with the turn that it takes; and whether more waits behind.

    The first is stored, as those are told who set it off. The others are when it is their turn: nobody works on them
    before, and a run that nobody works on is taken for a dead process's.
    """

    turns: Sequence[tuple[Run, TurnRequest]] = ()
    more: bool = False


def consolidation_kind(runs_of: Callable[[Principal], RunService], idle_seconds: float) -> JobKind:
    """Return the kind of job.

    Args:
        runs_of: what takes turns on somebody's behalf.
        idle_seconds: how long after a turn is waited, for what need not be worked on at once.
    """

    async def work(active: ActiveJob) -> None:
        group_id = active.job.subject_id
        principal = Principal("sleep-time", "local", active.job.organization_id, "member")
        service, wanted, more = runs_of(principal), True, True
        while wanted and more:
            plan = await active.commit(lambda transaction: _begin(transaction, group_id, principal))
            wanted = await _take_turns(active, service, plan)
            more = plan.more or await active.commit(lambda transaction: _is_due(transaction, group_id))
        later = int(idle_seconds * 1e6) if wanted else None
        await active.commit(lambda transaction: _end(transaction, active, later))
        active.is_complete = True

    return JobKind(KIND, work)


async def _take_turns(active: ActiveJob, service: RunService, plan: Plan) -> bool:
    """Take the turns of all, whatever becomes of the others'; False when somebody cancelled one.

    Raises:
        FolkmootError: one of them failed, or cannot be taken while it waits for an approval.
    """
    failure: FolkmootError | None = None
    for place, (run, request) in enumerate(plan.turns):
        if failure is not None:  # then the last is not the end of it
            run = replace(run, details=_not_all(run.details))
        if place:
            await active.commit(partial(store_run, run=run, status="created"))
        try:
            if (await service.take_stored(run, request)).end.stop_reason == "cancelled":
                return False
        except ServerStopped:
            raise
        except FolkmootError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return True


def _not_all(details: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**details, "consolidation": {**details["consolidation"], "by_all": False}}


async def _begin(transaction: Transaction, group_id: str, principal: Principal) -> Plan:
    """Store the runs that work on what was said since; none when nothing was, or the group is gone."""
    try:
        group = await find_group(transaction, group_id, lock=True)
    except NotFound:
        return Plan()
    await share_blocks(transaction, group)
    found = await transaction.all(_unread, group_id=group_id)
    said, read_to = _within_limit([(row["conversation_id"], Message.from_row(row)) for row in found])
    if not said or not group.agent_ids or group.manager_agent_id is None:
        await transaction.run(_take_run_id, group_id=group_id)  # or it would be due for ever
        return Plan()
    manager = await find_agent(transaction, group.manager_agent_id)
    read = {"group_id": group.id, "read_to": read_to, "last_message_id": said[-1][1].id}
    told = {}
    for agent_id in group.agent_ids:
        had = await _read_by(transaction, group.id, agent_id)
        if new := [(each, message) for each, message in said if message.sequence >= had.get(each, 0)]:
            told[agent_id] = _told(group, manager, new)
    turns = []
    for place, (agent_id, text) in enumerate(told.items(), 1):
        request = _request(group, agent_id, text, {**read, "by_all": place == len(told)})
        run_id = group.next_run_id if place == 1 and group.next_run_id is not None else new_id("run")
        run = replace(new_run(request, principal), id=run_id, status="created")
        turns.append((run, request))
    if turns:
        await store_run(transaction, turns[0][0], "created")
    else:
        await note_consolidated(transaction, {**read, "by_all": True})
    await transaction.run(_take_run_id, group_id=group_id)
    return Plan(turns, more=len(said) < len(found) or len(found) == MESSAGES_AT_ONCE)


async def _read_by(transaction: Transaction, group_id: str, agent_id: str) -> Mapping[str, int]:
    """Return how far an agent has read for a group, by conversation: as its last completed run for it was told."""
    for row in await transaction.all(_completed_of_agent, of_agent=agent_id):
        about = json.loads(row["details"]).get("consolidation", {})
        if about.get("group_id") == group_id:
            read_to: Mapping[str, int] = about.get("read_to", {})
            return read_to
    return {}


def _told(group: Group, manager: Agent, said: Sequence[tuple[str, Message]]) -> str:
    """Return what those who tend an agent's memory are told was said; by voice in numbered lines."""
    frames = [_shown(manager, *each) for each in said]
    if group.manager_type != "voice_sleeptime":
        return said_since(manager.name, frames, "memory_finish_edits")
    numbered = [replace(frame, attributes={"line": str(line), **frame.attributes}) for line, frame in enumerate(frames)]
    return said_since(manager.name, numbered, "finish_rethinking_memory")


def _request(group: Group, agent_id: str, text: str, read: Mapping[str, Any]) -> TurnRequest:
    """Return what an agent is asked; `read` is what will have been read with its end, as `note_consolidated` has it."""
    about = {"run_type": RUN_TYPE, "group_id": group.id, "manager_agent_id": group.manager_agent_id}
    return TurnRequest(
        agent_id=agent_id,
        conversation_id=agent_id,
        messages=[Message("user_message", {"content": text}, sender_id=group.manager_agent_id)],
        max_steps=MOST_STEPS,
        background=True,
        edits_as_read=True,
        details={"metadata": about, "consolidation": read},
    )


def _within_limit(
    found: Sequence[tuple[str, Message]],
) -> tuple[list[tuple[str, Message]], dict[str, int]]:
    """Return what is worked on at once, the oldest first, and up to where it goes in each conversation."""
    said: list[tuple[str, Message]] = []
    read_to: dict[str, int] = {}
    length = 0
    for conversation_id, message in found:
        length += len(_words(message))
        if said and length > MOST_SAID:
            break
        said.append((conversation_id, message))
        read_to[conversation_id] = message.sequence + 1
    return said, read_to


def _shown(agent: Agent, conversation_id: str, message: Message) -> Frame:
    others = {"user_message": "user", "tool_return_message": f"tool {message.name}"}
    where = MAIN_CONVERSATION if conversation_id == agent.id else conversation_id
    at = clock.to_datetime(message.created_at).isoformat(timespec="seconds")
    attributes = {"from": others.get(message.message_type, agent.name), "conversation": where, "at": at}
    return Frame("message", attributes, _words(message))


def _words(message: Message) -> str:
    """Return what a message says, a long one cut with a note."""
    body = message.body
    if message.message_type == "tool_call_message":
        call = body["tool_call"]
        text = f"calls {call['name']} with {call['arguments']}"
    else:
        text = text_in(body.get("content", body.get("tool_return", "")), "(a picture)")
    left_out = len(text) - LONGEST_SAID
    return text if left_out <= 0 else f"{text[:LONGEST_SAID]}\n… ({left_out:,} more characters are left out here)"


async def _is_due(transaction: Transaction, group_id: str) -> bool:
    """Tell whether there were turns enough for another consolidation meanwhile."""
    row = await transaction.first(select(groups.c.next_run_id).where(groups.c.id == group_id))
    return row is not None and row["next_run_id"] is not None


async def _end(transaction: Transaction, active: ActiveJob, later: int | None) -> None:
    """End the job, and have what is unread worked on in so many microseconds; None when somebody cancelled it.

    Who counts a turn waits for the job's row meanwhile, so that none falls in between; with one that came just before,
    there may have been enough, and nobody waits for more.
    """
    group_id = active.job.subject_id
    await end_job(transaction, active.job, "completed")
    if later is not None and await transaction.first(_is_unread, group_id=group_id) is not None:
        wait = 0 if await _is_due(transaction, group_id) else later
        await add_job(transaction, KIND, group_id, parent_id=active.job.parent_id, due_at=clock.now() + wait)
