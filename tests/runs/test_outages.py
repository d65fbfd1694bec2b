"""Turns that wait for a model while their process cannot say that it is still at work."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from chaos.moot import end_leases
from folkmoot.agents.creation import AgentPlan, create_agent
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.application import run_server
from folkmoot.conversations.messages import Message
from folkmoot.runs import supervisor
from folkmoot.runs.runs import find_run
from folkmoot.settings import Settings
from folkmoot.store.engine import Transaction
from support.fixtures import MODEL
from support.scripted_model import ScriptedModel


async def test_a_process_that_was_away_judges_nobody_at_first(
    database_url: str, scripted_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leases have ended meanwhile, its own too, and nobody could extend them."""
    away = 0.0
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + away), raising=False)
    environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": scripted_model.base_url}
    async with run_server(Settings(database=database_url), environ) as state:
        plan = AgentPlan(name="a", system="Be kind.", model=MODEL, base_tools=False)

        async def create(transaction: Transaction) -> str:
            return (await create_agent(transaction, plan, MODEL, state.services, state.author)).id

        agent = await state.store.write(create)
        with scripted_model.hold() as held:
            said = [Message("user_message", {"content": "ECHO still here"})]
            run = await state.runs.start(TurnRequest(agent, agent, said, 5))
            await asyncio.to_thread(held.wait_for, 1)
            away = 60.0
            await end_leases(database_url)
            assert not await state.runs.supervisor.fail_dead(every=False)
        async for _ in state.runs.follow(run.id):
            pass
        assert (await state.store.read(lambda transaction: find_run(transaction, run.id))).status == "completed"
