"""Stops that come at odd moments of a run: before its task has begun, and while its failure is being stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from folkmoot.agents.creation import AgentPlan, create_agent
from folkmoot.agents.events import TurnFailed
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.application import run_server
from folkmoot.conversations.messages import Message
from folkmoot.errors import ProviderError, ServerStopped
from folkmoot.runs.log import is_last, read_events
from folkmoot.runs.runs import Run, _fail_dead, end_run, find_run
from folkmoot.runs.service import RunService
from folkmoot.runs.supervisor import RunSupervisor
from folkmoot.server.state import ServerState
from folkmoot.settings import Settings
from folkmoot.store.engine import Transaction
from support.polling import PATIENCE


@pytest.fixture
async def state(database_url: str) -> AsyncIterator[ServerState]:
    """A server's inside, without HTTP, so that a stop can come between two steps of the event loop."""
    async with run_server(Settings(database=database_url, shutdown_wait=3600), {}) as opened:
        yield opened


@pytest.fixture
async def agent_id(state: ServerState) -> str:

    plan = AgentPlan(name="stopped", system="Be kind.", model="offline/notetaker", base_tools=False)

    async def create(transaction: Transaction) -> str:
        return (await create_agent(transaction, plan, "offline/notetaker", state.services, state.author)).id

    return await state.store.write(create)


def asked(agent_id: str) -> TurnRequest:
    return TurnRequest(agent_id, agent_id, [Message("user_message", {"content": "hello"})], 5)


async def test_a_run_that_is_cancelled_before_its_task_has_begun_ends(state: ServerState, agent_id: str) -> None:
    run = await state.runs.start(asked(agent_id))
    cancelled = await state.runs.cancel(run.id)  # nothing has let the task begin
    assert (cancelled.status, cancelled.stop_reason) == ("cancelled", "cancelled")
    async with asyncio.timeout(PATIENCE):
        events = [event async for _, event in state.runs.follow(run.id)]
    assert isinstance(events[-1], TurnFailed)
    assert (await state.runs.answer(asked(agent_id))).end.stop_reason == "end_turn"


async def test_a_cancel_that_comes_while_a_failure_is_stored_changes_nothing(
    state: ServerState, agent_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, go_on = asyncio.Event(), asyncio.Event()
    end = RunSupervisor.end

    async def slowly(keeper: RunSupervisor, *given: Any) -> None:
        failing.set()
        await go_on.wait()
        await end(keeper, *given)

    async def no_answer(*_: Any, **__: Any) -> Any:
        raise ProviderError("no such luck")

    monkeypatch.setattr(RunSupervisor, "end", slowly)
    monkeypatch.setattr(type(state.services.models), "ask", no_answer)
    answering = asyncio.create_task(state.runs.answer(asked(agent_id)))
    await failing.wait()
    (run_id,) = active(state.runs)
    cancelling = asyncio.create_task(state.runs.cancel(run_id))
    await asyncio.sleep(0)
    go_on.set()
    assert (await cancelling).status == "failed"
    with pytest.raises(ProviderError, match="no such luck"):
        await answering


async def test_a_run_that_ends_while_it_is_taken_for_dead_keeps_its_end(state: ServerState, agent_id: str) -> None:
    """Another process has found its lease expired, and waits for the step that ends it to be stored."""
    stale = await state.runs.start(asked(agent_id))
    events = [event async for event in state.runs.follow(stale.id)]
    assert not await state.store.write(lambda transaction: _fail_dead(transaction, replace(stale, status="running")))
    stored = await state.store.read(lambda transaction: read_events(transaction, stale.id, 0))
    assert stored == events
    assert sum(is_last(event) for _, event in events) == 1


async def test_the_end_of_the_wait_is_set_once(
    state: ServerState, agent_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing gives no new time to a run that was not done when the time was over."""
    asking = asyncio.Event()

    async def no_answer(*_: Any, **__: Any) -> Any:
        asking.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(type(state.services.models), "ask", no_answer)
    run = await state.runs.start(asked(agent_id))
    await asking.wait()
    state.runs.supervisor.stop_after(0.01)
    state.runs.supervisor.stop_after(3600)
    async with asyncio.timeout(PATIENCE):
        await state.runs.supervisor.close()
    ended = await state.store.read(lambda transaction: find_run(transaction, run.id))
    assert (ended.status, ended.details["error"]["type"]) == ("failed", "server_stopped")


async def test_the_end_of_each_of_many_waiting_runs_is_stored_once(
    state: ServerState, agent_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, ended = asyncio.Event(), []

    async def no_answer(*_: Any, **__: Any) -> Any:
        asking.set()
        await asyncio.Event().wait()

    async def counted(transaction: Transaction, run: Run, *end: Any) -> bool:
        ended.append(run.id)
        return await end_run(transaction, run, *end)

    monkeypatch.setattr(type(state.services.models), "ask", no_answer)
    monkeypatch.setattr("folkmoot.runs.service.end_run", counted)
    begun = [await state.runs.start(asked(agent_id)) for _ in range(20)]
    await asking.wait()
    state.runs.supervisor.stop_after(0)
    async with asyncio.timeout(PATIENCE):
        await state.runs.supervisor.close()
    assert sorted(ended) == sorted(run.id for run in begun)


async def test_a_run_that_begins_when_the_time_is_over_is_stopped(state: ServerState, agent_id: str) -> None:
    state.runs.supervisor.stop_after(0)
    await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ServerStopped):
            await state.runs.answer(asked(agent_id))


def active(runs: RunService) -> list[str]:
    return list(runs.supervisor.active)
