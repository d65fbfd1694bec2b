"""Forgetting what is kept for a time only: logs of old runs, traces, figures of steps without a run, lost uploads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import Column, ColumnElement, and_, bindparam, delete, exists, func, not_, select

from folkmoot.agents.trace_keeping import TraceKeeping
from folkmoot.files.pieces import drop_forgotten
from folkmoot.runs.runs import unfinished
from folkmoot.settings import Settings
from folkmoot.store import clock
from folkmoot.store.engine import Row, Store, Transaction
from folkmoot.store.tables import block_readers, blocks, departures, run_events, runs, step_traces, steps

_AT_ONCE = 500

_over = (
    select(runs.c.organization_id, runs.c.id, runs.c.created_at)
    .where(runs.c.created_at > bindparam("after"), runs.c.created_at < bindparam("before"), not_(unfinished))
    .order_by(runs.c.created_at)
    .limit(_AT_ONCE)
)
_with_log = select(run_events.c.organization_id, run_events.c.run_id).distinct().subquery()
_first_with_log = select(func.min(runs.c.created_at).label("created_at")).join(
    _with_log, and_(_with_log.c.organization_id == runs.c.organization_id, _with_log.c.run_id == runs.c.id)
)
_old_traces = (
    select(step_traces.c.organization_id, step_traces.c.step_id.label("id"))
    .where(step_traces.c.created_at < bindparam("before"))
    .limit(_AT_ONCE)
)
_large_traces = (
    select(step_traces.c.organization_id)
    .group_by(step_traces.c.organization_id)
    .having(func.sum(step_traces.c.size) > bindparam("most"))
)
_running = (
    select(
        step_traces.c.organization_id,
        step_traces.c.step_id.label("id"),
        step_traces.c.created_at,
        func.sum(step_traces.c.size)
        .over(order_by=(step_traces.c.created_at.desc(), step_traces.c.step_id.desc()))
        .label("total"),
    )
).subquery()
_too_many_traces = (
    select(_running.c.organization_id, _running.c.id)
    .where(_running.c.total > bindparam("most"))
    .order_by(_running.c.created_at)
    .limit(_AT_ONCE)
)
_old_departures = (
    select(departures.c.organization_id, departures.c.id)
    .where(departures.c.created_at < bindparam("before"))
    .limit(_AT_ONCE)
)
_of_no_block = ~exists().where(blocks.c.id == block_readers.c.block_id)
"""A block that was deleted just as a step that had read it was stored."""

_old_steps = (
    select(steps.c.organization_id, steps.c.id).where(steps.c.run_deleted_at < bindparam("before")).limit(_AT_ONCE)
)


class Pruning:
    """Forgets what is older than a server's settings keep it, some at a time."""

    def __init__(self, store: Store, settings: Settings, traces: TraceKeeping) -> None:
        self._store = store
        self._settings = settings
        self._traces = traces
        self._logs_until: int | None = None
        """Up to when made no run has a log any more."""

    async def prune(self) -> bool:
        """Forget some of all that is too old; tell whether there may be more."""
        await drop_forgotten(self._store)
        settings = self._settings
        if self._logs_until is None:
            self._logs_until = await self._before_first_log()
        keep_traces = settings.keep_traces if settings.trace == "all" else settings.recent_traces
        kinds: tuple[tuple[Callable[[Transaction, int], Awaitable[bool]], float], ...] = (
            (self._prune_logs, settings.keep_streams),
            (_prune_traces, keep_traces),
            (_prune_steps, settings.keep_steps),
            (_prune_departures, settings.keep_steps),
        )
        more = False
        for some, seconds in kinds:
            before = clock.now() - int(seconds * 1e6)
            more |= await self._store.everywhere.write(lambda transaction: some(transaction, before))  # noqa: B023
        return await self._prune_large_traces() or more

    async def _before_first_log(self) -> int:
        """Return up to when made no run has a log: all runs that ever were need not be gone through at each start."""
        latest = clock.now() - int(self._settings.keep_streams * 1e6)
        (row,) = await self._store.everywhere.scan(lambda transaction: transaction.all(_first_with_log))
        return latest if row["created_at"] is None else min(latest, int(row["created_at"]) - 1)

    async def _prune_large_traces(self) -> bool:
        """Delete the oldest traces of organisations that have more of them than is kept of recent runs."""
        if self._settings.trace == "all":
            return False
        most, everywhere = self._settings.recent_traces_size, self._store.everywhere
        large = await everywhere.read(lambda transaction: transaction.all(_large_traces, most=most))

        async def some(transaction: Transaction) -> bool:
            old = await transaction.all(_too_many_traces, most=most)
            await _delete(transaction, step_traces.c.step_id, old)
            return bool(old)

        more = [await self._store.of(row["organization_id"]).write(some) for row in large]
        if not any(more):
            self._traces.forget_added()
        return any(more)

    async def _prune_logs(self, transaction: Transaction, before: int) -> bool:
        """Delete the logs of some of the oldest runs that are over; a stream of such a run shows its messages whole."""
        assert self._logs_until is not None
        old = await transaction.all(_over, after=self._logs_until, before=before)
        await _delete(transaction, run_events.c.run_id, old)
        if old:
            self._logs_until = int(old[-1]["created_at"])
        return bool(old)


async def _prune_traces(transaction: Transaction, before: int) -> bool:
    old = await transaction.all(_old_traces, before=before)
    await _delete(transaction, step_traces.c.step_id, old)
    return bool(old)


async def _prune_steps(transaction: Transaction, before: int) -> bool:
    old = await transaction.all(_old_steps, before=before)
    await _delete(transaction, block_readers.c.step_id, old, _of_no_block)
    await _delete(transaction, steps.c.id, old)
    return bool(old)


async def _prune_departures(transaction: Transaction, before: int) -> bool:
    old = await transaction.all(_old_departures, before=before)
    await _delete(transaction, departures.c.id, old)
    return bool(old)


async def _delete(
    transaction: Transaction, column: Column[str], old: Sequence[Row], *conditions: ColumnElement[bool]
) -> None:
    """Delete the rows that have one of these identifiers, organisation by organisation, as their keys begin."""
    ids: dict[str, list[str]] = defaultdict(list)
    for row in old:
        ids[row["organization_id"]].append(row["id"])
    for organization_id, some in ids.items():
        await transaction.within(organization_id).run(delete(column.table).where(column.in_(some), *conditions))
