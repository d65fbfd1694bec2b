"""What is said to agents at times to come: each due time is started once, whoever looks, and what was missed once."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from letta_client import Letta

from folkmoot.access.users import row_of_user
from folkmoot.errors import InvalidInput
from folkmoot.identifiers import ORGANIZATION
from folkmoot.schedules.schedules import due_schedules, take
from folkmoot.schedules.starter import AT_ONCE
from folkmoot.schedules.times import Timetable
from folkmoot.store.opening import open_store
from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, StartServer, one_store
from support.scripted_model import ScriptedModel

SAID = [{"role": "user", "content": "ECHO it is time"}]
DAILY = {"type": "recurring", "cron_expression": "0 9 * * *"}


def soon() -> float:
    return (time.time() + 0.3) * 1000


def until(there: Callable[[], Any]) -> Any:
    """Return what is there at last; the test's own limit ends the wait."""
    while not (found := there()):
        time.sleep(0.05)
    return found


def runs_of(http: httpx.Client, agent_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get("/v1/runs", params={"agent_id": agent_id}).raise_for_status().json()
    return found


def test_what_is_said_once_is_said_and_then_gone(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    made = client.agents.schedule.create(agent.id, messages=SAID, schedule={"scheduled_at": soon()})  # type: ignore[list-item, arg-type]
    (run,) = until(lambda: runs_of(http, agent.id))
    assert run["background"] is True
    with http.stream("GET", f"/v1/runs/{run['id']}/stream") as stream:
        assert "it is time" in "".join(stream.iter_text())
    assert client.agents.schedule.list(agent.id).scheduled_messages == []
    assert http.get(f"/v1/agents/{agent.id}/schedule/{made.id}").status_code == 404


def test_it_is_said_in_the_conversation_that_is_named(http: httpx.Client, new_agent: NewAgent) -> None:
    agent, other = new_agent(), new_agent()
    thread = http.post("/v1/conversations", params={"agent_id": agent.id}, json={}).json()["id"]
    body = {"messages": SAID, "schedule": {"scheduled_at": soon()}, "conversation_id": thread, "name": "tea"}
    assert http.post(f"/v1/agents/{agent.id}/schedule", json=body).status_code == 201
    (run,) = until(lambda: runs_of(http, agent.id))
    assert run["conversation_id"] == thread
    assert http.post(f"/v1/agents/{other.id}/schedule", json=body).status_code == 404


def test_what_recurs_is_listed_read_and_deleted(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(timezone="Europe/Berlin")
    path = f"/v1/agents/{agent.id}/schedule"
    made = [http.post(path, json={"messages": SAID, "schedule": DAILY, "max_steps": 3}).json()["id"] for _ in range(3)]
    first = client.agents.schedule.list(agent.id, limit="2")
    assert ([each.id for each in first.scheduled_messages], first.has_next_page) == (made[:2], True)
    rest = client.agents.schedule.list(agent.id, limit="2", after=made[1])
    assert ([each.id for each in rest.scheduled_messages], rest.has_next_page) == (made[2:], False)
    shown = http.get(f"{path}/{made[0]}").json()
    assert shown["schedule"] == {**DAILY, "timezone": "Europe/Berlin"}
    assert shown["message"]["messages"][0]["content"] == "ECHO it is time"
    assert shown["message"]["max_steps"] == 3
    berlin = Timetable(cron="0 9 * * *", timezone="Europe/Berlin").after(int(time.time() * 1e6))
    assert shown["next_scheduled_time"] == datetime.fromtimestamp((berlin or 0) / 1e6, UTC).isoformat().replace(
        "+00:00", "Z"
    )
    assert client.agents.schedule.delete(made[0], agent_id=agent.id).success is True
    assert http.get(f"{path}/{made[0]}").status_code == 404
    assert http.delete(f"/v1/agents/{agent.id}").status_code == 200
    assert http.get(path).status_code == 404


@one_store
def test_what_can_never_be_due_is_refused(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    for schedule, field in (
        ({"scheduled_at": 1}, "schedule.scheduled_at"),
        ({"scheduled_at": time.time() + 60}, "milliseconds"),
        ({"type": "recurring", "cron_expression": "every day"}, "schedule.cron_expression"),
        ({"type": "recurring", "cron_expression": "99 * * * *"}, "schedule.cron_expression"),
        ({"type": "recurring", "cron_expression": "0 0 30 2 *"}, "schedule.cron_expression"),
        ({**DAILY, "timezone": "Mars/Olympus"}, "schedule.timezone"),
        ({"type": "often"}, "schedule"),
    ):
        answer = http.post(f"/v1/agents/{agent.id}/schedule", json={"messages": SAID, "schedule": schedule})
        assert (answer.status_code, field in answer.json()["detail"]) == (422, True), answer.text
    assert http.get(f"/v1/agents/{agent.id}/schedule").json()["scheduled_messages"] == []


def test_each_due_time_is_started_once_whoever_looks_and_what_was_missed_once(
    start_server: StartServer, database_url: str, scripted_model: ScriptedModel, store: str
) -> None:
    """Schedules that fell due many times while no process was there, then processes that look at the same moment."""
    server = start_server()
    with plain_client(server.url) as http:
        agents = [http.post("/v1/agents", json={"model": MODEL}).json()["id"] for _ in range(8)]
        for number, agent in enumerate(agents):
            times = {"scheduled_at": (time.time() + 3600) * 1000} if number % 2 else DAILY
            made = http.post(f"/v1/agents/{agent}/schedule", json={"messages": SAID, "schedule": times})
            assert made.status_code == 201, made.text
    server.stop()
    _let_all_be_due(database_url, int((time.time() - timedelta(days=3).total_seconds()) * 1e6))
    servers = [start_server() for _ in range(2)] if store == "postgres" else [start_server()]
    with plain_client(servers[0].url) as http:
        started = [until(lambda agent=agent: runs_of(http, agent)) for agent in agents]
        assert [len(found) for found in started] == [1] * len(agents)
        until(lambda: all(runs_of(http, agent)[0]["status"] == "completed" for agent in agents))
        listed = [http.get(f"/v1/agents/{agent}/schedule").json()["scheduled_messages"] for agent in agents]
        assert [len(each) for each in listed] == [1, 0] * (len(agents) // 2)
        assert all(
            each[0]["last_run_id"] == found[0]["id"] for each, found in zip(listed[::2], started[::2], strict=True)
        )
        assert all(each[0]["next_scheduled_time"] > datetime.now(UTC).isoformat() for each in listed[::2])
    for each in servers:
        each.stop()
    again = start_server()
    with plain_client(again.url) as http:
        assert [len(runs_of(http, agent)) for agent in agents] == [1] * len(agents)


@one_store
def test_a_schedule_ends_with_the_key_that_made_it(start_server: StartServer, database_url: str) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "the-key"})
    with httpx.Client(base_url=server.url, timeout=60, headers={"authorization": "Bearer the-key"}) as http:
        agents = [http.post("/v1/agents", json={"model": MODEL}).json()["id"] for _ in range(3)]
        ada, bob = (http.post("/v1/keys", json={"name": name}).json() for name in ("ada", "bob"))
        for agent, key in zip(agents, (ada["key"], bob["key"], "the-key"), strict=True):
            made = {"messages": SAID, "schedule": DAILY}
            http.post(
                f"/v1/agents/{agent}/schedule", json=made, headers={"authorization": f"Bearer {key}"}
            ).raise_for_status()
        http.delete(f"/v1/keys/{ada['id']}").raise_for_status()
    server.stop()
    _let_all_be_due(database_url, 1_000_000)
    again = start_server(env={"FOLKMOOT_API_KEY": "the-key"})
    with httpx.Client(base_url=again.url, timeout=60, headers={"authorization": "Bearer the-key"}) as http:
        started = [until(lambda agent=agent: runs_of(http, agent)) for agent in agents[1:]]
        assert [len(runs) for runs in started] == [1, 1]
        path = f"/v1/agents/{agents[0]}/schedule"
        until(lambda: runs_of(http, agents[0]) or not http.get(path).json()["scheduled_messages"])
        assert runs_of(http, agents[0]) == []


@one_store
def test_a_schedule_that_cannot_go_on_ends_and_holds_up_no_other(start_server: StartServer, database_url: str) -> None:
    """It is due before the others, and its time zone is one that the machine knows no more."""
    server = start_server()
    with plain_client(server.url) as http:
        lost, other = (http.post("/v1/agents", json={"model": MODEL}).json()["id"] for _ in range(2))
        for agent in (lost, other):
            made = http.post(f"/v1/agents/{agent}/schedule", json={"messages": SAID, "schedule": DAILY})
            assert made.status_code == 201, made.text
    server.stop()
    _let_all_be_due(database_url, 2_000_000)
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection, connection:
        moved = connection.execute(
            "UPDATE schedules SET due_at = 1000000, timezone = 'Mars/Olympus' WHERE agent_id = ?", [lost]
        )
        assert moved.rowcount == 1
    again = start_server()
    with plain_client(again.url) as http:
        assert len(until(lambda: runs_of(http, other))) == 1
        assert http.get(f"/v1/agents/{lost}/schedule").json()["scheduled_messages"] == []
        assert runs_of(http, lost) == []


def test_a_schedule_that_fails_at_its_start_is_told_once_put_off_and_holds_up_no_other(
    start_server: StartServer, database_url: str
) -> None:
    """More of them than one look starts, all due before the other; what they say is nothing that can be read."""
    server = start_server()
    with plain_client(server.url) as http:
        broken, other = (http.post("/v1/agents", json={"model": MODEL}).json()["id"] for _ in range(2))
        once = {"scheduled_at": (time.time() + 3600) * 1000}
        for agent, times in ((other, DAILY), *((broken, each) for each in (DAILY, once) * AT_ONCE)):
            made = http.post(f"/v1/agents/{agent}/schedule", json={"messages": SAID, "schedule": times})
            assert made.status_code == 201, made.text
    server.stop()
    _write(database_url, "UPDATE schedules SET due_at = 2000000")
    of_broken = f"WHERE agent_id = '{broken}'"
    _write(database_url, f"UPDATE schedules SET due_at = 1000000, said = '[{{}}]' {of_broken}")
    lost = f"SELECT max(id) FROM schedules {of_broken} AND cron IS NOT NULL"
    _write(database_url, f"UPDATE schedules SET timezone = 'Mars/Olympus' WHERE id = ({lost})")
    again = start_server()
    with plain_client(again.url) as http:
        until(lambda: runs_of(http, other))
        assert runs_of(http, broken) == []
        put_off = http.get(f"/v1/agents/{broken}/schedule").json()["scheduled_messages"]
        now = datetime.now(UTC).isoformat()
        assert [each["next_scheduled_time"] > now for each in put_off] == [True] * 2 * AT_ONCE
        told = again.log()
        assert [told.count(f"Schedule {each['id']} could not be started") for each in put_off] == [1] * 2 * AT_ONCE


@one_store
def test_a_users_next_key_takes_up_no_schedule_of_the_one_before(start_server: StartServer, database_url: str) -> None:
    """Users who came from another server keep their row, so that what it had made could come back to life."""
    server = start_server(env={"FOLKMOOT_API_KEY": "the-key"})
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
        for number in (1, 11):
            row = {**row_of_user(f"user-{number}", "grace", 1, "folkmoot import"), "organization_id": ORGANIZATION}
            connection.execute(
                f"INSERT INTO api_keys ({','.join(row)}) VALUES ({','.join('?' * len(row))})", [*row.values()]
            )
        connection.commit()
    with httpx.Client(base_url=server.url, timeout=60, headers={"authorization": "Bearer the-key"}) as http:
        path = f"/v1/agents/{http.post('/v1/agents', json={'model': MODEL}).json()['id']}/schedule"
        made = {"messages": SAID, "schedule": DAILY}
        kept = [http.post(path, json=made).json()["id"]]
        for number in (1, 11):
            key = http.post("/v1/keys", json={"name": "grace", "user": f"user-{number}"}).raise_for_status().json()
            scheduled = http.post(path, json=made, headers={"authorization": f"Bearer {key['key']}"})
            kept.append(scheduled.raise_for_status().json()["id"])
        del kept[1]
        refused = http.post("/v1/keys", json={"name": "grace", "user": "user-11"})
        http.delete("/v1/keys/user-1").raise_for_status()
        again = http.post("/v1/keys", json={"name": "grace", "user": "user-1", "role": "admin"})
        assert (refused.status_code, again.status_code) == (409, 200)
        assert [each["id"] for each in http.get(path).json()["scheduled_messages"]] == kept


def test_of_those_who_saw_the_same_due_time_one_takes_it(start_server: StartServer, database_url: str) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        agent = http.post("/v1/agents", json={"model": MODEL}).json()["id"]
        for times in (DAILY, {"scheduled_at": (time.time() + 3600) * 1000}):
            http.post(f"/v1/agents/{agent}/schedule", json={"messages": SAID, "schedule": times}).raise_for_status()
    server.stop()
    _let_all_be_due(database_url, 1_000_000)

    async def take_twice() -> list[list[bool]]:
        store = (await open_store(database_url, 10)).everywhere
        try:
            due = await store.read(lambda transaction: due_schedules(transaction, 10))
            return [
                [await store.write(lambda transaction: take(transaction, each, "run-1")) for _ in range(2)]  # noqa: B023
                for each in due
            ]
        finally:
            await store.close()

    assert asyncio.run(take_twice()) == [[True, False], [True, False]]


def _let_all_be_due(database_url: str, due_at: int) -> None:
    _write(database_url, f"UPDATE schedules SET due_at = {due_at}")


def _write(database_url: str, statement: str) -> None:
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute(statement)
        return

    async def write() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(write())


@pytest.mark.parametrize(
    ("cron", "zone", "now", "due"),
    [
        ("0 9 * * MON", "UTC", "2026-11-28T12:00+00:00", "2026-11-30T09:00+00:00"),
        ("0 9 * * *", "Asia/Kolkata", "2026-06-01T03:29+00:00", "2026-06-01T03:30+00:00"),
        ("0 9 * * *", "UTC", "2026-06-01T09:00+00:00", "2026-06-02T09:00+00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00+00:00", "2026-03-29T01:00+00:00"),  # 2:30 is left out
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00+00:00", "2026-10-25T00:30+00:00"),  # 2:30 comes twice
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30+00:00", "2026-10-26T01:30+00:00"),
    ],
)
def test_a_cron_expression_is_read_in_its_time_zone(cron: str, zone: str, now: str, due: str) -> None:
    found = Timetable(cron=cron, timezone=zone).after(int(datetime.fromisoformat(now).timestamp() * 1e6))
    assert found is not None
    assert datetime.fromtimestamp(found / 1e6, UTC).isoformat(timespec="minutes") == due


def test_a_time_zone_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="timezone"):
        Timetable(cron="0 9 * * *", timezone="../etc/passwd").check(0)
