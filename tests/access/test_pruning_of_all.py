"""What a process does for its runs it does for every organisation's."""

from __future__ import annotations

from sqlalchemy import select

from folkmoot.agents.trace_keeping import TraceKeeping
from folkmoot.runs.pruning import Pruning
from folkmoot.settings import Settings
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.tables import run_events, runs, step_traces


async def test_old_logs_of_every_organisation_are_forgotten(opened: Store) -> None:
    for number, organization_id in enumerate(("org-one", "org-two"), 1):

        async def fill(transaction: Transaction, number: int = number) -> None:
            run = {"id": f"run-{number}", "agent_id": "a", "conversation_id": "a", "status": "completed"}
            run |= {"background": True, "cancel_requested": False, "details": "{}", "created_at": number}  # type: ignore[dict-item]
            await transaction.insert(runs, [run])
            await transaction.insert(run_events, [{"run_id": f"run-{number}", "sequence": 1, "data": "{}"}])

        await opened.of(organization_id).write(fill)
    assert await Pruning(opened, Settings(), TraceKeeping(Settings())).prune()
    assert await opened.everywhere.read(lambda transaction: transaction.all(select(run_events.c.run_id))) == []


async def test_runs_without_a_log_are_not_gone_through(opened: Store) -> None:
    """Whoever has had a server for years has millions of them, and each start would look at all."""
    run = {"agent_id": "a", "conversation_id": "a", "status": "completed", "background": True, "details": "{}"}
    many = [{"id": f"run-{at}", "cancel_requested": False, "created_at": at, **run} for at in range(1_200)]

    async def fill(transaction: Transaction) -> None:
        await transaction.insert(runs, many)
        await transaction.insert(run_events, [{"run_id": "run-1100", "sequence": 1, "data": "{}"}])

    await opened.write(fill)
    pruning = Pruning(opened, Settings(), TraceKeeping(Settings()))
    assert [await pruning.prune(), await pruning.prune()] == [True, False]
    assert await opened.read(lambda transaction: transaction.all(select(run_events.c.run_id))) == []


async def test_of_recent_traces_the_oldest_of_each_organisation_go_when_there_are_too_many(opened: Store) -> None:
    sizes = {"org-one": 40, "org-two": 10}
    now = clock.now()
    for organization_id, size in sizes.items():

        async def fill(transaction: Transaction, size: int = size) -> None:
            run = {"id": "run-1", "agent_id": "a", "conversation_id": "a", "status": "completed"}
            run |= {"background": True, "cancel_requested": False, "details": "{}", "created_at": now}  # type: ignore[dict-item]
            await transaction.insert(runs, [run])
            for number in range(5):
                trace = {"step_id": f"step-{number}", "run_id": "run-1", "request": "{}", "response": "{}"}
                await transaction.insert(step_traces, [{**trace, "size": size, "created_at": now + number}])

        await opened.of(organization_id).write(fill)
    settings = Settings(recent_traces_size=100)
    pruning = Pruning(opened, settings, TraceKeeping(settings))
    while await pruning.prune():
        """There may be more."""
    for organization_id, kept in (("org-one", ["step-3", "step-4"]), ("org-two", [f"step-{n}" for n in range(5)])):
        rows = await opened.of(organization_id).read(lambda transaction: transaction.all(select(step_traces)))
        assert sorted(row["step_id"] for row in rows) == kept
