"""Stops that come at odd moments of a run: before its task has begun, and while its failure is being stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from folkmoot.agents.agents import NewAgent, create_agent
from folkmoot.agents.events import Event
from folkmoot.conversations.messages import Message
from folkmoot.errors import ProviderError
from folkmoot.runs.asked import Asked
from folkmoot.runs.log import DONE, read_entries
from folkmoot.runs.runs import _fail_dead
from folkmoot.runs.service import RunService
from folkmoot.runs.supervisor import RunSupervisor
from folkmoot.server.app import run_server
from folkmoot.server.state import ServerState
from folkmoot.settings import Settings


@pytest.fixture
async def state(database_url: str) -> AsyncIterator[ServerState]:
    """A server's inside, without HTTP, so that a stop can come between two steps of the event loop."""
    async with run_server(Settings(database=database_url), {}) as opened:
        yield opened


@pytest.fixture
async def agent_id(state: ServerState) -> str:

    new = NewAgent(
        name="stopped",
        description=None,
        agent_type="letta_v1_agent",
        system="Be kind.",
        model="offline/notetaker",
        embedding=None,
        timezone="UTC",
        hidden=None,
        configuration={},
        tags=[],
        tools=[],
        block_ids=[],
        new_blocks=[],
        first_messages=[Message("system_message", {"content": "Be kind."})],
    )
    return (await state.store.write(lambda transaction: create_agent(transaction, new, state.author))).id


def asked(agent_id: str) -> Asked:
    return Asked(agent_id, [Message("user_message", {"content": "hello"})], 5, agent_id)


def shown(event: Event) -> list[dict[str, Any]]:
    return [{"shown": type(event).__name__}]


async def test_a_run_that_is_cancelled_before_its_task_has_begun_ends(state: ServerState, agent_id: str) -> None:
    run = await state.runs.start(asked(agent_id), shown, lambda _: [])
    cancelled = await state.runs.cancel(run.id)  # nothing has let the task begin
    assert (cancelled.status, cancelled.stop_reason) == ("cancelled", "cancelled")
    async with asyncio.timeout(30):
        entries = [entry async for entry in state.runs.follow(run.id, 0, shown)]
    assert entries[-1] == DONE
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
    stale = await state.runs.start(asked(agent_id), shown, lambda _: [])
    entries = [entry async for entry in state.runs.follow(stale.id, 0, shown)]
    assert not await state.store.write(lambda transaction: _fail_dead(transaction, replace(stale, status="running")))
    stored = await state.store.read(lambda transaction: read_entries(transaction, stale.id, 0))
    assert [entry for _, entry in stored] == entries
    assert entries.count(DONE) == 1


def active(turns: RunService) -> list[str]:
    return list(turns._active)
