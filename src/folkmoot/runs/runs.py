"""Runs as they are stored: started, ended, failed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, or_, select, update

from folkmoot.agents.abandoned_calls import INTERRUPTED, settle_abandoned
from folkmoot.agents.events import TurnFailed
from folkmoot.conversations.conversations import release_lock
from folkmoot.conversations.messages import Message, message_from_json
from folkmoot.errors import NotFound
from folkmoot.identifiers import new_id
from folkmoot.runs.log import append_last, partial_answer
from folkmoot.store import clock
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.leases import LEASE
from folkmoot.store.tables import agents, messages, runs

CALLBACK_PATIENCE = 120_000_000
"""Microseconds that a process has to call a run's `callback_url`, with all its tries, before another one does."""


UNFINISHED = ("created", "running")
"""States of a run that waits for its turn, or has it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One turn of an agent. Times are in microseconds."""

    agent_id: str
    conversation_id: str
    background: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    asked_by: str | None = None
    """The conversation whose turn waits for this run's answer, when one agent asks another."""

    organization_id: str | None = None
    """Whose run it is, as far as it was stored."""

    id: str = field(default_factory=lambda: new_id("run"))
    status: str = "running"
    stop_reason: str | None = None
    created_at: int = field(default_factory=clock.now)
    started_at: int | None = None
    completed_at: int | None = None

    @property
    def duration_ns(self) -> int | None:
        """What it took, in nanoseconds; None while it is under way."""
        if self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at) * 1000

    @property
    def said(self) -> list[Message]:
        """What was said to it, until that is in its conversation: while it goes on, and when it came to nothing."""
        return [message_from_json(each) for each in self.details.get("said", ())]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen in it."""
        return self.status not in UNFINISHED

    @classmethod
    def from_row(cls, row: Row) -> Run:
        """Read a row of the runs table."""
        return cls(
            agent_id=row["agent_id"],
            conversation_id=row["conversation_id"],
            background=bool(row["background"]),
            details=json.loads(row["details"]),
            asked_by=row["asked_by"],
            organization_id=row["organization_id"],
            id=row["id"],
            status=row["status"],
            stop_reason=row["stop_reason"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            completed_at=row["completed_at"],
        )


_shared_lock_of_agent = (
    select(agents.c.id).where(agents.c.id == bindparam("agent_id")).with_for_update(read=True, key_share=True)
)
_by_id = select(runs).where(runs.c.id == bindparam("run_id"))
_by_id_locked = _by_id.with_for_update(key_share=True)
unfinished = or_(*(runs.c.status == status for status in UNFINISHED))
_end = (
    update(runs)
    .where(runs.c.id == bindparam("run_id"), unfinished)
    .values(
        status=bindparam("new_status"),
        stop_reason=bindparam("reason"),
        details=bindparam("new_details"),
        completed_at=bindparam("now"),
        callback_due=bindparam("due"),
        lease_expires_at=None,
    )
)
_a_message_of_run = select(messages.c.id).where(messages.c.run_id == bindparam("run_id")).limit(1)
_set_details = update(runs).where(runs.c.id == bindparam("run_id")).values(details=bindparam("new_details"))
_called_back = (
    update(runs).where(runs.c.id == bindparam("run_id")).values(details=bindparam("new_details"), callback_due=None)
)
_claim_callbacks = (
    update(runs)
    .where(runs.c.callback_due < bindparam("now"))
    .values(callback_due=bindparam("due"))
    .returning(runs.c.organization_id, runs.c.id)
)
# In one order for all processes, since each run's conversation is locked.
_dead = (
    select(runs)
    .where(unfinished, runs.c.lease_expires_at < bindparam("now"))
    .order_by(runs.c.conversation_id, runs.c.id)
)
_request_cancel = update(runs).where(runs.c.id == bindparam("run_id"), unfinished).values(cancel_requested=True)

CANCEL_TOPIC = "cancel"
"""The signal that some run shall be cancelled."""


def topic(run_id: str) -> str:
    """Return the signal that new events of a run give, and its end."""
    return f"run:{run_id}"


async def find_run(transaction: Transaction, run_id: str, *, lock: bool = False) -> Run:
    """Return the run; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such run.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, run_id=run_id)
    if row is None:
        raise NotFound(f"Run with id '{run_id}' not found")
    return Run.from_row(row)


async def store_run(transaction: Transaction, run: Run, status: str) -> None:
    """Store a new run: `created` while it waits for its turn, `running` when it has it.

    Raises:
        NotFound: its agent was deleted meanwhile.
    """
    now = clock.now()
    if status == "created" and await transaction.first(_shared_lock_of_agent, agent_id=run.agent_id) is None:
        raise NotFound(f"Agent with ID {run.agent_id} not found")
    transaction.signal(topic(run.id))
    await transaction.insert(
        runs,
        [
            {
                "id": run.id,
                "agent_id": run.agent_id,
                "conversation_id": run.conversation_id,
                "status": status,
                "background": run.background,
                "cancel_requested": False,
                "details": json.dumps(run.details),
                "asked_by": run.asked_by,
                "lease_expires_at": now + LEASE,
                "created_at": run.created_at,
                "started_at": now if status == "running" else None,
            }
        ],
    )


async def end_run(
    transaction: Transaction,
    run: Run,
    status: str,
    stop_reason: str,
    details: Mapping[str, Any],
    callback_patience: int = CALLBACK_PATIENCE,
) -> bool:
    """Store how the run ended, and let the conversation's next run begin; False when it had ended, or was deleted.

    Args:
        transaction: where to write.
        run: the run as it was begun.
        status: `completed`, `failed` or `cancelled`.
        stop_reason: one of the wire format's stop reasons.
        details: usage or error, added to the run's own details.
        callback_patience: microseconds after which any process calls the run's `callback_url`, if nobody has by then.
    """
    now = clock.now()
    await release_lock(transaction, run.conversation_id, run.id)  # the conversation is locked first, as a step does
    ended = await transaction.run(
        _end,
        run_id=run.id,
        new_status=status,
        reason=stop_reason,
        new_details=json.dumps({**await _kept(transaction, run, status), **details}),
        now=now,
        due=now + callback_patience if run.details.get("callback_url") else None,
    )
    transaction.signal(topic(run.id))
    return bool(ended)


async def _kept(transaction: Transaction, run: Run, status: str) -> Mapping[str, Any]:
    """Return what a run that has ended goes on saying: what was said to it only if that is not in the conversation."""
    details = dict(run.details)
    if "said" in details and (
        status == "completed" or await transaction.first(_a_message_of_run, run_id=run.id) is not None
    ):
        del details["said"]
    return details


async def request_cancel(transaction: Transaction, run_id: str) -> None:
    """Ask the process that works on the run to stop it."""
    await transaction.run(_request_cancel, run_id=run_id)
    transaction.signal(CANCEL_TOPIC)


async def cancel_requests(transaction: Transaction, run_ids: Sequence[str]) -> list[str]:
    """Return those of these runs that shall be cancelled."""
    if not run_ids:
        return []
    rows = await transaction.all(
        select(runs.c.id).where(runs.c.id.in_(list(run_ids)), runs.c.cancel_requested.is_(True))
    )
    return [row["id"] for row in rows]


async def note_retry(transaction: Transaction, run_id: str, retry_id: str) -> None:
    """Note which run was begun with what was said to this one in vain."""
    run = await find_run(transaction, run_id, lock=True)
    await transaction.run(_set_details, run_id=run_id, new_details=json.dumps({**run.details, "retried_by": retry_id}))


async def store_callback(transaction: Transaction, run_id: str, details: Mapping[str, Any]) -> None:
    """Store what came of calling a run's `callback_url`."""
    run = await find_run(transaction, run_id, lock=True)
    await transaction.run(_called_back, run_id=run_id, new_details=json.dumps({**run.details, **details}))


async def claim_callbacks(transaction: Transaction) -> list[tuple[str, str]]:
    """Return organisation and id of runs whose `callback_url` was not called in time; this process does it now."""
    now = clock.now()
    claimed = await transaction.all(_claim_callbacks, now=now, due=now + CALLBACK_PATIENCE)
    return [(row["organization_id"], row["id"]) for row in claimed]


async def extend_leases(transaction: Transaction, run_ids: Sequence[str]) -> list[str]:
    """Say that this process still works on these runs; return those that are unfinished still."""
    extended = await transaction.all(
        update(runs)
        .where(runs.c.id.in_(list(run_ids)), unfinished)
        .values(lease_expires_at=clock.now() + LEASE)
        .returning(runs.c.id)
    )
    return [row["id"] for row in extended]


async def stored_runs(transaction: Transaction, run_ids: Sequence[str]) -> list[str]:
    """Return those of these runs that are there, under way or over."""
    return [row["id"] for row in await transaction.all(select(runs.c.id).where(runs.c.id.in_(list(run_ids))))]


async def fail_dead_runs(transaction: Transaction, own: Collection[str], *, every: bool) -> list[str]:
    """Mark as failed the runs whose process is gone, and return their identifiers.

    Args:
        transaction: where to write, in every organisation.
        own: those that this process works on. It knows, whatever their leases say: its clock may have been set.
        every: all others that are running, because no other process can be at work on this database.
    """
    found = await transaction.all(_dead, now=clock.LAST if every else clock.now())
    dead = [Run.from_row(row) for row in found if row["id"] not in own]
    return [run.id for run in dead if await _fail_dead(transaction.within(run.organization_id or ""), run)]


async def _fail_dead(transaction: Transaction, run: Run) -> bool:
    """Mark a run as failed; False when it has ended meanwhile."""
    failed = TurnFailed(
        run.id, "error", "process_died", "The server process that worked on this run stopped before its end."
    )
    details: dict[str, Any] = {"error": {"type": failed.error_type, "message": failed.message}}
    if partial := await partial_answer(transaction, run.id):
        details["partial_answer"] = partial
    if not await end_run(transaction, run, "failed", failed.stop_reason, details, callback_patience=0):
        return False
    if run.status == "running" and run.details.get("decides"):
        await settle_abandoned(transaction, run.conversation_id, INTERRUPTED)
    await append_last(transaction, run.id, failed)
    return True
