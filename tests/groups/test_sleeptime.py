"""Sleep-time agents: made with the agent whose memory they tend, run behind its turns, careful with others' words."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from runs.talking import followed, kept, ok, say
from support.clients import plain_client
from support.fixtures import MODEL, StartServer, one_store
from support.polling import until
from support.scripted_model import ScriptedModel

Owl = dict[str, Any]

TENDING = "said_since"
"""What stands in each message in which a sleep-time agent is told what was said."""


def rethink(text: str, label: str = "human") -> str:
    """Return what makes the sleep-time agent rewrite a block; the agent itself has no such tool."""
    return f"CALL memory_rethink {json.dumps({'label': label, 'new_memory': text})}"


@pytest.fixture
def new_owl(http: httpx.Client) -> Iterator[Callable[..., Owl]]:
    """Make an agent with a sleep-time agent, and delete both behind the test, so that none wakes up in another."""
    made: list[str] = []

    def make(frequency: int = 1, **fields: Any) -> Owl:
        owl = new_owl_of(http, frequency, **fields)
        made.append(owl["id"])
        return owl

    yield make
    for agent_id in made:
        ok(http.delete(f"/v1/agents/{agent_id}"))


def new_owl_of(http: httpx.Client, frequency: int, **fields: Any) -> Owl:
    blocks = [{"label": "human", "value": "Ada"}, {"label": "persona", "value": "Owl."}]
    plan = {"name": "night owl", "model": MODEL, "enable_sleeptime": True, "memory_blocks": blocks, **fields}
    owl: Owl = ok(http.post("/v1/agents", json=plan))
    manager = {"manager_type": "sleeptime", "sleeptime_agent_frequency": frequency}
    ok(http.patch(f"/v1/groups/{owl['managed_group']['id']}", json={"manager_config": manager}))
    return owl


def partner_of(http: httpx.Client, owl: Owl) -> Owl:
    partner: Owl = ok(http.get(f"/v1/agents/{owl['managed_group']['agent_ids'][0]}"))
    return partner


def group_of(http: httpx.Client, owl: Owl) -> Owl:
    group: Owl = ok(http.get(f"/v1/groups/{owl['managed_group']['id']}"))
    return group


def block_of(http: httpx.Client, owl: Owl, label: str = "human") -> Owl:
    block: Owl = ok(http.get(f"/v1/agents/{owl['id']}/core-memory/blocks/{label}"))
    return block


def consolidated(http: httpx.Client, run_id: str) -> Owl:
    """Return a run that works on memory once it is over; it is stored a moment behind the turn that set it off."""
    until(lambda: http.get(f"/v1/runs/{run_id}").status_code != 404)
    followed(http, run_id)
    run: Owl = ok(http.get(f"/v1/runs/{run_id}"))
    return run


def test_an_agent_is_made_with_who_tends_its_memory(http: httpx.Client, new_owl: Callable[..., Owl]) -> None:
    owl = new_owl()
    group = owl["managed_group"]
    assert owl["multi_agent_group"] == group
    assert {tool["name"] for tool in owl["tools"]} == {"send_message", "conversation_search", "archival_memory_search"}
    told = (
        "manager_type",
        "manager_agent_id",
        "sleeptime_agent_frequency",
        "turns_counter",
        "last_processed_message_id",
    )
    assert [group[name] for name in told] == ["sleeptime", owl["id"], 5, -1, None]
    partner = partner_of(http, owl)
    assert (partner["name"], partner["agent_type"], partner["managed_group"]) == (
        "night owl-sleeptime",
        "sleeptime_agent",
        None,
    )
    mine = {block["label"]: block["id"] for block in owl["blocks"]}
    theirs = {block["label"]: block["id"] for block in partner["blocks"]}
    assert set(theirs) == {"memory_persona", *mine}
    assert {label: theirs[label] for label in mine} == mine
    assert "memory_finish_edits" in {tool["name"] for tool in partner["tools"]}


def test_it_is_switched_on_later_and_goes_with_its_agent(http: httpx.Client) -> None:
    agent = ok(http.post("/v1/agents", json={"name": "later", "model": MODEL}))
    assert agent["managed_group"] is None
    path = f"/v1/agents/{agent['id']}"
    changed = ok(http.patch(path, json={"enable_sleeptime": True}))
    again = ok(http.patch(path, json={"enable_sleeptime": True}))
    group, partner = changed["managed_group"], partner_of(http, changed)
    assert again["managed_group"]["id"] == group["id"]
    assert {tool["name"] for tool in changed["tools"]} == {tool["name"] for tool in agent["tools"]}
    ok(http.delete(path))
    for gone in (f"/v1/agents/{partner['id']}", f"/v1/groups/{group['id']}"):
        assert http.get(gone).status_code == 404


def test_what_was_said_is_worked_into_memory_behind_the_turn(http: httpx.Client, new_owl: Callable[..., Owl]) -> None:
    owl = new_owl()
    turn = say(http, owl["id"], rethink("Ada likes tea."))
    (run_id,) = turn["usage"]["run_ids"]
    run = consolidated(http, run_id)
    partner = partner_of(http, owl)
    assert (run["status"], run["agent_id"], run["background"]) == ("completed", partner["id"], True)
    assert run["metadata"]["run_type"] == "sleeptime_agent_send_message_async"
    block = block_of(http, owl)
    assert block["value"] == "Ada likes tea."
    (version,) = ok(http.get(f"/v1/blocks/{block['id']}/history", params={"limit": 1}))
    assert (version["author"]["name"], version["author"]["run_id"]) == ("night owl-sleeptime", run_id)
    group = group_of(http, owl)
    assert (group["turns_counter"], group["last_processed_message_id"]) == (0, turn["messages"][-1]["id"])

    (second,) = say(http, owl["id"], "and now something else")["usage"]["run_ids"]
    consolidated(http, second)
    told = [message["content"] for message in kept(http, partner["id"]) if message["message_type"] == "user_message"]
    assert len(told) == 2
    assert "Ada likes tea." in told[0]
    assert "something else" in told[1]
    assert "Ada likes tea." not in told[1], "what was read is not read again"


def test_it_waits_for_as_many_turns_as_were_asked_for(http: httpx.Client, new_owl: Callable[..., Owl]) -> None:
    owl = new_owl(frequency=3)
    set_off = [say(http, owl["id"], f"turn {number}")["usage"]["run_ids"] for number in range(6)]
    assert [bool(each) for each in set_off] == [False, False, True, False, False, True]
    for run_ids in (set_off[2], set_off[5]):
        assert consolidated(http, run_ids[0])["status"] == "completed"
    told = [
        each["content"] for each in kept(http, partner_of(http, owl)["id"]) if each["message_type"] == "user_message"
    ]
    assert [sum(f"turn {number}\n" in text for text in told) for number in range(6)] == [1] * 6


def test_an_answer_never_waits_for_it(
    http: httpx.Client, new_owl: Callable[..., Owl], scripted_model: ScriptedModel
) -> None:
    owl = new_owl()
    with scripted_model.hold(matching=TENDING) as held:
        (first,) = say(http, owl["id"], "one")["usage"]["run_ids"]
        held.wait_for(1)
        assert ok(http.get(f"/v1/runs/{first}"))["status"] == "running"
        (second,) = say(http, owl["id"], "ECHO at once")["usage"]["run_ids"]
    for run_id in (first, second):
        assert consolidated(http, run_id)["status"] == "completed"


def test_what_others_insert_during_a_slow_consolidation_survives(
    http: httpx.Client, new_owl: Callable[..., Owl], scripted_model: ScriptedModel
) -> None:
    """Each round the sleep-time agent rewrites a block from what it read, and somebody adds a line meanwhile."""
    owl = new_owl()
    partner, block = partner_of(http, owl), block_of(http, owl)
    for number in range(12):
        said = f"CALL memory_rethink {json.dumps({'label': 'human', 'new_memory': f'Rewritten {number}.'})}"
        with scripted_model.hold(matching=TENDING) as held:
            (run_id,) = say(http, owl["id"], said)["usage"]["run_ids"]
            held.wait_for(1)
            line = {"kind": "insert", "new_string": f"Line {number} of somebody else."}
            ok(http.post(f"/v1/blocks/{block['id']}/edits", json=line))
        assert consolidated(http, run_id)["status"] == "completed"
        returned = [each for each in kept(http, partner["id"]) if each["message_type"] == "tool_return_message"][-1]
        assert returned["status"] == "error"
        assert f"+ Line {number} of somebody else." in returned["tool_return"], "it is told what changed"
        text = block_of(http, owl)["value"]
        assert [f"Line {each} of somebody else." for each in range(number + 1)] == [
            line for line in text.splitlines() if line.startswith("Line")
        ]


ROUNDS = 8


def test_amid_constant_inserts_it_overwrites_only_what_it_was_shown(
    http: httpx.Client, new_owl: Callable[..., Owl]
) -> None:
    """Of each version that it rewrote, the one before is the one that its step's model was shown."""
    owl = new_owl()
    block, over = block_of(http, owl), threading.Event()

    def insert(writer: int) -> int:
        """Insert until it is over; return how often."""
        with plain_client(http.base_url) as own:
            for number in itertools.count():
                if over.is_set():
                    return number
                line = {"kind": "insert", "new_string": f"line {number} of {writer}"}
                ok(own.post(f"/v1/blocks/{block['id']}/edits", json=line))
                time.sleep(random.random() / 100)  # so that some consolidations win
        raise AssertionError("it counts on")

    with ThreadPoolExecutor() as threads:
        writers = [threads.submit(insert, writer) for writer in range(2)]
        try:
            for number in range(ROUNDS):
                (run_id,) = say(http, owl["id"], rethink(f"rewritten {number}"))["usage"]["run_ids"]
                consolidated(http, run_id)
        finally:
            over.set()
        inserted = sum(writer.result() for writer in writers)
    history = every_version(http, block["id"])
    kinds = Counter(version["edit"]["kind"] for version in history)
    assert kinds["insert"] == inserted
    for version in history:
        if version["edit"]["kind"] == "rethink":
            shown = ok(http.get(f"/v1/blocks/{block['id']}/readers", params={"version": version["version"] - 1}))
            assert version["author"]["step_id"] in {reader["step_id"] for reader in shown}


def every_version(http: httpx.Client, block_id: str) -> list[Owl]:
    history: list[Owl] = []
    while page := ok(
        http.get(
            f"/v1/blocks/{block_id}/history",
            params={"limit": 1000, "order": "asc", "after": history[-1]["version"] if history else 0},
        )
    ):
        history += page
    return history


def test_it_plans_again_and_no_more_than_so_often(
    http: httpx.Client, new_owl: Callable[..., Owl], scripted_model: ScriptedModel
) -> None:
    owl = new_owl()
    partner, block = partner_of(http, owl), block_of(http, owl)
    plans = "\nTHEN ".join(rethink(f"Plan {number}.") for number in range(5))
    with scripted_model.hold(matching=TENDING) as held:
        (run_id,) = say(http, owl["id"], plans)["usage"]["run_ids"]
        for number in range(4):
            held.wait_for(number + 1)
            ok(http.post(f"/v1/blocks/{block['id']}/edits", json={"kind": "insert", "new_string": f"Line {number}"}))
            held.release(1)
    consolidated(http, run_id)
    returned = [each for each in kept(http, partner["id"]) if each["message_type"] == "tool_return_message"]
    assert ["were shown version" in each["tool_return"] for each in returned] == [True, True, True, False, False]
    assert "Others were faster 3 times" in returned[3]["tool_return"]
    assert block_of(http, owl)["value"] == "Ada\nLine 0\nLine 1\nLine 2\nLine 3"


def test_blocks_that_its_agent_gets_and_loses_are_shared_and_taken_back(
    http: httpx.Client, new_owl: Callable[..., Owl]
) -> None:
    owl = new_owl()
    block = ok(http.post("/v1/blocks", json={"label": "team", "value": "Us."}))
    path = f"/v1/agents/{owl['id']}/core-memory/blocks"
    ok(http.patch(f"{path}/attach/{block['id']}"))
    consolidated(http, say(http, owl["id"], "hello")["usage"]["run_ids"][0])
    assert block["id"] in {each["id"] for each in partner_of(http, owl)["blocks"]}
    ok(http.patch(f"{path}/detach/{block['id']}"))
    consolidated(http, say(http, owl["id"], "hello again")["usage"]["run_ids"][0])
    labels = {each["label"] for each in partner_of(http, owl)["blocks"]}
    assert labels == {"human", "persona", "memory_persona"}


def test_what_is_said_in_a_conversation_with_memory_of_its_own_stays_there(
    http: httpx.Client, new_owl: Callable[..., Owl]
) -> None:
    owl = new_owl()
    made = {"agent_id": owl["id"], "isolated_block_labels": ["human"]}
    conversation = ok(http.post("/v1/conversations", params={"agent_id": owl["id"]}, json=made))
    body = {"messages": [{"role": "user", "content": "a secret"}], "streaming": False}
    ok(http.post(f"/v1/conversations/{conversation['id']}/messages", json=body))
    consolidated(http, say(http, owl["id"], "nothing special")["usage"]["run_ids"][0])
    assert "a secret" not in json.dumps(kept(http, partner_of(http, owl)["id"]))


def test_two_that_tend_each_other_come_to_an_end(http: httpx.Client, new_owl: Callable[..., Owl]) -> None:
    owl = new_owl()
    partner = partner_of(http, owl)
    back = {"manager_type": "sleeptime", "manager_agent_id": partner["id"], "sleeptime_agent_frequency": 1}
    ok(http.post("/v1/groups", json={"agent_ids": [owl["id"]], "description": "", "manager_config": back}))
    run = consolidated(http, say(http, owl["id"], "hello")["usage"]["run_ids"][0])
    assert run["status"] == "completed"
    assert ok(http.get("/v1/jobs", params={"source_id": partner["id"]})) == [], "nothing was set off by it"


def test_a_memory_that_nobody_tends_any_more_keeps_no_job_busy(http: httpx.Client, new_owl: Callable[..., Owl]) -> None:
    owl = new_owl()
    ok(http.delete(f"/v1/agents/{partner_of(http, owl)['id']}"))
    assert group_of(http, owl)["agent_ids"] == []
    say(http, owl["id"], "ECHO nobody listens")
    until(lambda: not [each for each in ok(http.get("/v1/jobs/active")) if each["status"] == "running"])


def test_a_consolidation_that_its_process_left_is_done_by_the_next(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        owl = new_owl_of(http, 1)
        with scripted_model.hold(matching=TENDING) as held:
            (left,) = say(http, owl["id"], rethink("Ada sails."))["usage"]["run_ids"]
            held.wait_for(1)
            server.kill()
        server.restart()
    with plain_client(server.url) as http:
        until(lambda: group_of(http, owl)["last_processed_message_id"] is not None)
        assert block_of(http, owl)["value"] == "Ada sails."
        runs = ok(http.get("/v1/runs", params={"agent_id": owl["managed_group"]["agent_ids"][0], "order": "asc"}))
        assert [(run["status"], run["id"] == left) for run in runs] == [("failed", True), ("completed", False)]


@one_store
def test_an_idle_agent_s_memory_is_worked_on_without_more_turns(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_SLEEPTIME_IDLE": "0.3"})
    with plain_client(server.url) as http:
        owl = new_owl_of(http, 100)
        assert say(http, owl["id"], rethink("Ada rests."))["usage"]["run_ids"] is None
        until(lambda: block_of(http, owl)["value"] == "Ada rests.")
        until(lambda: ok(http.get("/v1/jobs/active")) == [])  # nothing is left to wake up for


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_one_process_of_several_consolidates(start_server: StartServer) -> None:
    servers = [start_server(), start_server()]
    with (
        plain_client(servers[0].url) as one,
        plain_client(servers[1].url) as two,
    ):
        owl = new_owl_of(one, 1)
        for number in range(6):
            (run_id,) = say((one, two)[number % 2], owl["id"], f"turn {number}")["usage"]["run_ids"]
            consolidated((two, one)[number % 2], run_id)
        runs = ok(one.get("/v1/runs", params={"agent_id": owl["managed_group"]["agent_ids"][0]}))
        assert {run["status"] for run in runs} == {"completed"}
        told = json.dumps(kept(one, owl["managed_group"]["agent_ids"][0]))
        assert [told.count(f"turn {number}\\n") for number in range(6)] == [1] * 6


def test_an_agent_out_of_a_file_has_who_tends_its_memory(http: httpx.Client, new_owl: Callable[..., Owl]) -> None:
    owl = new_owl(7)
    file = ok(http.get(f"/v1/agents/{owl['id']}/export"))
    alone = {**file, "agents": [{**file["agents"][0], "group_ids": []}], "groups": []}
    for content, frequency in ((file, 7), (alone, 5)):
        imported = ok(http.post("/v1/agents/import", files={"file": ("owl.af", json.dumps(content).encode())}))
        copy = ok(http.get(f"/v1/agents/{imported['agent_ids'][0]}"))
        group = copy["managed_group"]
        partner = partner_of(http, copy)
        assert (group["sleeptime_agent_frequency"], len(group["agent_ids"])) == (frequency, 1)
        mine = {block["label"]: block["id"] for block in copy["blocks"]}
        assert mine.items() <= {block["label"]: block["id"] for block in partner["blocks"]}.items()
        assert partner["id"] != partner_of(http, owl)["id"]
        ok(http.delete(f"/v1/agents/{copy['id']}"))
        assert http.get(f"/v1/agents/{partner['id']}").status_code == 404, "it goes with its agent"
