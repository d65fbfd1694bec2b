"""What waits for a person: tool calls of all agents that somebody has to approve or deny."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, literal_column, select

from folkmoot.agents.abandoned_calls import pending_in
from folkmoot.agents.agents import Agent, find_agent, tools_of
from folkmoot.agents.standing_approvals import StandingApproval, approval_like
from folkmoot.conversations.conversations import find_conversation
from folkmoot.errors import NotFound
from folkmoot.memory.attachments import attached_rows
from folkmoot.memory.edits import Refusal, apply
from folkmoot.models.prompt import ToolCall
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.runs import UNFINISHED, Run
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.store.tables import runs
from folkmoot.tools.builtin.proposed import arguments_of, proposal_of
from folkmoot.tools.registry import ToolRegistry

MOST_LOOKED_AT = 200
"""Runs that wait, whose conversations are looked at."""

_waiting = (
    select(runs)
    # Spelled out, since SQLite takes the index of such runs only for the words that the index has.
    .where(runs.c.stop_reason == literal_column("'requires_approval'"))
    .order_by(runs.c.created_at.desc(), runs.c.id.desc())
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class ProposedEdit:
    """What a call would make of a block as it is now: `after`, or the words with which it would be refused."""

    block_id: str
    label: str
    version: int
    before: str
    after: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class ProposedCall:
    """A call that waits. `like` is the approval of calls like it; `edit` what it would do to a block, if it edits one.

    `arguments` are None when they cannot be read.
    """

    call: ToolCall
    arguments: Mapping[str, Any] | None
    edit: ProposedEdit | None
    like: StandingApproval | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An agent's calls that wait for a person, all of one step, and the run that ended with them."""

    agent: Agent
    run: Run
    calls: Sequence[ProposedCall]


async def waiting_runs(transaction: Transaction) -> list[Run]:
    """Return the runs that ended with calls that wait, the newest first; calls decided just now are left out."""
    found = [Run.from_row(row) for row in await transaction.all(_waiting, most=MOST_LOOKED_AT)]
    if not found:
        return []
    under_way = await list_runs(transaction, RunFilter(statuses=UNFINISHED), Page(limit=LARGEST_PAGE, order="desc"))
    decided = {run.conversation_id for run in under_way if run.details.get("decides")}
    newest = {run.conversation_id: run for run in reversed(found)}
    return [run for run in found if newest[run.conversation_id] is run and run.conversation_id not in decided]


async def read_inbox(transaction: Transaction, registry: ToolRegistry) -> list[Waiting]:
    """Return what waits for a person, the longest first.

    A call of a tool that the program which asked brings itself waits for that program, and is no person's.
    """
    inbox = []
    for run in reversed(await waiting_runs(transaction)):
        try:
            agent = await find_agent(transaction, run.agent_id)
            pending = await pending_in(transaction, await find_conversation(transaction, run.conversation_id))
        except NotFound:  # it is being deleted
            continue
        own = {tool.name for tool in await tools_of(transaction, agent.id, registry)}
        if pending is None or pending.request.run_id != run.id or not any(call.name in own for call in pending.calls):
            continue
        rows = await attached_rows(transaction, agent.id, run.conversation_id)
        blocks = {row["label"]: row for row in rows}
        inbox.append(Waiting(agent, run, [_proposed(call, blocks) for call in pending.calls]))
    return inbox


def _proposed(call: ToolCall, blocks: Mapping[str, Row]) -> ProposedCall:
    arguments = arguments_of(call.arguments)
    proposal = None if arguments is None else proposal_of(call.name, arguments)
    row = None if proposal is None else blocks.get(proposal.label)
    edit = None
    if proposal is not None and row is not None:
        after = apply(row["value"], proposal.edit, row["character_limit"])
        text, refusal = (row["value"], after.reason) if isinstance(after, Refusal) else (after, "")
        edit = ProposedEdit(row["id"], row["label"], row["version"], row["value"], text, refusal)
    return ProposedCall(call, arguments, edit, approval_like(call, ""))
