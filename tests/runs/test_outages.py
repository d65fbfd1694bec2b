"""Turns that wait for a model while their process cannot say that it is still at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from types import SimpleNamespace

import pytest

from chaos.moot import end_leases, rows
from folkmoot.agents.creation import AgentPlan, create_agent
from folkmoot.agents.events import Event, TextPiece
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.application import run_server
from folkmoot.conversations.messages import Message
from folkmoot.errors import StoreUnavailable
from folkmoot.runs import supervisor
from folkmoot.runs.log_reader import follow_stored
from folkmoot.runs.runs import Run, find_run
from folkmoot.server.state import ServerState
from folkmoot.settings import Settings
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel


def environ_of(model: ScriptedModel) -> dict[str, str]:
    return {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": model.base_url}


async def new_agent(state: ServerState) -> str:
    plan = AgentPlan(name="a", system="Be kind.", model=MODEL, base_tools=False)

    async def create(transaction: Transaction) -> str:
        return (await create_agent(transaction, plan, MODEL, state.services, state.author)).id

    return await state.store.write(create)


async def test_a_process_that_was_away_judges_nobody_at_first(
    database_url: str, scripted_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leases have ended meanwhile, its own too, and nobody could extend them."""
    away = 0.0
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + away), raising=False)
    async with run_server(Settings(database=database_url), environ_of(scripted_model)) as state:
        agent = await new_agent(state)
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


async def test_a_process_whose_clock_is_set_does_not_take_its_own_runs_for_dead(
    database_url: str, scripted_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does a laptop that wakes up: the leases are over before they could be extended."""
    async with run_server(Settings(database=database_url), environ_of(scripted_model)) as state:
        agent = await new_agent(state)
        with scripted_model.hold() as held:
            said = [Message("user_message", {"content": "ECHO still here"})]
            run = await state.runs.start(TurnRequest(agent, agent, said, 5))
            await asyncio.to_thread(held.wait_for, 1)
            now = clock.now
            monkeypatch.setattr(clock, "now", lambda: now() + 3600 * 10**6)
            assert not await state.runs.supervisor.fail_dead(every=False)
        async for _ in state.runs.follow(run.id):
            pass
        assert (await state.store.read(lambda transaction: find_run(transaction, run.id))).status == "completed"


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_server_whose_clock_was_set_back_fails_what_it_left_when_it_starts(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server()
    with plain_client(server.url) as http, scripted_model.hold() as held:
        agent = http.post("/v1/agents", json={"name": "a", "model": MODEL}).json()["id"]
        run = http.post(f"/v1/agents/{agent}/messages/async", json={"input": "ECHO held"}).json()["id"]
        held.wait_for(1)
        server.kill()
        await rows(server.database, "UPDATE runs SET lease_expires_at = lease_expires_at + 3600000000")
        server.restart()
        assert http.get(f"/v1/runs/{run}").json()["status"] == "failed"
        held.release()
        assert http.post(f"/v1/agents/{agent}/messages", json={"input": "ECHO on"}).status_code == 200


async def test_a_turn_that_begins_when_its_process_has_stopped_the_others_ends_at_once(
    database_url: str, scripted_model: ScriptedModel
) -> None:
    settings = Settings(database=database_url, shutdown_wait=10 * PATIENCE)
    async with run_server(settings, environ_of(scripted_model)) as state:
        agent = await new_agent(state)
        await state.runs.supervisor.close()
        with scripted_model.hold():
            said = [Message("user_message", {"content": "ECHO too late"})]
            run = await state.runs.start(TurnRequest(agent, agent, said, 5))
            async with asyncio.timeout(PATIENCE):
                async for _ in state.runs.follow(run.id):
                    pass
        assert (await state.store.read(lambda transaction: find_run(transaction, run.id))).status == "failed"


async def test_ends_of_runs_that_the_database_does_not_take_are_tried_one_at_a_time(
    database_url: str, scripted_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is away each message that is tried leaves one, and each next message would wait for all of them."""
    monkeypatch.setattr(supervisor, "EXTEND_SECONDS", 3600.0)
    is_away, tried = True, 0

    async def store_end(_: Transaction) -> None:
        nonlocal tried
        tried += 1
        if is_away:
            raise StoreUnavailable("The database is away.")

    async with run_server(Settings(database=database_url), environ_of(scripted_model)) as state:
        for _ in range(5):
            await state.runs.supervisor.end(state.store, Run("agent-1", "agent-1", False, {}), store_end)
        tried = 0
        await state.runs.supervisor.settle("agent-1")
        assert tried == 1
        is_away, tried = False, 0
        await state.runs.supervisor.settle("agent-1")
        assert tried == 5
        await state.runs.supervisor.settle()
        assert tried == 5


async def test_pieces_that_the_database_did_not_take_are_offered_again(
    database_url: str, scripted_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers of other processes would not see them before the model writes on."""
    store_pieces = supervisor.store_pieces
    refused: list[str] = []

    async def refuse_once(transaction: Transaction, waiting: Sequence[tuple[str, int, Sequence[Event]]]) -> None:
        if not refused and any(isinstance(each, TextPiece) for _, _, events in waiting for each in events):
            refused.append("pieces")
            raise StoreUnavailable("It is away.")
        await store_pieces(transaction, waiting)

    monkeypatch.setattr(supervisor, "store_pieces", refuse_once)
    async with run_server(Settings(database=database_url), environ_of(scripted_model)) as state:
        agent = await new_agent(state)
        with scripted_model.hold(after=4):
            said = [Message("user_message", {"content": "ECHO one two three four five"})]
            run = await state.runs.start(TurnRequest(agent, agent, said, 5, stream=True))
            async with (
                asyncio.timeout(PATIENCE),
                aclosing(follow_stored(state.store, run.id, 0, asyncio.Event())) as events,
            ):
                async for _, event in events:
                    if isinstance(event, TextPiece):
                        break
        assert refused
