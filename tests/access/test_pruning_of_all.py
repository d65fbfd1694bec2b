"""What a process does for its runs it does for every organisation's."""

from __future__ import annotations

from sqlalchemy import select

from folkmoot.runs.pruning import Pruning
from folkmoot.settings import Settings
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.tables import run_events, runs


async def test_old_logs_of_every_organisation_are_forgotten(opened: Store) -> None:
    for number, organization_id in enumerate(("org-one", "org-two"), 1):

        async def fill(transaction: Transaction, number: int = number) -> None:
            run = {"id": f"run-{number}", "agent_id": "a", "conversation_id": "a", "status": "completed"}
            run |= {"background": True, "cancel_requested": False, "details": "{}", "created_at": number}  # type: ignore[dict-item]
            await transaction.insert(runs, [run])
            await transaction.insert(run_events, [{"run_id": f"run-{number}", "sequence": 1, "data": "{}"}])

        await opened.of(organization_id).write(fill)
    assert await Pruning(opened, Settings()).prune()
    assert await opened.everywhere.read(lambda transaction: transaction.all(select(run_events.c.run_id))) == []
