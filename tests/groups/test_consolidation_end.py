"""The end of the job that consolidates, amid turns that are counted."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from chaos.moot import rows
from folkmoot.groups.consolidation import _end
from folkmoot.groups.sleeptime import KIND
from folkmoot.identifiers import new_id
from folkmoot.jobs.jobs import add_job, claim_job, unfinished_jobs_of
from folkmoot.jobs.kinds import ActiveJob, JobKind
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import groups
from groups.test_sleeptime import TENDING, new_owl_of
from runs.talking import kept, ok, say
from support.clients import plain_client
from support.fixtures import MODEL, StartServer, one_store
from support.polling import until
from support.scripted_model import ScriptedModel
from support.stores import open_default

LATER = 10**12


async def nothing(_: ActiveJob) -> None:
    """Do nothing."""


async def test_enough_turns_just_before_it_ends_are_worked_on_at_once(
    start_server: StartServer, database_url: str
) -> None:
    """They were not yet when it last looked, and the turn finds the job still at work."""
    server = start_server()
    with plain_client(server.url) as http:
        owl = new_owl_of(http, 2)
        say(http, owl["id"], "the first of two")
    server.stop()
    group_id = owl["managed_group"]["id"]
    store = await open_default(database_url)

    async def begin(transaction: Transaction) -> None:
        await add_job(transaction, KIND, group_id, due_at=clock.now())

    async def have_enough(transaction: Transaction) -> None:
        await transaction.run(update(groups).where(groups.c.id == group_id).values(next_run_id=new_id("run")))

    async def due() -> int:
        (job,) = await store.read(lambda transaction: unfinished_jobs_of(transaction, group_id))
        assert job.due_at is not None
        return job.due_at

    async def end_amid(*turns: str) -> int:
        await store.write(begin)
        job = await store.everywhere.write(lambda transaction: claim_job(transaction, [KIND], ()))
        assert job is not None
        active = ActiveJob(store, job, JobKind(KIND, nothing))
        for _ in turns:
            await store.write(have_enough)
        await active.commit(lambda transaction: _end(transaction, active, LATER))
        return await due()

    try:
        assert await end_amid() > clock.now() + LATER // 2, "one turn of two waits for the next, or for a rest"
        assert await end_amid("the second") <= clock.now()
    finally:
        await store.close()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_who_waits_while_another_takes_its_turn_is_not_taken_for_dead(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    """A turn may take longer than a lease, which is over in no time here; a process that starts looks for the dead."""
    server = start_server()
    with plain_client(server.url) as http:
        owl, *both = [ok(http.post("/v1/agents", json={"name": each, "model": MODEL}))["id"] for each in "abc"]
        manager = {"manager_type": "sleeptime", "manager_agent_id": owl, "sleeptime_agent_frequency": 1}
        group = {"agent_ids": both, "description": "", "manager_config": manager}
        ok(http.post("/v1/groups", json=group))
        with scripted_model.hold(matching=TENDING) as held:
            say(http, owl, "hello")
            held.wait_for(1)
            asyncio.run(rows(server.database, "UPDATE runs SET lease_expires_at = 1 WHERE status = 'created'"))
            start_server(database=server.database)
            held.release()
            until(lambda: ok(http.get("/v1/jobs/active")) == [])
        for agent_id in both:
            ended = ok(http.get("/v1/runs", params={"agent_id": agent_id}))
            assert [run["status"] for run in ended] == ["completed"]


@one_store
def test_who_waits_for_an_approval_reads_later_and_the_others_read_once(start_server: StartServer) -> None:
    asking = [{"type": "requires_approval", "tool_name": "conversation_search"}]
    server = start_server()
    with plain_client(server.url) as http:
        owl, first, waiting, last = [
            ok(http.post("/v1/agents", json={"name": each, "model": MODEL, "tool_rules": asking}))["id"]
            for each in ("owl", "first", "waiting", "last")
        ]
        asked = say(http, waiting, "CALL conversation_search {}")["messages"][-1]
        manager = {"manager_type": "sleeptime", "manager_agent_id": owl, "sleeptime_agent_frequency": 1}
        group = {"agent_ids": [first, waiting, last], "description": "", "manager_config": manager}
        group_id = ok(http.post("/v1/groups", json=group))["id"]

        def told(agent_id: str) -> int:
            said = [each["content"] for each in kept(http, agent_id) if each["message_type"] == "user_message"]
            return sum("Ada sails" in each for each in said)

        say(http, owl, "ECHO Ada sails.")
        until(lambda: any(job["attempts"] > 1 for job in ok(http.get("/v1/jobs/active"))))
        assert [told(each) for each in (first, waiting, last)] == [1, 0, 1]
        assert ok(http.get(f"/v1/groups/{group_id}"))["last_processed_message_id"] is None
        denial = {"type": "approval", "tool_call_id": asked["tool_call"]["tool_call_id"], "approve": False}
        decision = {"type": "approval", "approvals": [denial]}
        ok(http.post(f"/v1/agents/{waiting}/messages", json={"messages": [decision]}))
        until(lambda: ok(http.get("/v1/jobs/active")) == [])
        assert [told(each) for each in (first, waiting, last)] == [1, 1, 1]
        assert ok(http.get(f"/v1/groups/{group_id}"))["last_processed_message_id"] is not None
